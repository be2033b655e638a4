//! Closures that are slow, or do not return: what waits for them, and what does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use marea::base::{Env, ManualEnv, SystemEnv, TopicPartition};
use marea::codec::{I64, Utf8};
use marea::dsl::{Consumed, Grouped, Produced, StreamBuilder};
use marea::log::{BatchBuilder, Commit, Isolation, Log, MemoryLog, TopicSpec};
use marea::runtime::{Application, Settings, State, StateBackend};
use marea::topology::Topology;

use crate::committing::commit;

const DEADLINE: Duration = Duration::from_secs(120);

/// A log with a topic `in` with this many partitions, each with this many records, and an empty one `out`.
fn filled(partitions: u32, records: i64) -> Arc<dyn Log> {
    filled_by(SystemEnv::shared(), partitions, records)
}

/// A log with that clock.
fn filled_by(env: Arc<dyn Env>, partitions: u32, records: i64) -> Arc<dyn Log> {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(env));
    log.create_topics(&[TopicSpec::new("in", partitions), TopicSpec::new("out", 1)])
        .expect("created");
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    for partition in 0..partitions {
        let mut builder = BatchBuilder::default();
        let key = format!("k{partition}");
        for n in 0..records {
            builder.push(Some(key.as_bytes()), Some(&n.to_be_bytes()), n, &[]);
        }
        let batch = builder.seal().expect("records");
        let whole = Commit {
            appends: vec![(TopicPartition::new("in", partition), batch)],
            group: None,
        };
        commit(&mut *writer, whole);
    }
    log
}

fn outputs(log: &dyn Log) -> i64 {
    log.end_offset(&TopicPartition::new("out", 0), Isolation::ReadCommitted)
        .expect("an end")
}

fn until(what: &str, done: impl Fn() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < DEADLINE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Copies `in` to `out`, one record at a time, with a closure that takes long, and counts its calls.
fn slow_copy(takes: Duration) -> (Topology, Arc<AtomicU64>) {
    slow_copy_with(takes, || ())
}

/// The same; each call ends with another.
fn slow_copy_with(
    takes: Duration,
    end: impl Fn() + Send + Sync + 'static,
) -> (Topology, Arc<AtomicU64>) {
    let calls = Arc::new(AtomicU64::new(0));
    let counting = calls.clone();
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .peek(move |_, _| {
            counting.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(takes);
            end();
        })
        .to_with("out", Produced::with(Utf8, I64));
    (builder.build().expect("a topology"), calls)
}

fn start(log: &Arc<dyn Log>, topology: Topology, settings: Settings) -> Application {
    Application::builder(topology, "slow")
        .log(log.clone())
        .settings(Settings {
            state_backend: StateBackend::Memory,
            ..settings
        })
        .start()
        .expect("started")
}

/// A step of each task, as many records as it may have, takes longer than the worker may be silent. If it lost its
/// place, records would be handled twice; without time limits on its steps, it would lose it.
///
/// For the log no time passes except in the closure, which then asks who is still a member: a worker that gets no
/// processor for a while is no slower.
#[test]
fn a_slow_closure_costs_nobody_his_place() {
    const RECORDS: i64 = 250;
    const TAKES_MS: u64 = 2;
    let clock = ManualEnv::new(SystemEnv::shared().wall_ms(), 1);
    let log = filled_by(clock.clone(), 4, RECORDS);
    let group = log.clone();
    let (topology, calls) = slow_copy_with(Duration::from_millis(TAKES_MS), move || {
        clock.advance_ms(TAKES_MS as i64);
        // Whoever asks makes the log expel those that have been silent for too long.
        let members = group.members("slow").expect("an answer");
        assert_eq!(members.map(|members| members.len()), Some(1));
    });
    let settings = Settings {
        session_timeout_ms: 100,
        max_poll_interval_ms: 100,
        ..Settings::default()
    };
    let mut running = start(&log, topology, settings);
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    assert_eq!(outputs(&*log), 4 * RECORDS);
    assert_eq!(calls.load(Ordering::SeqCst), 4 * RECORDS as u64);
}

/// 20 ms per record, 10 tasks, default settings: commits come all along, and a shutdown waits only for the current
/// record.
#[test]
fn commits_and_signals_come_between_slow_records() {
    let log = filled(10, 1_000);
    let holds = Arc::new(AtomicBool::new(false));
    let held = Arc::new(AtomicU64::new(0));
    let (holding, holders) = (holds.clone(), held.clone());
    let (topology, calls) = slow_copy_with(Duration::from_millis(20), move || {
        if holding.load(Ordering::SeqCst) {
            holders.fetch_add(1, Ordering::SeqCst);
            until("the record to be let go", || {
                !holding.load(Ordering::SeqCst)
            });
        }
    });
    let settings = Settings {
        workers: 2,
        ..Settings::default()
    };
    let mut running = start(&log, topology, settings);
    let seen = || calls.load(Ordering::SeqCst);
    until("records", || seen() >= 100);
    // One commit per 100 ms is one per 5 records of a worker; on a loaded machine records take longer.
    let committed = outputs(&*log);
    assert!(committed >= 40, "{committed} of {} are committed", seen());
    until("all tasks to have had their turn", || {
        let tasks = running.snapshot().tasks;
        let begun = |task: &marea::runtime::TaskSnapshot| task.positions[0].1 > 0;
        tasks.len() == 10 && tasks.iter().all(begun)
    });
    // The signal comes while both workers are at a record.
    holds.store(true, Ordering::SeqCst);
    until("both workers", || held.load(Ordering::SeqCst) == 2);
    let before = seen();
    running
        .close(Duration::ZERO)
        .expect_err("both workers are at a record");
    holds.store(false, Ordering::SeqCst);
    running.close(DEADLINE).expect("closed");
    let after = seen();
    assert_eq!(after, before, "records at the signal, and in the end");
    assert_eq!(outputs(&*log), after as i64, "all of them are committed");
}

/// A closure that blocks for good holds up its worker. The other tasks of that worker move, its writer is fenced,
/// the application continues and reports what is stuck.
#[test]
fn a_closure_that_blocks_holds_up_its_worker_alone() {
    // Only the test moves the log's clock: a worker that is merely slow keeps its place.
    let clock = ManualEnv::new(SystemEnv::shared().wall_ms(), 1);
    let log = filled_by(clock.clone(), 4, 10);
    let released = Arc::new(AtomicBool::new(false));
    let blocked = Arc::new(AtomicU64::new(0));
    let builder = StreamBuilder::new();
    let (release, count) = (released.clone(), blocked.clone());
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .map_values(move |key, value| {
            // Only the first time: the next owner of the task gets through.
            if key == "k1" && value == 5 && count.fetch_add(1, Ordering::SeqCst) == 0 {
                while !release.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            value
        })
        .group_by_key(Grouped::with("by", Utf8, I64))
        .count("counts")
        .to_stream()
        .present()
        .to_with("out", Produced::with(Utf8, I64));
    // A session is longer: heartbeats do not help.
    let settings = Settings {
        workers: 2,
        session_timeout_ms: 300_000,
        max_poll_interval_ms: 60_000,
        ..Settings::default()
    };
    let interval_ms = settings.max_poll_interval_ms;
    let place = tempfile::tempdir().expect("a directory");
    let mut running = Application::builder(builder.build().expect("a topology"), "slow")
        .log(log.clone())
        .state_directory(place.path())
        .settings(settings)
        .start()
        .expect("started");
    until("the closure to block", || {
        blocked.load(Ordering::SeqCst) > 0
    });
    clock.advance_ms(interval_ms as i64 + 1);
    // The directories of the tasks stay with the worker: the next owner restores into fresh ones.
    until("all records", || outputs(&*log) == 40);
    let stuck = || {
        let workers = running.snapshot().workers;
        let stuck = workers.into_iter().find_map(|worker| {
            let stuck = worker.stuck?;
            worker.expelled.then_some(stuck)
        });
        stuck.map(|stuck| (stuck.node, stuck.partition, stuck.offset))
    };
    let at = ("map_values".to_owned(), TopicPartition::new("in", 1), 5);
    until("the state to say so", || stuck() == Some(at.clone()));
    let snapshot = running.snapshot();
    assert_eq!(snapshot.state, State::Running, "{:?}", snapshot.error);
    assert_eq!(snapshot.tasks.len(), 4, "no task is listed twice");
    released.store(true, Ordering::SeqCst);
    until("the worker to work again", || {
        let workers = running.snapshot().workers;
        workers
            .iter()
            .all(|worker| worker.stuck.is_none() && !worker.expelled)
    });
    running.close(DEADLINE).expect("closed");
    assert_eq!(outputs(&*log), 40, "what was blocked came once");
    assert_eq!(blocked.load(Ordering::SeqCst), 2);
}

/// Without other workers nobody can get the tasks: they wait, and nothing is lost.
#[test]
fn a_worker_alone_keeps_its_place_however_long_it_takes() {
    let log = filled(1, 3);
    let (topology, calls) = slow_copy(Duration::from_millis(500));
    let settings = Settings {
        session_timeout_ms: 100,
        max_poll_interval_ms: 200,
        ..Settings::default()
    };
    let mut running = start(&log, topology, settings);
    until("all records", || outputs(&*log) == 3);
    running.close(DEADLINE).expect("closed");
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}
