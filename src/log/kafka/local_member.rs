//! A member's place in its group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Mutex};

use rdkafka::consumer::ConsumerGroupMetadata;

use super::locks::lock;
use crate::base::{Error, Result, TaskId, TopicPartition};
use crate::log::{MemberToken, check};

/// The name of a member's client: this and the shape of its tasks.
pub(super) const CLIENT_PREFIX: &str = "marea-";

/// A request to the poll thread.
pub(super) const STAY: u8 = 0;
/// Give all tasks back and leave the group.
pub(super) const LEAVE: u8 = 1;
/// Stop without leaving, as a crash would: the group waits for the member to return.
pub(super) const VANISH: u8 = 2;

/// A member's place, shared by its worker, its writer and its poll thread.
pub(super) struct LocalMember {
    pub(super) group: String,
    pub(super) member: String,
    /// All tasks, in the order of the group topic's partitions.
    pub(super) tasks: Vec<TaskId>,
    pub(super) task_of: BTreeMap<TopicPartition, Vec<usize>>,
    /// Longest silence of the process, in milliseconds.
    pub(super) session_timeout_ms: u64,
    /// Longest silence of the worker, in milliseconds. Until then, the poll thread sends heartbeats for
    /// it.
    pub(super) max_poll_interval_ms: u64,
    /// The generation at which it joined: tokens below it belong to an earlier holder of the name.
    pub(super) session: u64,
    /// A number that differs if the tasks do.
    pub(super) shape: u64,
    pub(super) state: Mutex<State>,
    pub(super) wish: AtomicU8,
}

/// Partitions of the group's topic are numbers of tasks; some may belong to no task.
#[derive(Default)]
pub(super) struct State {
    /// The tasks that the group assigned to this member.
    pub(super) owned: BTreeSet<usize>,
    /// Those that the group wants back.
    pub(super) leaving: BTreeSet<usize>,
    /// Those that the worker was told of and has not given back.
    pub(super) told: BTreeSet<usize>,
    /// The last assignment; `None` before the first.
    pub(super) listed: Option<BTreeSet<usize>>,
    /// Incremented with each assignment.
    pub(super) generation: u64,
    /// For commits; with a number that is incremented when it changes.
    pub(super) metadata: Option<(Arc<ConsumerGroupMetadata>, u64)>,
    /// Whether the group has answered yet.
    pub(super) joined: bool,
    /// Why the place is lost.
    pub(super) lost: Option<String>,
    /// Whether the brokers refuse it, so that rejoining is useless.
    pub(super) refused: bool,
    /// When the worker last polled.
    pub(super) spoke_ms: u64,
}

impl LocalMember {
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

    pub(super) fn check_membership(&self) -> Result<()> {
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
