//! Groups of members that share tasks.

use crate::base::{Result, TaskId, TopicPartition};
use crate::log::MemberToken;

/// A task and the input partitions that determine where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPlan {
    /// The task.
    pub task: TaskId,
    /// The partitions it reads.
    pub inputs: Vec<TopicPartition>,
}

/// A member's request to join.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The group, shared by all workers of an application.
    pub group: String,
    /// This member's name, unique in the group and stable across restarts.
    pub member: String,
    /// All tasks of the application; all members must name the same ones.
    pub tasks: Vec<TaskPlan>,
    /// A member that has sent neither a poll nor a heartbeat for this long, in milliseconds, is expelled:
    /// its process is considered dead.
    pub session_timeout_ms: u64,
    /// A member that has not polled for this long, in milliseconds, is expelled even if it sends
    /// heartbeats: its worker is stuck.
    pub max_poll_interval_ms: u64,
}

/// The tasks a member should own from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The group's generation.
    pub generation: u64,
    /// The tasks. A task that the member holds but that is not listed must be committed, closed and given
    /// back with [`Membership::release`]; a listed task has no other owner.
    pub tasks: Vec<TaskId>,
}

/// One member of a group. Owned by one thread.
pub trait Membership: Send {
    /// Tells the group that this member is alive and returns a new assignment if there is one. Never
    /// waits for other members.
    ///
    /// # Errors
    /// `Fenced` once the member was expelled or replaced.
    fn poll(&mut self) -> Result<Option<Assignment>>;

    /// Gives back tasks that an assignment took away, after they have been committed and closed.
    ///
    /// # Errors
    /// `Fenced` once the member was expelled or replaced.
    fn release(&mut self, tasks: &[TaskId]) -> Result<()>;

    /// The token for commits from now on.
    fn token(&self) -> MemberToken;

    /// The member's heartbeat, which another thread can send while the member's own thread is busy.
    fn heartbeat(&self) -> Box<dyn Heartbeat>;

    /// Leaves the group at once, giving back all tasks.
    fn leave(self: Box<Self>);

    /// Shuts down cleanly and keeps the place: a member that joins under the same name before the session
    /// times out takes over its tasks where they are, and nobody else gets them until then. If a log
    /// cannot keep a place for a process that is gone, this is the same as [`Membership::leave`].
    fn rest(self: Box<Self>) {
        self.leave();
    }
}

/// Tells the group that a member's process is alive, from any thread and without waiting. A poll does so
/// too; this is for the time between two polls.
pub trait Heartbeat: Send {
    /// Sends a heartbeat. One per third of the session time is enough.
    ///
    /// # Errors
    /// `Fenced` once the member was expelled, was replaced or has left.
    fn beat(&self) -> Result<()>;
}
