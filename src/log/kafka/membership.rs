//! Membership, on Kafka's own group protocol.
//!
//! A group assigns partitions, but we need to assign tasks. So each group has its own topic, which holds
//! no records and has a partition for each task, in the order of `task_order`. Members subscribe only to
//! that topic. As a result:
//!
//! - The group sees a task as one unit: its inputs can never end up with different members, so joined
//!   topics are co-partitioned whatever the assignor.
//! - The assignor may be the incremental and sticky one: tasks that stay are not disturbed by a
//!   rebalance, and a task that moves is first released by its owner ([`Membership::release`]).
//! - Inputs are assigned manually, at the offsets that the transactions commit under the same group.
//!
//! ```text
//!  worker thread                      LocalMember (one lock)         poll thread
//!   poll     -- reads, reports -->   owned, leaving, told   <-- assign, revoke -- rebalance callback,
//!   release  -- removes from told -->                        -- unassigns when     which only enqueues
//!   writer   -- metadata, check  -->  metadata, generation      all is released
//! ```
//!
//! The member is static (KIP-345): its name survives a restart, and a second member of the same name
//! fences the first at the brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::KafkaError;

use super::cluster::members::GroupMember;
use super::cluster::{Cluster, tasks_topic};
use super::local_member::{CLIENT_PREFIX, LEAVE, LocalMember, STAY, State, VANISH};
use super::locks::lock;
use super::member_thread::MemberThread;
use super::task_order::by_turns;
use crate::base::{Error, ErrorKind, Result, TaskId, Thread, TopicPartition};
use crate::log::{
    Assignment, GroupCommit, Heartbeat, JoinRequest, MemberToken, Membership, TaskPlan, check,
};

/// How long joining may take, in milliseconds: brokers let others come first.
const JOIN_MS: u64 = 60_000;
/// How long leaving may take, in milliseconds.
const LEAVE_MS: u64 = 5_000;
const LOOK: Duration = Duration::from_millis(5);

impl LocalMember {
    /// Refuses other members with other tasks: two that join simultaneously do not see each other before.
    pub(super) fn check_shapes(&self, members: &[GroupMember]) -> Result<()> {
        check_shapes(&self.group, &self.member, self.shape, members)
    }
}

impl Cluster {
    pub(super) fn join(self: &Arc<Self>, request: JoinRequest) -> Result<Box<dyn Membership>> {
        let (tasks, task_of, shape) = plan(&request.tasks);
        let topic = tasks_topic::name_of(&request.group);
        self.check_agreement(&request, &tasks, shape)?;
        self.prepare_tasks(&request.group, tasks.len())?;
        let now_ms = self.env.monotonic_ms();
        let place = (request.group.clone(), request.member.clone());
        let mut local_members = self.local_members();
        let before = local_members.get(&place).map_or(0, |local| {
            local.lose("another member has since joined under that name");
            lock(&local.state).generation
        });
        // Above any number of an earlier process, as long as clocks go forward.
        let session = u64::try_from(self.env.wall_ms())
            .unwrap_or(0)
            .max(before + 1);
        let local = Arc::new(LocalMember {
            group: request.group,
            member: request.member,
            tasks,
            task_of,
            session_timeout_ms: request.session_timeout_ms,
            max_poll_interval_ms: request.max_poll_interval_ms,
            session,
            shape,
            state: Mutex::new(State {
                generation: session,
                spoke_ms: now_ms,
                ..State::default()
            }),
            wish: AtomicU8::new(STAY),
        });
        local_members.insert(place, Arc::clone(&local));
        drop(local_members);
        let thread = MemberThread::start(Arc::clone(self), Arc::clone(&local), topic, shape)?;
        Ok(Box::new(KafkaMember {
            cluster: Arc::clone(self),
            local,
            thread: Some(thread),
            until_ms: now_ms + JOIN_MS,
        }))
    }

    /// Refuses a member whose tasks are not those of the others.
    fn check_agreement(&self, request: &JoinRequest, tasks: &[TaskId], shape: u64) -> Result<()> {
        for ((group, member), local) in self.local_members().iter() {
            let live = lock(&local.state).lost.is_none();
            if live && *group == request.group && *member != request.member && local.tasks != tasks
            {
                return Err(disagree(&request.group, &request.member, member));
            }
        }
        let members = self.members(&request.group)?;
        check_shapes(&request.group, &request.member, shape, &members)
    }

    fn local_member_of(&self, group: &GroupCommit) -> Result<Option<Arc<LocalMember>>> {
        let Some(token) = &group.token else {
            return Ok(None);
        };
        let place = (group.group.clone(), token.member.clone());
        let local = self.local_members().get(&place).cloned();
        let missing = || {
            check::fenced_member(
                &group.group,
                token,
                "this process does not have this member, or no longer has it",
            )
        };
        local.map(Some).ok_or_else(missing)
    }

    /// Refuses a commit by a member that has been replaced or expelled, or has lost the task. What this
    /// process cannot know, the group's coordinator does.
    pub(super) fn check_commit(&self, group: &GroupCommit) -> Result<()> {
        let (Some(token), Some(local)) = (&group.token, self.local_member_of(group)?) else {
            return Ok(());
        };
        let refuse = |why: &str| Err(check::fenced_member(&group.group, token, why));
        let state = lock(&local.state);
        if let Some(why) = &state.lost {
            return refuse(why);
        }
        if token.generation < local.session || token.generation > state.generation {
            return refuse("another member has since joined under that name");
        }
        for partition in check::partitions_of(group) {
            for task in local.task_of.get(partition).into_iter().flatten() {
                if !state.told.contains(task) {
                    let task = &local.tasks[*task];
                    return refuse(&format!(
                        "task {task} of {partition} is not assigned to the member"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The metadata that accompanies a member's offsets, and its number.
    pub(super) fn metadata_of(
        &self,
        group: &GroupCommit,
    ) -> Result<(Arc<ConsumerGroupMetadata>, u64)> {
        self.check_commit(group)?;
        let local = self.local_member_of(group)?;
        let metadata = local.and_then(|local| lock(&local.state).metadata.clone());
        metadata.ok_or_else(|| self.no_place(group, "it currently has no place in the group"))
    }

    /// Waits until a member's metadata has another number, or it has lost its place.
    pub(super) fn wait_regenerated(&self, group: &GroupCommit, seen: Option<u64>, wait_ms: u64) {
        let until_ms = self.env.monotonic_ms() + wait_ms;
        while self.env.monotonic_ms() < until_ms {
            match self.metadata_of(group) {
                Ok((_, number)) if Some(number) == seen => self.env.sleep(LOOK),
                _ => return,
            }
        }
    }

    /// The brokers refuse a member.
    pub(super) fn fenced(&self, group: &GroupCommit, cause: &KafkaError) -> Error {
        if let Ok(Some(local)) = self.local_member_of(group)
            && group
                .token
                .as_ref()
                .is_some_and(|token| token.generation >= local.session)
        {
            local.lose("expelled by the brokers");
        }
        self.no_place(group, &cause.to_string())
    }

    fn no_place(&self, group: &GroupCommit, why: &str) -> Error {
        match &group.token {
            Some(token) => check::fenced_member(&group.group, token, why),
            None => Error::new(ErrorKind::Fenced, format!("group {}: {why}", group.group)),
        }
    }
}

/// Refuses a group in which another member has other tasks.
fn check_shapes(group: &str, member: &str, shape: u64, others: &[GroupMember]) -> Result<()> {
    let shape = format!("{shape:016x}");
    for other in others {
        let theirs = other.client.strip_prefix(CLIENT_PREFIX);
        if !other.is(member) && theirs.is_some_and(|theirs| theirs != shape) {
            return Err(disagree(group, member, &other.id));
        }
    }
    Ok(())
}

fn disagree(group: &str, member: &str, other: &str) -> Error {
    Error::invalid(format!(
        "member {member} names tasks that differ from those of member {other} of group {group}; run the \
         same topology in every member"
    ))
}

type Plan = (Vec<TaskId>, BTreeMap<TopicPartition, Vec<usize>>, u64);

/// The tasks in order, the members that read each topic, and a number that changes when any of it does.
fn plan(plans: &[TaskPlan]) -> Plan {
    let sorted: BTreeMap<&TaskId, BTreeSet<&TopicPartition>> = plans
        .iter()
        .map(|plan| (&plan.task, plan.inputs.iter().collect()))
        .collect();
    let mut task_of: BTreeMap<TopicPartition, Vec<usize>> = BTreeMap::new();
    let mut text = String::new();
    let ordered = by_turns(sorted.keys().copied());
    for (number, task) in ordered.iter().enumerate() {
        text.push_str(&format!("{task}:"));
        for input in sorted.get(task).into_iter().flatten() {
            text.push_str(&format!("{input},"));
            task_of.entry((*input).clone()).or_default().push(number);
        }
    }
    let shape = u64::from(crc32c::crc32c(text.as_bytes())) << 32 | text.len() as u64;
    (ordered, task_of, shape)
}

struct KafkaMember {
    cluster: Arc<Cluster>,
    local: Arc<LocalMember>,
    /// `None` once it has left.
    thread: Option<Thread>,
    /// Until when the group must have accepted it. Nothing here waits for that: after a crash in the
    /// middle of a rebalance the group accepts no member before all its static members are back, and the
    /// others of this process are among them.
    until_ms: u64,
}

impl KafkaMember {
    fn end(&mut self, wish: u8, why: &str) {
        self.local.wish.store(wish, Ordering::Release);
        self.local.lose(why);
        let Some(thread) = self.thread.take() else {
            return;
        };
        let env = &self.cluster.env;
        let until_ms = env.monotonic_ms() + LEAVE_MS;
        while !thread.is_finished() && env.monotonic_ms() < until_ms {
            env.sleep(LOOK);
        }
    }

    fn not_let_in(&self) -> Error {
        let message = format!(
            "the brokers at {} have not admitted member {} to group {} within {JOIN_MS} ms",
            self.cluster.address.brokers, self.local.member, self.local.group
        );
        Error::new(ErrorKind::Unavailable, message)
    }
}

impl Membership for KafkaMember {
    fn poll(&mut self) -> Result<Option<Assignment>> {
        self.local.check_membership()?;
        let mut state = lock(&self.local.state);
        let now_ms = self.cluster.env.monotonic_ms();
        state.spoke_ms = now_ms;
        if !state.joined {
            return match now_ms < self.until_ms {
                true => Ok(None),
                false => Err(self.not_let_in()),
            };
        }
        let known = 0..self.local.tasks.len();
        let given = state.owned.difference(&state.leaving);
        let listed: BTreeSet<usize> = given.copied().filter(|task| known.contains(task)).collect();
        if state.listed.as_ref() == Some(&listed) {
            return Ok(None);
        }
        state.generation += 1;
        state.told.extend(&listed);
        state.listed = Some(listed.clone());
        Ok(Some(Assignment {
            generation: state.generation,
            tasks: listed
                .into_iter()
                .map(|task| self.local.tasks[task].clone())
                .collect(),
        }))
    }

    fn release(&mut self, tasks: &[TaskId]) -> Result<()> {
        self.local.check_membership()?;
        let mut state = lock(&self.local.state);
        for task in tasks {
            if let Some(number) = self.local.tasks.iter().position(|known| known == task) {
                state.told.remove(&number);
                // If it has been assigned to this member again in the meantime, it must be told again.
                if let Some(listed) = &mut state.listed {
                    listed.remove(&number);
                }
            }
        }
        Ok(())
    }

    fn token(&self) -> MemberToken {
        self.local.token()
    }

    fn heartbeat(&self) -> Box<dyn Heartbeat> {
        Box::new(KafkaHeartbeat(Arc::clone(&self.local)))
    }

    fn leave(mut self: Box<Self>) {
        self.end(LEAVE, "it has left the group");
    }

    fn rest(mut self: Box<Self>) {
        self.end(VANISH, "it has disconnected without leaving");
    }
}

/// The poll thread sends the heartbeats; this tells whether it still does.
struct KafkaHeartbeat(Arc<LocalMember>);

impl Heartbeat for KafkaHeartbeat {
    fn beat(&self) -> Result<()> {
        self.0.check_membership()
    }
}

impl Drop for KafkaMember {
    fn drop(&mut self) {
        if self.thread.take().is_some() {
            self.local.lose("its worker has ended");
            self.local.wish.store(VANISH, Ordering::Release);
        }
    }
}
