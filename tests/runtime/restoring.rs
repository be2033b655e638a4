//! Tasks that are opened and restored in the background: others run in the meantime, a failure affects only its
//! task, and no more is read than is needed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use marea::LogClients as _;
use marea::base::{Env, ManualEnv, SystemEnv, TaskId, Thread, TopicPartition};
use marea::codec::{I64, Utf8};
use marea::disk::{Budget, Database, Options};
use marea::dsl::{Consumed, Grouped, Produced, StreamBuilder};
use marea::log::{BatchBuilder, Commit, Isolation, Log, MemoryLog, TopicSpec};
use marea::runtime::{
    Application, ApplicationBuilder, Hooks, Point, Settings, Snapshot, State, StateBackend,
};

use crate::committing::commit;
use crate::faulty::{Fault, FaultyLog};
use crate::pipeline::{
    append, application, create_topics, expected, finals, memory_log, readings, topology,
};

pub const DEADLINE: Duration = Duration::from_secs(60);

/// Counts by key, from `in` to `out`.
pub fn counting(log: &Arc<dyn Log>, settings: Settings) -> ApplicationBuilder {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .group_by_key(Grouped::with("by", Utf8, I64))
        .count("counts")
        .to_stream()
        .present()
        .to_with("out", Produced::with(Utf8, I64));
    Application::builder(builder.build().expect("a topology"), "test")
        .log(log.clone())
        .settings(Settings {
            commit_interval_ms: 10,
            ..settings
        })
}

pub fn topics(log: &dyn Log, partitions: u32) {
    let topics = [TopicSpec::new("in", partitions), TopicSpec::new("out", 1)];
    log.create_topics(&topics).expect("topics");
}

pub fn put(log: &dyn Log, topic: &str, partition: u32, keys: impl Iterator<Item = i64>) {
    let mut builder = BatchBuilder::default();
    for key in keys {
        let name = format!("k{key}");
        builder.push(Some(name.as_bytes()), Some(&key.to_be_bytes()), key, &[]);
    }
    let batch = builder.seal().expect("records");
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    let whole = Commit {
        appends: vec![(TopicPartition::new(topic, partition), batch)],
        group: None,
    };
    commit(&mut *writer, whole);
}

pub fn end(log: &dyn Log, topic: &str) -> i64 {
    let partition = TopicPartition::new(topic, 0);
    log.end_offset(&partition, Isolation::ReadCommitted)
        .expect("an end")
}

/// Waits for a snapshot of which that is true, and returns it.
pub fn wait_for(running: &Application, what: &str, done: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let since = Instant::now();
    loop {
        let snapshot = running.snapshot();
        if done(&snapshot) {
            return snapshot;
        }
        assert!(snapshot.error.is_none(), "{what}: {snapshot:?}");
        assert!(since.elapsed() < DEADLINE, "{what}: {snapshot:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Holds the restoring threads as long as it is closed.
#[derive(Debug, Default)]
struct Gate {
    closed: AtomicBool,
}

impl Gate {
    fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
    }
}

impl Hooks for Gate {
    fn reached(&self, point: Point) {
        let since = Instant::now();
        while point == Point::Restoring && self.closed.load(Ordering::SeqCst) {
            assert!(since.elapsed() < DEADLINE, "nobody opens the gate");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// One instance leaves, and its task moves to the other one, which takes long to restore it.
fn with_a_task_that_moves(check: impl FnOnce(&Arc<dyn Log>, Application, &Gate, u32)) {
    let log = memory_log();
    topics(&*log, 2);
    let memory = Settings {
        state_backend: StateBackend::Memory,
        ..Settings::default()
    };
    let gate = Arc::new(Gate::default());
    let first = counting(&log, memory.clone()).hooks(gate.clone());
    let first = first.start().expect("started");
    let mut second = counting(&log, memory).start().expect("started");
    let one_each = |snapshot: &Snapshot| snapshot.tasks.len() == 1;
    wait_for(&first, "the first has one task", one_each);
    wait_for(&second, "the second has one task", one_each);
    for partition in 0..2 {
        put(&*log, "in", partition, 0..500);
    }
    wait_for(&first, "all is counted", |_| end(&*log, "out") == 1_000);
    gate.close(true);
    let stays = first.snapshot().tasks[0].task.partition;
    second.close(DEADLINE).expect("closed");
    wait_for(&first, "the other task is being restored", |snapshot| {
        snapshot.restoring.iter().any(|task| task.records_total > 0)
    });
    check(&log, first, &gate, stays);
}

#[test]
fn tasks_that_stay_work_while_one_is_restored() {
    with_a_task_that_moves(|log, running, gate, stays| {
        for round in 1..=20 {
            put(&**log, "in", stays, 0..10);
            wait_for(&running, "the task that stays works", |_| {
                end(&**log, "out") == 1_000 + round * 10
            });
        }
        let snapshot = running.snapshot();
        assert_eq!(snapshot.tasks.len(), 1, "{snapshot:?}");
        let restoring = &snapshot.restoring[0];
        assert_eq!(restoring.task, TaskId::new("counts", 1 - stays));
        assert!(restoring.records_total >= 500, "{restoring:?}");
        gate.close(false);
        put(&**log, "in", 1 - stays, 0..1);
        wait_for(&running, "both work", |snapshot| {
            snapshot.restoring.is_empty() && end(&**log, "out") == 1_201
        });
    });
}

#[test]
fn stopping_does_not_wait_for_a_restore() {
    with_a_task_that_moves(|_, mut running, gate, _| {
        let mut states = running.states();
        std::thread::scope(|scope| {
            let closing = scope.spawn(|| running.close(DEADLINE));
            // The workers end; the call that joins the threads waits for the gate.
            let since = Instant::now();
            while states.next().now_or_never() != Some(Some(State::Stopped)) {
                assert!(since.elapsed() < DEADLINE, "the workers end");
                std::thread::sleep(Duration::from_millis(5));
            }
            gate.close(false);
            closing.join().expect("no panic").expect("closed");
        });
    });
}

/// Opens a task's directory as another program might.
fn hold(place: &Path, task: &str) -> Database {
    Database::open(&Options {
        path: place.join("test/tasks").join(task),
        columns: vec!["counts".into(), "/task".into()],
        budget: &Budget::new(16 << 20),
        write_ahead: false,
    })
    .expect("opens")
}

#[test]
fn a_directory_that_is_locked_costs_its_task_alone() {
    let log = memory_log();
    topics(&*log, 3);
    let place = tempfile::tempdir().expect("a directory");
    let held = hold(place.path(), "counts_1");
    let mut running = counting(&log, Settings::default())
        .state_directory(place.path())
        .start()
        .expect("started");
    let snapshot = wait_for(&running, "two tasks work, one waits", |snapshot| {
        snapshot.tasks.len() == 2 && snapshot.waiting.iter().any(|task| task.tries > 2)
    });
    let waiting = &snapshot.waiting[0];
    assert_eq!(waiting.task, TaskId::new("counts", 1));
    assert!(waiting.error.contains("in use"), "{waiting:?}");
    assert_eq!(snapshot.state, State::Starting);
    put(&*log, "in", 0, 0..10);
    put(&*log, "in", 1, 0..10);
    wait_for(&running, "the others work", |_| end(&*log, "out") == 10);
    drop(held);
    wait_for(&running, "all work", |snapshot| {
        snapshot.state == State::Running && end(&*log, "out") == 20
    });
    assert!(running.snapshot().waiting.is_empty());
    running.close(DEADLINE).expect("closed");
}

#[test]
fn a_log_that_does_not_answer_costs_its_task_alone() {
    let inner = memory_log();
    topics(&*inner, 3);
    let fault = Fault::HideEnds {
        partition: 2,
        times: u32::MAX,
    };
    let faulty = Arc::new(FaultyLog::new(inner, fault));
    let log: Arc<dyn Log> = faulty.clone();
    let memory = Settings {
        state_backend: StateBackend::Memory,
        ..Settings::default()
    };
    let mut running = counting(&log, memory).start().expect("started");
    let snapshot = wait_for(&running, "two tasks work, one waits", |snapshot| {
        snapshot.tasks.len() == 2 && snapshot.waiting.iter().any(|task| task.tries > 1)
    });
    assert_eq!(snapshot.waiting[0].task, TaskId::new("counts", 2));
    faulty.release();
    wait_for(&running, "all work", |snapshot| snapshot.tasks.len() == 3);
    assert!(faulty.faults() > 1, "{} questions", faulty.faults());
    running.close(DEADLINE).expect("closed");
}

#[test]
fn a_replay_waits_for_a_log_that_does_not_answer() {
    let inner = memory_log();
    topics(&*inner, 1);
    let place = tempfile::tempdir().expect("a directory");
    let builder =
        |log: &Arc<dyn Log>| counting(log, Settings::default()).state_directory(place.path());
    let mut running = builder(&inner).start().expect("started");
    put(&*inner, "in", 0, 0..10);
    wait_for(&running, "all is counted", |_| end(&*inner, "out") == 10);
    running.close(DEADLINE).expect("closed");
    drop(running);
    let fault = Fault::HideEnds {
        partition: 0,
        times: 3,
    };
    let faulty = Arc::new(FaultyLog::new(inner, fault));
    let log: Arc<dyn Log> = faulty.clone();
    let replay = builder(&log).replay(|_| ()).expect("replayed");
    assert!(replay.is_equal(), "{replay:?}");
    assert_eq!(faulty.faults(), 3);
}

/// Between the answer about offsets and a look at the changelog a worker may be suspended, and others may commit.
#[test]
fn offsets_that_come_while_a_task_is_opened_do_not_make_its_state_an_orphan() {
    let inner = memory_log();
    topics(&*inner, 1);
    let memory = Settings {
        state_backend: StateBackend::Memory,
        ..Settings::default()
    };
    let mut running = counting(&inner, memory.clone()).start().expect("started");
    put(&*inner, "in", 0, 0..10);
    wait_for(&running, "all is counted", |_| end(&*inner, "out") == 10);
    running.close(DEADLINE).expect("closed");
    drop(running);
    let faulty = Arc::new(FaultyLog::new(inner, Fault::OldOffsets { times: 1 }));
    let log: Arc<dyn Log> = faulty.clone();
    let mut running = counting(&log, memory).start().expect("started");
    put(&*log, "in", 0, 0..10);
    wait_for(&running, "all is counted", |_| end(&*log, "out") == 20);
    assert_eq!(faulty.faults(), 1);
    running.close(DEADLINE).expect("closed");
    let out = log.records::<String, i64>("out").expect("read");
    let again = out.iter().filter(|record| record.value == 2).count();
    assert_eq!(again, 10, "each key is counted once more");
}

/// A worker that hangs keeps its directories. The next owner of its tasks does not wait for it.
#[test]
fn who_gets_the_tasks_of_a_worker_that_hangs_restores_into_fresh_directories() {
    #[derive(Debug, Default)]
    struct Hang {
        hung: AtomicBool,
        free: AtomicBool,
    }
    impl Hooks for Hang {
        fn reached(&self, point: Point) {
            if point == Point::Applied && !self.hung.swap(true, Ordering::SeqCst) {
                let since = Instant::now();
                while !self.free.load(Ordering::SeqCst) {
                    assert!(since.elapsed() < DEADLINE, "nobody frees the worker");
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
    // Only the test moves the log's clock: a worker that is merely slow keeps its place.
    let clock = ManualEnv::new(SystemEnv::shared().wall_ms(), 1);
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(clock.clone()));
    create_topics(&*log, 2);
    let place = tempfile::tempdir().expect("a directory");
    let readings = readings(20_000);
    append(&*log, &readings, 2, 500);
    let hang = Arc::new(Hang::default());
    let settings = Settings {
        workers: 2,
        commit_interval_ms: 3,
        // However long it takes until another worker has the tasks.
        idle_timeout_ms: None,
        ..Settings::default()
    };
    let builder = || {
        Application::builder(topology(), "test")
            .log(log.clone())
            .state_directory(place.path())
            .settings(settings.clone())
    };
    let mut running = builder().hooks(hang.clone()).start().expect("started");
    let tasks = place.path().join("test/tasks");
    let fresh = || {
        let entries = std::fs::read_dir(&tasks).expect("tasks");
        let mut names = entries.map(|entry| entry.expect("an entry").file_name());
        names.any(|name| name.to_string_lossy().ends_with(".1"))
    };
    wait_for(&running, "a worker hangs", |_| {
        hang.hung.load(Ordering::SeqCst)
    });
    clock.advance_ms(settings.max_poll_interval_ms as i64 + 1);
    wait_for(&running, "the other worker has all tasks", |_| fresh());
    hang.free.store(true, Ordering::SeqCst);
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    let workers = running.snapshot().workers.into_iter();
    let lost = workers.map(|worker| worker.places_lost).sum::<u64>();
    assert_eq!(lost, 1, "nobody else has lost its place");
    drop(running);
    assert!(finals(&*log) == expected(&readings), "other results");
    let replay = builder().replay(|_| ()).expect("replayed");
    assert!(replay.is_equal(), "{:?} {:?}", replay.before, replay.after);
    assert!(!fresh(), "one directory a task after the next start");
}

/// As in a simulation: the workers restore between their steps.
#[test]
fn without_threads_the_workers_restore() {
    let log = memory_log();
    create_topics(&*log, 4);
    let readings = readings(20_000);
    let start = || {
        let settings = Settings {
            workers: 2,
            restore_threads: 0,
            state_backend: StateBackend::Memory,
            ..Settings::default()
        };
        let builder = application(log.clone(), 2).settings(settings);
        builder.start().expect("started")
    };
    append(&*log, &readings[..10_000], 4, 500);
    let mut running = start();
    wait_for(&running, "half is read", |snapshot| {
        snapshot.state == State::Running && snapshot.records > 10_000 && snapshot.lag == Some(0)
    });
    running.close(DEADLINE).expect("closed");
    append(&*log, &readings[10_000..], 4, 500);
    let mut running = start();
    running.drain(DEADLINE).expect("drained");
    let restored = running
        .snapshot()
        .tasks
        .into_iter()
        .map(|task| task.restored);
    assert!(restored.sum::<u64>() > 0, "state came from the changelogs");
    running.close(DEADLINE).expect("closed");
    assert!(finals(&*log) == expected(&readings), "other results");
}

/// The wall clock, this many hours later.
#[derive(Debug)]
pub struct Later(pub Arc<dyn Env>, pub i64);

impl Env for Later {
    fn wall_ms(&self) -> i64 {
        self.0.wall_ms() + self.1 * 3_600_000
    }
    fn monotonic_ns(&self) -> u64 {
        self.0.monotonic_ns()
    }
    fn random_u64(&self) -> u64 {
        self.0.random_u64()
    }
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> marea::Result<Thread> {
        self.0.spawn(name, body)
    }
    fn sleep(&self, duration: Duration) {
        self.0.sleep(duration);
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), &target)),
        }
    }
}

/// A large table that changes rarely: a crash after one change two days later reads that change.
#[test]
fn a_store_that_rarely_changes_is_not_rebuilt_after_a_crash() {
    let log = memory_log();
    topics(&*log, 1);
    let place = tempfile::tempdir().expect("a directory");
    let state = place.path().join("state");
    let start = |hours: i64, state: &Path| {
        counting(&log, Settings::default())
            .state_directory(state)
            .env(Arc::new(Later(SystemEnv::shared(), hours)))
            .start()
            .expect("started")
    };
    let mut running = start(0, &state);
    put(&*log, "in", 0, 0..5_000);
    wait_for(&running, "all is counted", |_| end(&*log, "out") == 5_000);
    running.close(DEADLINE).expect("closed");
    drop(running);
    // Nothing changes for two days; then one row does.
    let running = start(48, &state);
    wait_for(&running, "at work", |snapshot| {
        snapshot.state == State::Running
    });
    put(&*log, "in", 0, 7..8);
    wait_for(&running, "counted", |_| end(&*log, "out") == 5_001);
    // What a crash at this point leaves on disk.
    let crashed = place.path().join("crashed");
    copy(&state, &crashed);
    drop(running);
    let running = start(48, &crashed);
    wait_for(&running, "at work again", |snapshot| {
        snapshot.state == State::Running
    });
    let restored = running.snapshot().tasks[0].restored;
    assert!(restored <= 5, "{restored} records read");
}

/// Rows that are behind, and so old that the changelog may have lost deletions since then.
#[test]
fn rows_older_than_the_changelog_keeps_deletions_are_rebuilt() {
    for (hours, rows) in [(23, 2), (25, 1)] {
        let log = memory_log();
        topics(&*log, 1);
        let place = tempfile::tempdir().expect("a directory");
        let builder = || counting(&log, Settings::default()).state_directory(place.path());
        let mut running = builder().start().expect("started");
        put(&*log, "in", 0, 0..1);
        wait_for(&running, "counted", |_| end(&*log, "out") == 1);
        running.close(DEADLINE).expect("closed");
        drop(running);
        // Compaction has removed the key's row, and then its deletion.
        let changelog = "test-counts-changelog";
        let before = TopicPartition::new(changelog, 0);
        log.delete_records(&[(before, end(&*log, changelog))])
            .expect("deleted");
        put(&*log, changelog, 0, 1..2);
        let later = builder().env(Arc::new(Later(SystemEnv::shared(), hours)));
        let replay = later.replay(|_| ()).expect("replayed");
        let counts = replay.before.iter().find(|sum| sum.store == "counts");
        assert_eq!(counts.expect("a store").rows, rows, "{hours} hours later");
    }
}
