//! The state that a running application reports.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::figures::{InputSnapshot, Latencies, MemorySnapshot, StoreSnapshot, WorkerMemory};
use super::opening::{RestoringTask, WaitingTask};
use crate::base::{Error, ErrorKind, Offset, TaskId, TopicPartition};
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

/// A task that moves from one worker to another is with neither for less than this, in milliseconds.
const SETTLED_MS: u64 = 300;

/// The report of one worker.
#[derive(Clone, Debug, Default)]
pub(super) struct WorkerStatus {
    pub(super) records: u64,
    pub(super) commits: u64,
    /// `None` while it is not known.
    pub(super) lag: Option<i64>,
    pub(super) drops: Drops,
    pub(super) deleted_unread: u64,
    /// Number of the last drain that the worker knows of.
    pub(super) drain_known: u64,
    /// Since when it has all tasks that the group gave it, by the monotonic clock.
    pub(super) settled_at_ms: Option<u64>,
    pub(super) tasks: Vec<TaskSnapshot>,
    pub(super) restoring: Vec<RestoringTask>,
    pub(super) waiting: Vec<WaitingTask>,
    /// Since when the log has not answered it, by the monotonic clock, and the log's message.
    pub(super) outage: Option<(u64, String)>,
    /// Whether its tasks went to others while it was stuck.
    pub(super) expelled: bool,
    pub(super) aborts: u64,
    pub(super) places_lost: u64,
    pub(super) latencies: Latencies,
    /// When its last commit became definite, by the monotonic clock.
    pub(super) committed_at_ms: Option<u64>,
    /// When it reported, by the monotonic clock.
    pub(super) reported_at_ms: u64,
    pub(super) memory: WorkerMemory,
}

/// Shared by the workers and the handle.
#[derive(Debug)]
pub(super) struct Status {
    inner: Mutex<Inner>,
    /// Reports each new state to futures and streams that wait for one.
    states: watch::Sender<State>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    error: Option<(ErrorKind, String)>,
    /// The records that the global stores dropped.
    global_drops: Drops,
    /// The rows of global stores in memory.
    global_bytes: u64,
    workers: BTreeMap<String, WorkerStatus>,
    running: usize,
}

impl Status {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                state: State::Starting,
                error: None,
                global_drops: Drops::default(),
                global_bytes: 0,
                workers: BTreeMap::new(),
                running: workers,
            }),
            states: watch::Sender::new(State::Starting),
        }
    }

    /// Takes a worker's report at `now_ms` of the monotonic clock. The application counts as running once
    /// all tasks are open or, if other instances have some, once no worker has been given more for a
    /// while.
    pub(super) fn report(&self, worker: &str, mut status: WorkerStatus, tasks: usize, now_ms: u64) {
        status.reported_at_ms = now_ms;
        let mut inner = self.lock();
        inner.workers.insert(worker.to_owned(), status);
        // While a task moves, two workers may list it.
        let open = inner.workers.values().flat_map(|worker| &worker.tasks);
        let open = open.map(|task| &task.task).collect::<BTreeSet<_>>().len();
        let settled = |worker: &&WorkerStatus| {
            let since_ms = worker.settled_at_ms;
            since_ms.is_some_and(|since_ms| now_ms >= since_ms + SETTLED_MS)
        };
        let settled = inner.workers.values().filter(settled).count();
        if inner.state == State::Starting && (open >= tasks || settled >= inner.running) {
            self.move_to(&mut inner, State::Running);
        }
    }

    /// The records that the global stores have dropped so far, and what their rows take of the memory.
    pub(super) fn report_globals(&self, drops: Drops, memory_bytes: u64) {
        let mut inner = self.lock();
        inner.global_drops = drops;
        inner.global_bytes = memory_bytes;
    }

    /// A worker cannot start, because the log does not answer it.
    pub(super) fn begins_late(&self, worker: &str, since_ms: u64, error: &Error) {
        let mut inner = self.lock();
        let status = inner.workers.entry(worker.to_owned()).or_default();
        status.outage = Some((since_ms, error.to_string()));
    }

    /// A worker that is stuck has lost its tasks to others, and cannot report it.
    pub(super) fn expelled(&self, worker: &str) {
        let mut inner = self.lock();
        let status = inner.workers.entry(worker.to_owned()).or_default();
        status.tasks.clear();
        status.restoring.clear();
        status.waiting.clear();
        status.lag = None;
        status.settled_at_ms = None;
        status.expelled = true;
    }

    /// Moves on, unless the application has failed or is already further.
    pub(super) fn enter(&self, state: State) {
        let mut inner = self.lock();
        let order = [
            State::Starting,
            State::Running,
            State::Draining,
            State::Stopping,
            State::Stopped,
            State::Failed,
        ];
        let rank = |state| order.iter().position(|other| *other == state);
        if rank(state) > rank(inner.state) {
            self.move_to(&mut inner, state);
        }
    }

    /// A worker has ended; `Err` fails the application.
    pub(super) fn worker_ended(&self, outcome: Result<(), Error>) {
        let mut inner = self.lock();
        inner.running = inner.running.saturating_sub(1);
        match outcome {
            Err(error) if inner.error.is_none() => {
                inner.error = Some((error.kind(), error.to_string()));
                self.move_to(&mut inner, State::Failed);
            }
            _ => {}
        }
        if inner.running == 0 && inner.state != State::Failed {
            self.move_to(&mut inner, State::Stopped);
        }
    }

    /// The application fails, whatever its workers do.
    pub(super) fn fail(&self, error: &Error) {
        let mut inner = self.lock();
        if inner.error.is_none() {
            inner.error = Some((error.kind(), error.to_string()));
            self.move_to(&mut inner, State::Failed);
        }
    }

    fn move_to(&self, inner: &mut Inner, state: State) {
        inner.state = state;
        self.states.send_replace(state);
    }

    /// The current state, and each later one.
    pub(super) fn states(&self) -> watch::Receiver<State> {
        self.states.subscribe()
    }

    /// Whether all running workers know of the drain of that number.
    pub(super) fn know_drain(&self, number: u64) -> bool {
        let inner = self.lock();
        // A stuck worker has no tasks that could have ended.
        let known = |worker: &&WorkerStatus| worker.expelled || worker.drain_known >= number;
        inner.workers.values().filter(known).count() >= inner.running
    }

    /// The open tasks, and whether each has ended according to the worker that lists it.
    pub(super) fn tasks(&self) -> BTreeMap<TaskId, bool> {
        let inner = self.lock();
        let mut tasks = BTreeMap::new();
        for task in inner.workers.values().flat_map(|worker| &worker.tasks) {
            *tasks.entry(task.task.clone()).or_insert(true) &= task.ended;
        }
        tasks
    }

    /// Whether some tasks are being opened, or are waiting to be.
    pub(super) fn is_opening(&self) -> bool {
        let inner = self.lock();
        let mut workers = inner.workers.values();
        workers.any(|worker| !worker.restoring.is_empty() || !worker.waiting.is_empty())
    }

    pub(super) fn running(&self) -> usize {
        self.lock().running
    }

    /// The failure, as an error that can be returned more than once.
    pub(super) fn error(&self) -> Option<Error> {
        self.lock()
            .error
            .as_ref()
            .map(|(kind, message)| Error::new(*kind, message.clone()))
    }

    /// The snapshot at `now_ms` of the monotonic clock, including slow records of workers.
    pub(super) fn snapshot(&self, now_ms: u64, mut stuck: BTreeMap<String, Stuck>) -> Snapshot {
        let inner = self.lock();
        let mut snapshot = Snapshot {
            state: inner.state,
            records: 0,
            commits: 0,
            lag: (inner.state != State::Starting && !inner.workers.is_empty()).then_some(0),
            drops: inner.global_drops,
            deleted_unread: 0,
            tasks: Vec::new(),
            restoring: Vec::new(),
            waiting: Vec::new(),
            workers: Vec::new(),
            workers_running: inner.running,
            memory: MemorySnapshot {
                globals_bytes: inner.global_bytes,
                ..MemorySnapshot::default()
            },
            error: inner.error.as_ref().map(|(_, message)| message.clone()),
        };
        for (name, worker) in &inner.workers {
            let outage = worker.outage.as_ref();
            snapshot.workers.push(WorkerSnapshot {
                worker: name.clone(),
                outage: outage.map(|(since_ms, reason)| LogOutage {
                    for_ms: now_ms.saturating_sub(*since_ms),
                    reason: reason.clone(),
                }),
                stuck: stuck.remove(name),
                expelled: worker.expelled,
                commits: worker.commits,
                aborts: worker.aborts,
                places_lost: worker.places_lost,
                latencies: worker.latencies,
                committed_ms: (worker.committed_at_ms).map(|at_ms| now_ms.saturating_sub(at_ms)),
                reported_ms: now_ms.saturating_sub(worker.reported_at_ms),
                memory: worker.memory,
            });
            snapshot.memory.workers.add(&worker.memory);
            snapshot.records += worker.records;
            snapshot.commits += worker.commits;
            snapshot.lag = (snapshot.lag.zip(worker.lag)).map(|(others, lag)| others + lag);
            snapshot.drops.add(&worker.drops);
            snapshot.deleted_unread += worker.deleted_unread;
            snapshot.tasks.extend(worker.tasks.iter().cloned());
            snapshot.restoring.extend(worker.restoring.iter().cloned());
            snapshot.waiting.extend(worker.waiting.iter().cloned());
        }
        snapshot.tasks.sort_by(|a, b| a.task.cmp(&b.task));
        snapshot
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_that_is_not_known_is_not_called_0() {
        let status = Status::new(2);
        let lag = || status.snapshot(0, BTreeMap::new()).lag;
        let report = |worker: &str, lag| {
            let reported = WorkerStatus {
                lag,
                settled_at_ms: Some(0),
                ..WorkerStatus::default()
            };
            status.report(worker, reported, 1, SETTLED_MS);
        };
        assert_eq!(lag(), None, "nobody has reported");
        report("a", Some(3));
        assert_eq!(lag(), None, "still starting: the other has not reported");
        report("b", Some(4));
        assert_eq!(lag(), Some(7));
        report("b", None);
        assert_eq!(lag(), None, "one of them does not know");
        report("b", Some(0));
        status.expelled("a");
        assert_eq!(lag(), None, "what it had is with nobody that is known");
    }
}
