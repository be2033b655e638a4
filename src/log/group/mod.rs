//! Groups of members within one process: who owns which task, and who is a zombie.
//!
//! ```text
//!  join --> target = assign(tasks, members)      generation + 1 (also on leave and expulsion)
//!  poll --> a target task without owner becomes mine; one that is not my target any more is no
//!           longer listed, and stays mine (my commits count) until I release it, leave or am expelled
//! ```
//! A member lives as long as it polls or its heart beats, and may hold tasks as long as it polls: a
//! worker that is stuck in a closure loses them after its poll interval, a process that is gone after
//! its session.
//!
//! Invariant: a task has at most one owner, and only its owner's commits of its inputs' offsets
//! pass [`Groups::check_commit`].
//!
//! A *session* is one joining, numbered by the generation it began. A token names the generation of
//! the member's last assignment: one below its session belongs to an earlier holder of the name.

mod assign;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use self::assign::assign;
use super::check::{fenced_member, partitions_of};
use super::{Assignment, GroupCommit, JoinRequest, MemberToken, TaskPlan};
use crate::base::{Error, Result, TaskId, TopicPartition};

/// All groups of a log.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: BTreeMap<String, Group>,
}

#[derive(Debug, Default)]
struct Group {
    generation: u64,
    tasks: BTreeMap<TaskId, Vec<TopicPartition>>,
    task_of: BTreeMap<TopicPartition, Vec<TaskId>>,
    members: BTreeMap<String, Member>,
    /// Who should own a task. Outlives members, so that one that comes back gets its tasks back.
    target: BTreeMap<TaskId, String>,
    /// The session that does.
    owners: BTreeMap<TaskId, u64>,
}

#[derive(Debug)]
struct Member {
    session: u64,
    last_poll_ms: u64,
    last_beat_ms: u64,
    session_timeout_ms: u64,
    max_poll_interval_ms: u64,
    /// The tasks it was told to own; `None` before the first assignment.
    told: Option<Vec<TaskId>>,
}

/// A member's place in its group.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) group: String,
    pub(super) member: String,
    session: u64,
    /// Of the last assignment, or of the joining.
    generation: u64,
}

impl Seat {
    pub(super) fn token(&self) -> MemberToken {
        MemberToken {
            member: self.member.clone(),
            generation: self.generation,
        }
    }
}

impl Groups {
    /// Takes over the generations that a log kept.
    #[cfg(feature = "rocksdb")]
    pub(super) fn restore(generations: impl IntoIterator<Item = (String, u64)>) -> Self {
        let group = |generation| Group {
            generation,
            ..Group::default()
        };
        let groups = generations
            .into_iter()
            .map(|(name, generation)| (name, group(generation)));
        Self {
            groups: groups.collect(),
        }
    }

    #[cfg(feature = "rocksdb")]
    pub(super) fn generation(&self, group: &str) -> u64 {
        self.groups.get(group).map_or(0, |group| group.generation)
    }

    pub(super) fn join(&mut self, request: &JoinRequest, now_ms: u64) -> Result<Seat> {
        let group = self.groups.entry(request.group.clone()).or_default();
        group.expel_silent(now_ms, Some(&request.member));
        let tasks = plans(&request.tasks);
        let alone = group.members.keys().all(|name| *name == request.member);
        if !alone && group.tasks != tasks {
            let message = format!(
                "member {} names other tasks than the {} that group {} has; run the same topology in \
                 every member",
                request.member,
                group.tasks.len(),
                request.group
            );
            return Err(Error::invalid(message));
        }
        group.tasks = tasks;
        group.task_of = BTreeMap::new();
        for (task, inputs) in &group.tasks {
            for input in inputs {
                group
                    .task_of
                    .entry(input.clone())
                    .or_default()
                    .push(task.clone());
            }
        }
        group.remove(&request.member);
        group.generation += 1;
        let member = Member {
            session: group.generation,
            last_poll_ms: now_ms,
            last_beat_ms: now_ms,
            session_timeout_ms: request.session_timeout_ms,
            max_poll_interval_ms: request.max_poll_interval_ms,
            told: None,
        };
        group.members.insert(request.member.clone(), member);
        group.rebalance();
        Ok(Seat {
            group: request.group.clone(),
            member: request.member.clone(),
            session: group.generation,
            generation: group.generation,
        })
    }

    pub(super) fn poll(&mut self, seat: &mut Seat, now_ms: u64) -> Result<Option<Assignment>> {
        let group = self.seated(seat)?;
        group.expel_silent(now_ms, Some(&seat.member));
        let mut tasks = Vec::new();
        for (task, member) in &group.target {
            if *member == seat.member {
                let owner = *group.owners.entry(task.clone()).or_insert(seat.session);
                if owner == seat.session {
                    tasks.push(task.clone());
                }
            }
        }
        let generation = group.generation;
        let Some(member) = group.members.get_mut(&seat.member) else {
            return Err(unseated(seat));
        };
        member.last_poll_ms = now_ms;
        member.last_beat_ms = now_ms;
        if member.told.as_ref() == Some(&tasks) {
            return Ok(None);
        }
        member.told = Some(tasks.clone());
        seat.generation = generation;
        Ok(Some(Assignment { generation, tasks }))
    }

    /// The member's process lives, whatever its worker does.
    pub(super) fn beat(&mut self, seat: &Seat, now_ms: u64) -> Result<()> {
        let group = self.seated(seat)?;
        if let Some(member) = group.members.get_mut(&seat.member) {
            member.last_beat_ms = now_ms;
        }
        Ok(())
    }

    pub(super) fn release(&mut self, seat: &Seat, tasks: &[TaskId]) -> Result<()> {
        let group = self.seated(seat)?;
        for task in tasks {
            if group.owners.get(task) == Some(&seat.session) {
                group.owners.remove(task);
            }
        }
        // Were one of them meant for this member again by now, it must be told so again.
        if let Some(member) = group.members.get_mut(&seat.member)
            && let Some(told) = &mut member.told
        {
            told.retain(|task| !tasks.contains(task));
        }
        Ok(())
    }

    pub(super) fn leave(&mut self, seat: &Seat) {
        if let Ok(group) = self.seated(seat) {
            group.remove(&seat.member);
            group.generation += 1;
            group.rebalance();
        }
    }

    /// Refuses a commit by someone who has been replaced, expelled, or has lost the task.
    pub(super) fn check_commit(&self, commit: &GroupCommit) -> Result<()> {
        let Some(token) = &commit.token else {
            return Ok(());
        };
        let refuse = |why: &str| Err(fenced_member(&commit.group, token, why));
        let group = self.groups.get(&commit.group);
        let Some((group, member)) =
            group.and_then(|group| Some((group, group.members.get(&token.member)?)))
        else {
            return refuse("the group has no such member (any more)");
        };
        if token.generation < member.session || token.generation > group.generation {
            return refuse("another member of that name has joined since");
        }
        for partition in partitions_of(commit) {
            for task in group.task_of.get(partition).into_iter().flatten() {
                if group.owners.get(task) != Some(&member.session) {
                    return refuse(&format!("task {task} of {partition} is not the member's"));
                }
            }
        }
        Ok(())
    }

    /// Refuses to go on while the group has members.
    pub(super) fn check_empty(&mut self, group: &str, now_ms: u64) -> Result<()> {
        let Some(known) = self.groups.get_mut(group) else {
            return Ok(());
        };
        known.expel_silent(now_ms, None);
        match known.members.keys().next() {
            None => Ok(()),
            Some(member) => {
                let message =
                    format!("group {group} has members, among them {member}; stop them first");
                Err(Error::invalid(message))
            }
        }
    }

    fn seated(&mut self, seat: &Seat) -> Result<&mut Group> {
        let group = self.groups.get_mut(&seat.group).filter(|group| {
            let member = group.members.get(&seat.member);
            member.is_some_and(|member| member.session == seat.session)
        });
        group.ok_or_else(|| unseated(seat))
    }
}

impl Group {
    /// Removes the members whose time is up, but for one that is just speaking.
    fn expel_silent(&mut self, now_ms: u64, speaking: Option<&str>) {
        let silent = |name: &String, member: &Member| {
            speaking != Some(name.as_str())
                && (now_ms.saturating_sub(member.last_beat_ms) > member.session_timeout_ms
                    || now_ms.saturating_sub(member.last_poll_ms) > member.max_poll_interval_ms)
        };
        let members = self.members.iter();
        let gone: Vec<String> = members
            .filter(|(name, member)| silent(name, member))
            .map(|(name, _)| name.clone())
            .collect();
        if gone.is_empty() {
            return;
        }
        for name in &gone {
            self.remove(name);
        }
        self.generation += 1;
        self.rebalance();
    }

    fn remove(&mut self, name: &str) {
        if let Some(member) = self.members.remove(name) {
            self.owners.retain(|_, session| *session != member.session);
        }
    }

    fn rebalance(&mut self) {
        let tasks = self.tasks.keys().cloned().collect();
        let members: BTreeSet<String> = self.members.keys().cloned().collect();
        if !members.is_empty() {
            self.target = assign(&tasks, &members, &self.target);
        }
    }
}

fn plans(tasks: &[TaskPlan]) -> BTreeMap<TaskId, Vec<TopicPartition>> {
    let sorted = |inputs: &Vec<TopicPartition>| {
        let mut inputs = inputs.clone();
        inputs.sort();
        inputs
    };
    tasks
        .iter()
        .map(|plan| (plan.task.clone(), sorted(&plan.inputs)))
        .collect()
}

fn unseated(seat: &Seat) -> Error {
    fenced_member(&seat.group, &seat.token(), "expelled or replaced")
}
