//! What the workers report, and the state that follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::figures::{Latencies, MemorySnapshot, WorkerMemory};
use super::snapshot::{
    LogOutage, RestoringTask, Snapshot, State, Stuck, TaskSnapshot, WaitingTask, WorkerSnapshot,
};
use crate::base::{Error, ErrorKind, TaskId};
use crate::task::Drops;

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
