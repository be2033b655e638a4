//! Groups of members that share tasks.

use crate::base::{Result, TaskId, TopicPartition};
use crate::log::MemberToken;

/// A task and the input partitions that decide where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPlan {
    /// The task.
    pub task: TaskId,
    /// What it reads.
    pub inputs: Vec<TopicPartition>,
}

/// What a member says when it joins.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The group, shared by all workers of an application.
    pub group: String,
    /// This member's name, unique in the group and stable over restarts.
    pub member: String,
    /// All tasks of the application; every member names the same.
    pub tasks: Vec<TaskPlan>,
    /// A member that has sent neither a poll nor a heartbeat for this long, in milliseconds, is expelled: its
    /// process is gone.
    pub session_timeout_ms: u64,
    /// A member that has not polled for this long, in milliseconds, is expelled however steady its heartbeat:
    /// its worker is stuck.
    pub max_poll_interval_ms: u64,
}

/// What a member should own from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The group's generation.
    pub generation: u64,
    /// The tasks. One that the member holds and that is not listed must be committed, closed and
    /// given back with [`Membership::release`]; one that is listed is free of any other owner.
    pub tasks: Vec<TaskId>,
}

/// One member of a group. Owned by one thread.
pub trait Membership: Send {
    /// Tells the group that this member lives and returns a new assignment if there is one. Never
    /// waits for other members.
    ///
    /// # Errors
    /// `Fenced` once the member was expelled or replaced.
    fn poll(&mut self) -> Result<Option<Assignment>>;

    /// Gives back tasks that an assignment took away, after they were committed and closed.
    ///
    /// # Errors
    /// `Fenced` once the member was expelled or replaced.
    fn release(&mut self, tasks: &[TaskId]) -> Result<()>;

    /// What to put into commits now.
    fn token(&self) -> MemberToken;

    /// The member's heartbeat, for whoever keeps it going while the member's own thread is busy.
    fn heartbeat(&self) -> Box<dyn Heartbeat>;

    /// Leaves the group at once, giving back all tasks.
    fn leave(self: Box<Self>);

    /// Ends in good order and keeps the place: who joins under the same name before the session is over takes
    /// up its tasks where they are, and nobody else gets them until then. Where a log cannot keep a place
    /// for a process that is gone, this is [`Membership::leave`].
    fn rest(self: Box<Self>) {
        self.leave();
    }
}

/// Tells the group that a member's process lives, from any thread and without waiting. A poll does so
/// too; this goes on between two polls.
pub trait Heartbeat: Send {
    /// Says it once more. Once a third of the session is often enough.
    ///
    /// # Errors
    /// `Fenced` once the member was expelled, was replaced or has left.
    fn beat(&self) -> Result<()>;
}
