//! What a snapshot of a running application shows.

use std::fmt;
use std::sync::Arc;

use super::figures::{InputSnapshot, Latencies, MemorySnapshot, StoreSnapshot, WorkerMemory};
use crate::base::{Offset, TaskId, TopicPartition};
use crate::task::{Drops, HeldBack, Traffic};

/// The life of an application.
///
/// ```text
///  Starting --> Running --> Draining --> Stopping --> Stopped
///      \           \            \            \
///       +-----------+------------+------------+--> Failed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Tasks are being opened and restored; [`Snapshot::restoring`] and [`Snapshot::waiting`] say which.
    Starting,
    /// All tasks have been opened at least once.
    Running,
    /// The input is being brought to its end.
    Draining,
    /// Workers are committing and closing.
    Stopping,
    /// All workers have shut down cleanly.
    Stopped,
    /// A worker has failed; [`Snapshot::error`] says why.
    Failed,
}

/// A task as its worker last reported it.
#[derive(Clone, Debug)]
pub struct TaskSnapshot {
    /// Its name.
    pub task: TaskId,
    /// The worker that runs it.
    pub worker: String,
    /// The next offset of each input.
    pub positions: Vec<(TopicPartition, Offset)>,
    /// The committed offsets at which it resumed when it was opened.
    pub resumed_at: Vec<(TopicPartition, Offset)>,
    /// Changelog records read when it was opened.
    pub restored: u64,
    /// The largest timestamp it has processed, in milliseconds.
    pub stream_time_ms: i64,
    /// Whether its input has ended and everything of it is committed.
    pub ended: bool,
    /// Which origin its windows are waiting for, if any.
    pub held_back: Option<HeldBack>,
    /// For how long its time has been held back by that, in milliseconds.
    pub held_back_ms: u64,
    /// How far all of its inputs have advanced, in milliseconds: windows that end after this cannot close
    /// yet. `None` before the first record, and once all inputs have ended.
    pub floor_ms: Option<i64>,
    /// Its inputs, with their throughput.
    pub inputs: Vec<InputSnapshot>,
    /// The topics that it has written, with what was committed there since it was opened.
    pub outputs: Vec<(Arc<str>, Traffic)>,
    /// Its stores.
    pub stores: Vec<StoreSnapshot>,
    /// What it has dropped since it was opened, by reason.
    pub drops: Drops,
}

/// A task that is being opened and restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoringTask {
    /// Its name.
    pub task: TaskId,
    /// The worker that will run it.
    pub worker: String,
    /// How long it has been opening, in milliseconds before now.
    pub for_ms: u64,
    /// Changelog records that are done, counted by their offsets.
    pub records: u64,
    /// How many there are in all; 0 until the log has answered.
    pub records_total: u64,
    /// How long the rest will take at the current pace, in milliseconds; `None` until that is known.
    pub left_ms: Option<u64>,
}

/// A task that could not be opened and will be retried. The worker's other tasks continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingTask {
    /// Its name.
    pub task: TaskId,
    /// The worker that will run it.
    pub worker: String,
    /// When it was first tried, in milliseconds before now.
    pub for_ms: u64,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next, in milliseconds from now.
    pub next_try_in_ms: u64,
    /// Why the last attempt failed, and what to do.
    pub error: String,
}

/// The log does not answer a worker, and the worker waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOutage {
    /// For how long, in milliseconds.
    pub for_ms: u64,
    /// The last request and its result.
    pub reason: String,
}

/// A worker has been processing one record for long: its closure is slow, or blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// For how long, in milliseconds.
    pub for_ms: u64,
    /// In which task.
    pub task: TaskId,
    /// In which node: its operator, and its name if it has one.
    pub node: String,
    /// The record's partition.
    pub partition: TopicPartition,
    /// The record's offset.
    pub offset: Offset,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            for_ms,
            task,
            node,
            partition,
            offset,
        } = self;
        write!(
            f,
            "{for_ms} ms in {node} of task {task}, at {partition} offset {offset}"
        )
    }
}

/// A worker, and what keeps it from working.
#[derive(Clone, Debug)]
pub struct WorkerSnapshot {
    /// Its name.
    pub worker: String,
    /// The outage of the log that it is waiting out.
    pub outage: Option<LogOutage>,
    /// The record that it has been processing for a second or more.
    pub stuck: Option<Stuck>,
    /// Whether the group has given its tasks to others because it was stuck for `max_poll_interval_ms`.
    /// It rejoins when it is free again.
    pub expelled: bool,
    /// Commits since the start.
    pub commits: u64,
    /// Commits aborted since the start. Their work was done again.
    pub aborts: u64,
    /// How often it has lost its place in the group since the start.
    pub places_lost: u64,
    /// How long its commits took.
    pub latencies: Latencies,
    /// When its last commit became definite, in milliseconds before now; `None` before the first.
    pub committed_ms: Option<u64>,
    /// When it reported all this, in milliseconds before now. It reports ten times a second, except while
    /// one record takes longer.
    pub reported_ms: u64,
    /// The memory it uses.
    pub memory: WorkerMemory,
}

/// A snapshot of a running application.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The state of its life cycle.
    pub state: State,
    /// Records processed since the start, including repartitioned ones.
    pub records: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Records in all inputs of this instance that are not processed yet. `None` while that is not known:
    /// it has just started, is opening tasks, or the log has not reported where an input ends.
    pub lag: Option<i64>,
    /// Dropped records since the start, by reason.
    pub drops: Drops,
    /// Number of input offsets whose records were deleted before they were read, since the start.
    pub deleted_unread: u64,
    /// All tasks that are open.
    pub tasks: Vec<TaskSnapshot>,
    /// Tasks that are being opened and restored.
    pub restoring: Vec<RestoringTask>,
    /// Tasks that could not be opened and will be retried.
    pub waiting: Vec<WaitingTask>,
    /// All workers that have reported.
    pub workers: Vec<WorkerSnapshot>,
    /// Workers that have not ended, whether they have reported or not.
    pub workers_running: usize,
    /// The memory in use.
    pub memory: MemorySnapshot,
    /// Why it failed.
    pub error: Option<String>,
}
