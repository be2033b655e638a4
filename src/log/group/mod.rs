//! Groups of members within one process: who owns which task, and who is a zombie. For whoever writes a log:
//! the logs in memory and on a disk have their members from here, and so may another one whose members all
//! come to one process. One that only needs to know who should have what takes [`assign`].
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

pub use self::assign::assign;
use super::check::{fenced_member, partitions_of};
use super::{Assignment, GroupCommit, JoinRequest, MemberToken, TaskPlan};
use crate::base::{Error, Result, TaskId, TopicPartition};

/// All groups of a log. It reads no clock: whoever asks says what time it is, in milliseconds of a clock that
/// never goes back.
///
/// A log keeps one behind its lock. [`crate::log::Log::join`] is [`Groups::join`]; the methods of its members are
/// those of the same name; [`crate::log::Log::delete_group`] asks [`Groups::check_empty`] first; and
/// [`Groups::check_commit`] comes before anything of a commit happens, under the same lock.
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
/// let commit = |seat: &marea::log::group::Seat| GroupCommit {
///     group: "app".into(),
///     token: Some(seat.token()),
///     offsets: vec![(input.clone(), progress.clone())],
/// };
/// assert!(groups.check_commit(&commit(&first)).is_err());
/// assert!(groups.check_commit(&commit(&second)).is_ok());
/// # Ok::<(), marea::Error>(())
/// ```
///
/// `tests/it/own_log.rs` is a whole log made of it.
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

/// A member's place in its group, from [`Groups::join`]: what a log's [`crate::log::Membership`] and
/// [`crate::log::Heartbeat`] hold. One that was expelled or replaced is told so by whatever it asks.
#[derive(Clone, Debug)]
pub struct Seat {
    pub(super) group: String,
    pub(super) member: String,
    session: u64,
    /// Of the last assignment, or of the joining.
    generation: u64,
}

impl Seat {
    /// The group's name.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// What goes into the member's commits now.
    pub fn token(&self) -> MemberToken {
        MemberToken {
            member: self.member.clone(),
            generation: self.generation,
        }
    }
}

impl Groups {
    /// Takes over the generations that a log kept, by group: a generation must never come twice, or the token of
    /// a zombie from before a restart is good again.
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

    /// The generation of a group, which grows when a member joins, leaves or is expelled; 0 if there was no such
    /// group yet. A log that outlives its process keeps it before anybody learns what changed it.
    pub fn generation(&self, group: &str) -> u64 {
        self.groups.get(group).map_or(0, |group| group.generation)
    }

    /// A place for a member. One of the same name loses it.
    ///
    /// # Errors
    /// `Invalid` if other members have other tasks.
    pub fn join(&mut self, request: &JoinRequest, now_ms: u64) -> Result<Seat> {
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

    /// The member lives, and learns what it is to own if that changed: see [`crate::log::Membership::poll`].
    ///
    /// # Errors
    /// `Fenced` once the member was expelled or replaced.
    pub fn poll(&mut self, seat: &mut Seat, now_ms: u64) -> Result<Option<Assignment>> {
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
    ///
    /// # Errors
    /// `Fenced` once the member was expelled or replaced, or has left.
    pub fn beat(&mut self, seat: &Seat, now_ms: u64) -> Result<()> {
        let group = self.seated(seat)?;
        if let Some(member) = group.members.get_mut(&seat.member) {
            member.last_beat_ms = now_ms;
        }
        Ok(())
    }

    /// Takes tasks back, so that others may have them. What the member does not own is passed over.
    ///
    /// # Errors
    /// `Fenced` once the member was expelled or replaced.
    pub fn release(&mut self, seat: &Seat, tasks: &[TaskId]) -> Result<()> {
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

    /// Takes back all that the member has, and its place. One that has none any more takes nobody along.
    pub fn leave(&mut self, seat: &Seat) {
        if let Ok(group) = self.seated(seat) {
            group.remove(&seat.member);
            group.generation += 1;
            group.rebalance();
        }
    }

    /// Refuses a commit by someone who has been replaced, expelled, or has lost the task. One without a token is
    /// nobody's, and passes.
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
