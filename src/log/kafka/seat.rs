//! A member's place in its group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Mutex};

use rdkafka::consumer::ConsumerGroupMetadata;

use super::locks::lock;
use crate::base::{Error, Result, TaskId, TopicPartition};
use crate::log::{MemberToken, check};

/// How a member's client is called: this and the shape of its tasks.
pub(super) const CLIENT_PREFIX: &str = "marea-";

/// What the poll thread is to do.
pub(super) const STAY: u8 = 0;
/// Give all tasks back and leave the group.
pub(super) const LEAVE: u8 = 1;
/// Stop without leaving, as a crash would: the group waits for the member to come back.
pub(super) const VANISH: u8 = 2;

/// A member's place, shared by its worker, its writer and its poll thread.
pub(super) struct Seat {
    pub(super) group: String,
    pub(super) member: String,
    /// All tasks, in the order of the group topic's partitions.
    pub(super) tasks: Vec<TaskId>,
    pub(super) task_of: BTreeMap<TopicPartition, Vec<usize>>,
    /// Longest silence of the process, in milliseconds.
    pub(super) session_timeout_ms: u64,
    /// Longest silence of the worker, in milliseconds. The poll thread speaks for it until then.
    pub(super) max_poll_interval_ms: u64,
    /// The generation at which it joined: tokens below it belong to an earlier holder of the name.
    pub(super) session: u64,
    /// A number that differs where the tasks do.
    pub(super) shape: u64,
    pub(super) state: Mutex<State>,
    pub(super) wish: AtomicU8,
}

/// Partitions of the group's topic are numbers of tasks; some may be of no task.
#[derive(Default)]
pub(super) struct State {
    /// What the group gave to this member.
    pub(super) owned: BTreeSet<usize>,
    /// What of it the group wants back.
    pub(super) leaving: BTreeSet<usize>,
    /// What the worker was told of and has not given back.
    pub(super) told: BTreeSet<usize>,
    /// What the last assignment listed; `None` before the first.
    pub(super) listed: Option<BTreeSet<usize>>,
    /// Grows with each assignment.
    pub(super) generation: u64,
    /// For commits; with a number that grows when it changes.
    pub(super) metadata: Option<(Arc<ConsumerGroupMetadata>, u64)>,
    /// Whether the group has answered at all.
    pub(super) joined: bool,
    /// Why the place is lost.
    pub(super) lost: Option<String>,
    /// Whether the brokers refuse it, so that joining anew is of no use.
    pub(super) refused: bool,
    /// When the worker spoke last.
    pub(super) spoke_ms: u64,
}

impl Seat {
    pub(super) fn token(&self) -> MemberToken {
        MemberToken {
            member: self.member.clone(),
            generation: lock(&self.state).generation,
        }
    }

    pub(super) fn lose(&self, why: &str) {
        let mut state = lock(&self.state);
        if state.lost.is_none() {
            tracing::debug!(group = %self.group, member = %self.member, why, "place in the group lost");
            state.lost = Some(why.to_owned());
        }
        state.metadata = None;
    }

    pub(super) fn seated(&self) -> Result<()> {
        let state = lock(&self.state);
        let refused = state.refused;
        match &state.lost {
            None => Ok(()),
            Some(why) if refused => Err(Error::invalid(format!(
                "member {} of group {}: {why}",
                self.member, self.group
            ))),
            Some(why) => {
                let token = MemberToken {
                    member: self.member.clone(),
                    generation: self.session,
                };
                Err(check::fenced_member(&self.group, &token, why))
            }
        }
    }
}
