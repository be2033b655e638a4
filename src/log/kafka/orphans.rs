//! Tasks that the group has forgotten.
//!
//! A task moves in two rebalances: in the first its owner releases it, and by rejoining starts the
//! second, which assigns it to another. An owner that dies in between returns under its static name and
//! gets what it had after the first: nobody starts the second, and the task never has an owner again. So
//! members check from time to time who has which tasks, and when a task has had no owner for a while, one
//! of them leaves and rejoins, which starts a rebalance. An owner that is slow to release a task looks the
//! same to the brokers; if it is a member of this process, it is waited for.

use std::collections::BTreeSet;

use super::cluster::Cluster;
use super::cluster::members::Members;
use super::local_member::LocalMember;
use super::locks::lock;
use crate::base::{Error, Result};

/// How often a member checks, initially and at most, in milliseconds: the longer nothing has changed, the
/// less often.
const LOOK_MS: u64 = 400;
const LOOK_MS_MAX: u64 = 30_000;
/// How often in a row the same must have been seen: a moving task has no owner either.
const TIMES: u32 = 4;

pub(super) struct Orphans {
    next_ms: u64,
    pause_ms: u64,
    seen: Option<BTreeSet<usize>>,
    times: u32,
}

impl Orphans {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            next_ms: now_ms + LOOK_MS,
            pause_ms: LOOK_MS,
            seen: None,
            times: 0,
        }
    }

    /// Checks, if it is time.
    ///
    /// # Errors
    /// When this member is the one that must leave and rejoin; `Invalid` if another member runs another
    /// topology.
    pub(super) fn look(
        &mut self,
        cluster: &Cluster,
        local: &LocalMember,
        topic: &str,
    ) -> Result<()> {
        let now_ms = cluster.env.monotonic_ms();
        if now_ms < self.next_ms {
            return Ok(());
        }
        // Another worker's answer since the last check is as good.
        let seen = cluster.recent_members(&local.group, self.pause_ms / 2);
        let orphans = match seen.as_deref() {
            Ok(Members {
                members,
                are_settled: true,
            }) => {
                local.check_shapes(members)?;
                let mut owned: BTreeSet<usize> = members
                    .iter()
                    .flat_map(|member| member.partitions_of(topic))
                    .collect();
                owned.extend(held(cluster, &local.group));
                let is_orphan = |task: &usize| !owned.contains(task);
                let orphans: BTreeSet<usize> = (0..local.tasks.len()).filter(is_orphan).collect();
                let first = members.iter().min_by_key(|member| &member.id);
                let is_first = first.is_some_and(|first| first.is(&local.member));
                (is_first && !orphans.is_empty()).then_some(orphans)
            }
            // Rebalancing, or unreachable: handled elsewhere.
            Ok(_) | Err(_) => None,
        };
        self.pause_ms = match &orphans {
            Some(_) => LOOK_MS,
            None => (self.pause_ms * 2).min(LOOK_MS_MAX),
        };
        self.next_ms = cluster.env.monotonic_ms() + self.pause_ms;
        self.times = match orphans.is_some() && orphans == self.seen {
            true => self.times + 1,
            false => 1,
        };
        self.seen = orphans;
        match &self.seen {
            Some(orphans) if self.times >= TIMES => {
                let names = orphans.iter().map(|task| local.tasks[*task].to_string());
                let names: Vec<String> = names.collect();
                Err(Error::user(format!(
                    "no member has owned {} since an interrupted rebalance",
                    names.join(", ")
                )))
            }
            _ => Ok(()),
        }
    }

    /// Something changed, and more may follow.
    pub(super) fn wake(&mut self, now_ms: u64) {
        *self = Self::new(now_ms);
    }
}

/// The tasks that members of this process have, or have not released yet.
fn held(cluster: &Cluster, group: &str) -> BTreeSet<usize> {
    let mut held = BTreeSet::new();
    for ((joined, _), local) in cluster.local_members().iter() {
        let state = lock(&local.state);
        if joined == group && state.lost.is_none() {
            held.extend(&state.owned);
        }
    }
    held
}
