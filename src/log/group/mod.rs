//! Groups of members within one process: who owns which task, and who is a zombie. For implementers of
//! logs: the memory log and the embedded log use it for their members, and so can another log whose
//! members all connect to one process. A log that only needs the assignment itself uses [`assign`].
//!
//! ```text
//!  join --> target = assign(tasks, members)      generation + 1 (also on leave and expulsion)
//!  poll --> a target task without owner becomes mine; one that is not my target any more is no
//!           longer listed, and stays mine (my commits count) until I release it, leave or am expelled
//! ```
//! A member lives as long as it polls or sends heartbeats, and may hold tasks as long as it polls: a
//! worker that is stuck in a closure loses them after its poll interval, a process that is gone after its
//! session.
//!
//! Invariant: a task has at most one owner, and only its owner's commits of its inputs' offsets
//! pass [`Groups::check_commit`].
//!
//! A *session* is one join, numbered by the generation it started. A token names the generation of the
//! member's last assignment: one below its session belongs to an earlier holder of the name.

mod assign;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use self::assign::assign;
use super::check::{fenced_member, partitions_of};
use super::{Assignment, GroupCommit, JoinRequest, MemberToken, TaskPlan};
use crate::base::{Error, Result, TaskId, TopicPartition};

/// All groups of a log. It reads no clock: the caller passes the time, in milliseconds of a clock that
/// never goes back.
///
/// A log keeps one behind its lock. [`crate::log::Log::join`] is [`Groups::join`]; the methods of its
/// members are those of the same name; [`crate::log::Log::delete_group`] calls [`Groups::check_empty`]
/// first; and [`Groups::check_commit`] is called before anything of a commit happens, under the same
/// lock.
///
/// ```
/// use marea::base::{TaskId, TopicPartition};
/// use marea::log::group::Groups;
/// use marea::log::{CommittedOffset, GroupCommit, JoinRequest, TaskPlan};
///
/// let input = TopicPartition::new("readings", 0);
/// let request = |member: &str| JoinRequest {
///     group: "app".into(),
///     member: member.into(),
///     tasks: vec![TaskPlan { task: TaskId::new("sums", 0), inputs: vec![input.clone()] }],
///     session_timeout_ms: 30_000,
///     max_poll_interval_ms: 60_000,
/// };
/// let mut groups = Groups::default();
/// let mut first = groups.join(&request("first"), 0)?;
/// let given = groups.poll(&mut first, 0)?.expect("the first assignment");
/// assert_eq!(given.tasks, [TaskId::new("sums", 0)]);
///
/// // It says nothing for longer than its session; another one has the task.
/// let mut second = groups.join(&request("second"), 30_001)?;
/// let given = groups.poll(&mut second, 30_001)?.expect("an assignment");
/// assert_eq!(given.tasks, [TaskId::new("sums", 0)]);
///
/// // A commit of the first would be a zombie's.
/// let progress = CommittedOffset { offset: 7, metadata: String::new() };
/// let commit = |local: &marea::log::group::LocalMember| GroupCommit {
///     group: "app".into(),
///     token: Some(local.token()),
///     offsets: vec![(input.clone(), progress.clone())],
/// };
/// assert!(groups.check_commit(&commit(&first)).is_err());
/// assert!(groups.check_commit(&commit(&second)).is_ok());
/// # Ok::<(), marea::Error>(())
/// ```
///
/// `tests/it/own_log.rs` builds a complete log with it.
#[derive(Debug, Default)]
pub struct Groups {
    groups: BTreeMap<String, Group>,
}

#[derive(Debug, Default)]
struct Group {
    generation: u64,
    tasks: BTreeMap<TaskId, Vec<TopicPartition>>,
    task_of: BTreeMap<TopicPartition, Vec<TaskId>>,
    members: BTreeMap<String, Member>,
    /// The intended owner of each task. Outlives members, so that one that returns gets its tasks back.
    target: BTreeMap<TaskId, String>,
    /// The session of the owner.
    owners: BTreeMap<TaskId, u64>,
}

#[derive(Debug)]
struct Member {
    session: u64,
    last_poll_ms: u64,
    last_beat_ms: u64,
    session_timeout_ms: u64,
    max_poll_interval_ms: u64,
    /// The tasks it was assigned; `None` before the first assignment.
    told: Option<Vec<TaskId>>,
}

/// A member's place in its group, from [`Groups::join`]: held by a log's [`crate::log::Membership`] and
/// [`crate::log::Heartbeat`]. If it was expelled or replaced, every call reports this.
#[derive(Clone, Debug)]
pub struct LocalMember {
    pub(super) group: String,
    pub(super) member: String,
    session: u64,
    /// Of the last assignment, or of the join.
    generation: u64,
}

impl LocalMember {
    /// The group's name.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The token for the member's commits.
    pub fn token(&self) -> MemberToken {
        MemberToken {
            member: self.member.clone(),
            generation: self.generation,
        }
    }
}

impl Groups {
    /// Loads the generations that a log stored, by group: a generation must never repeat, or the token of
    /// a zombie from before a restart would be valid again.
    pub fn restore(generations: impl IntoIterator<Item = (String, u64)>) -> Self {
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

    /// The generation of a group, which grows when a member joins, leaves or is expelled; 0 if the group
    /// does not exist yet. A log that outlives its process stores it before reporting the change that
    /// caused it.
    pub fn generation(&self, group: &str) -> u64 {
        self.groups.get(group).map_or(0, |group| group.generation)
    }

    /// A place for a member. A member with the same name loses its place.
    ///
    /// # Errors
    /// `Invalid` if other members have other tasks.
    pub fn join(&mut self, request: &JoinRequest, now_ms: u64) -> Result<LocalMember> {
        let group = self.groups.entry(request.group.clone()).or_default();
        group.expel_silent(now_ms, Some(&request.member));
        let tasks = plans(&request.tasks);
        let alone = group.members.keys().all(|name| *name == request.member);
        if !alone && group.tasks != tasks {
            let message = format!(
                "member {} names tasks that differ from the {} of group {}; run the same topology in every \
                 member",
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
        Ok(LocalMember {
            group: request.group.clone(),
            member: request.member.clone(),
            session: group.generation,
            generation: group.generation,
        })
    }

    /// The member is alive, and learns its new assignment if that changed: see
    /// [`crate::log::Membership::poll`].
    ///
    /// # Errors
    /// `Fenced` once the member was expelled or replaced.
    pub fn poll(&mut self, local: &mut LocalMember, now_ms: u64) -> Result<Option<Assignment>> {
        let group = self.group_of(local)?;
        group.expel_silent(now_ms, Some(&local.member));
        let mut tasks = Vec::new();
        for (task, member) in &group.target {
            if *member == local.member {
                let owner = *group.owners.entry(task.clone()).or_insert(local.session);
                if owner == local.session {
                    tasks.push(task.clone());
                }
            }
        }
        let generation = group.generation;
        let Some(member) = group.members.get_mut(&local.member) else {
            return Err(no_longer_member(local));
        };
        member.last_poll_ms = now_ms;
        member.last_beat_ms = now_ms;
        if member.told.as_ref() == Some(&tasks) {
            return Ok(None);
        }
        member.told = Some(tasks.clone());
        local.generation = generation;
        Ok(Some(Assignment { generation, tasks }))
    }

    /// The member's process is alive, whatever its worker does.
    ///
    /// # Errors
    /// `Fenced` once the member was expelled or replaced, or has left.
    pub fn beat(&mut self, local: &LocalMember, now_ms: u64) -> Result<()> {
        let group = self.group_of(local)?;
        if let Some(member) = group.members.get_mut(&local.member) {
            member.last_beat_ms = now_ms;
        }
        Ok(())
    }

    /// Takes tasks back, so that others can have them. Tasks that the member does not own are ignored.
    ///
    /// # Errors
    /// `Fenced` once the member was expelled or replaced.
    pub fn release(&mut self, local: &LocalMember, tasks: &[TaskId]) -> Result<()> {
        let group = self.group_of(local)?;
        for task in tasks {
            if group.owners.get(task) == Some(&local.session) {
                group.owners.remove(task);
            }
        }
        // If one of them has been assigned to this member again in the meantime, it must be told again.
        if let Some(member) = group.members.get_mut(&local.member)
            && let Some(told) = &mut member.told
        {
            told.retain(|task| !tasks.contains(task));
        }
        Ok(())
    }

    /// Takes back all tasks of the member, and its place. If it no longer has a place, nothing changes
    /// for others.
    pub fn leave(&mut self, local: &LocalMember) {
        if let Ok(group) = self.group_of(local) {
            group.remove(&local.member);
            group.generation += 1;
            group.rebalance();
        }
    }

    /// Refuses a commit by a member that has been replaced, expelled, or has lost the task. A commit
    /// without a token belongs to no member, and passes.
    ///
    /// # Errors
    /// `Fenced`, with the reason.
    pub fn check_commit(&self, commit: &GroupCommit) -> Result<()> {
        let Some(token) = &commit.token else {
            return Ok(());
        };
        let refuse = |why: &str| Err(fenced_member(&commit.group, token, why));
        let group = self.groups.get(&commit.group);
        let Some((group, member)) =
            group.and_then(|group| Some((group, group.members.get(&token.member)?)))
        else {
            return refuse("the group does not have this member, or no longer has it");
        };
        if token.generation < member.session || token.generation > group.generation {
            return refuse("another member has since joined under that name");
        }
        for partition in partitions_of(commit) {
            for task in group.task_of.get(partition).into_iter().flatten() {
                if group.owners.get(task) != Some(&member.session) {
                    return refuse(&format!(
                        "task {task} of {partition} is not assigned to the member"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Refuses to continue while the group has members.
    ///
    /// # Errors
    /// `Invalid`; the message names one.
    pub fn check_empty(&mut self, group: &str, now_ms: u64) -> Result<()> {
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

    /// The names of a group's members: see [`crate::log::Log::members`].
    pub fn members(&mut self, group: &str, now_ms: u64) -> Vec<String> {
        let Some(known) = self.groups.get_mut(group) else {
            return Vec::new();
        };
        known.expel_silent(now_ms, None);
        known.members.keys().cloned().collect()
    }

    fn group_of(&mut self, local: &LocalMember) -> Result<&mut Group> {
        let group = self.groups.get_mut(&local.group).filter(|group| {
            let member = group.members.get(&local.member);
            member.is_some_and(|member| member.session == local.session)
        });
        group.ok_or_else(|| no_longer_member(local))
    }
}

impl Group {
    /// Removes the members whose time is up, except the one that is calling.
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

fn no_longer_member(local: &LocalMember) -> Error {
    fenced_member(&local.group, &local.token(), "expelled or replaced")
}
