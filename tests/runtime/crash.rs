//! A crash at each step of a commit, and each row of the crash table in `docs/guarantees.md`: the final results
//! are those of an undisturbed run, and no window has two final results.
//!
//! The application runs in a child process (this test binary, started again), so that a crash is real: `abort`,
//! with nothing flushed and nothing closed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use marea::base::{Env, ManualEnv, SystemEnv};
use marea::disk::Budget;
use marea::log::{Log, OpenOptions};
use marea::runtime::{Application, ApplicationBuilder, Guarantee, Hooks, Point, Settings};

use crate::faulty::{Fault, FaultyLog};
use crate::housekeeping::is_read;
use crate::pipeline::{
    append, create_topics, expected, expected_by_sensor, finals, readings, topology,
    topology_by_sensor,
};
use crate::restoring::wait_for;

const DEADLINE: Duration = Duration::from_secs(60);
const READINGS: i64 = 40_000;
const PARTITIONS: u32 = 2;

pub fn open_log(directory: &Path) -> Arc<dyn Log> {
    open_log_by(SystemEnv::shared(), directory)
}

/// A log with that clock.
fn open_log_by(env: Arc<dyn Env>, directory: &Path) -> Arc<dyn Log> {
    let options = OpenOptions::new(env, Budget::new(16 << 20));
    let url = format!("embedded:{}", directory.join("log").display());
    marea::log::open(&url, &options).expect("the log opens")
}

fn application(directory: &Path, log: Arc<dyn Log>, guarantee: Guarantee) -> ApplicationBuilder {
    let topology = match guarantee {
        Guarantee::ExactlyOnce => topology(),
        Guarantee::AtLeastOnce => topology_by_sensor(),
    };
    Application::builder(topology, "test")
        .log(log)
        .state_directory(directory.join("state"))
        .settings(Settings {
            workers: 2,
            guarantee,
            commit_interval_ms: 3,
            records_per_step: 50,
            memory_bytes: 64 << 20,
            ..Settings::default()
        })
}

/// A directory with a log that holds the readings.
fn prepared() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    fill(directory.path());
    directory
}

fn fill(directory: &Path) {
    let log = open_log(directory);
    create_topics(&*log, PARTITIONS);
    append(&*log, &readings(READINGS), PARTITIONS, 500);
}

fn run_to_the_end(directory: &Path, guarantee: Guarantee) {
    let log = open_log(directory);
    let mut running = application(directory, log, guarantee)
        .start()
        .expect("started");
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
}

fn check(directory: &Path, what: &str) {
    let log = open_log(directory);
    assert!(
        finals(&*log) == expected(&readings(READINGS)),
        "{what}: other results"
    );
    let replay = application(directory, log, Guarantee::ExactlyOnce).replay(|_| ());
    let replay = replay.expect("replayed");
    assert!(
        replay.is_equal(),
        "{what}: {:?} rebuilt as {:?}",
        replay.before,
        replay.after
    );
}

/// Aborts the process when a point is reached for the nth time.
#[derive(Debug)]
struct AbortAt {
    point: Point,
    left: AtomicU32,
    /// How long the worker may continue before the abort, in microseconds.
    delay_us: u64,
}

impl Hooks for AbortAt {
    fn reached(&self, point: Point) {
        if point == self.point && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            if self.delay_us == 0 {
                std::process::abort();
            }
            let delay = Duration::from_micros(self.delay_us);
            std::thread::spawn(move || {
                std::thread::sleep(delay);
                std::process::abort();
            });
        }
    }
}

const POINTS: [(&str, Point); 9] = [
    ("before_commit", Point::BeforeCommit),
    ("asked", Point::Asked),
    ("committed", Point::Committed),
    ("applied", Point::Applied),
    ("before_flush", Point::BeforeFlush),
    ("flushed", Point::Flushed),
    ("restoring", Point::Restoring),
    ("before_move", Point::BeforeMove),
    ("moved", Point::Moved),
];

/// Hooks that abort the process when a point is reached for the nth time.
pub fn abort_at(point: &str, nth: u32, delay_us: u64) -> Arc<dyn Hooks> {
    let mut points = POINTS.iter();
    let found = points.find(|(name, _)| *name == point);
    Arc::new(AbortAt {
        point: found.expect("a point").1,
        left: AtomicU32::new(nth),
        delay_us,
    })
}

/// Not a test of its own: run by the child processes.
#[test]
fn child() {
    let Ok(plan) = std::env::var("MAREA_TEST_CRASH") else {
        return;
    };
    let parts: Vec<&str> = plan.split('|').collect();
    let [directory, point, nth, delay_us, guarantee] = parts[..] else {
        panic!("{plan}")
    };
    let number = |text: &str| text.parse().expect("a number");
    let hooks = abort_at(point, number(nth), u64::from(number(delay_us)));
    let guarantee = match guarantee {
        "at_least_once" => Guarantee::AtLeastOnce,
        _ => Guarantee::ExactlyOnce,
    };
    let directory = Path::new(directory);
    let log = open_log(directory);
    let builder = application(directory, log, guarantee).hooks(hooks);
    let mut running = builder.start().expect("started");
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
}

/// Runs the child; `true` if it crashed, `false` if it reached the end first.
fn crashes(directory: &Path, point: &str, nth: u32, delay_us: u64, guarantee: &str) -> bool {
    let plan = format!(
        "{}|{point}|{nth}|{delay_us}|{guarantee}",
        directory.display()
    );
    let status = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "crash::child", "--nocapture"])
        .env("MAREA_TEST_CRASH", plan)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the child runs");
    !status.success()
}

/// Crashes at several occurrences of a point, one after another on the same data, then finishes.
fn crash_at(point: &str, guarantee: Guarantee, occurrences: &[u32]) {
    let directory = prepared();
    let word = if guarantee == Guarantee::AtLeastOnce {
        "at_least_once"
    } else {
        "exactly_once"
    };
    let crashed = occurrences
        .iter()
        .filter(|nth| crashes(directory.path(), point, **nth, 0, word))
        .count();
    assert!(crashed > 0, "{point}: no child crashed");
    run_to_the_end(directory.path(), guarantee);
    check(directory.path(), point);
}

#[test]
fn before_commit_asked() {
    crash_at("before_commit", Guarantee::ExactlyOnce, &[1, 2, 9, 5]);
}

#[test]
fn commit_answer_lost_with_the_process() {
    crash_at("asked", Guarantee::ExactlyOnce, &[1, 2, 9, 5]);
}

#[test]
fn committed_not_applied() {
    crash_at("committed", Guarantee::ExactlyOnce, &[1, 2, 9, 5]);
}

#[test]
fn applied_not_flushed() {
    crash_at("applied", Guarantee::ExactlyOnce, &[1, 2, 9, 5]);
}

#[test]
fn inside_flush() {
    let directory = prepared();
    assert!(crashes(
        directory.path(),
        "before_flush",
        1,
        0,
        "exactly_once"
    ));
    for delay_us in [100, 700, 2_000] {
        // The flush may be faster: then nothing is left to crash.
        crashes(
            directory.path(),
            "before_flush",
            2,
            delay_us,
            "exactly_once",
        );
    }
    crashes(directory.path(), "flushed", 1, 0, "exactly_once");
    run_to_the_end(directory.path(), Guarantee::ExactlyOnce);
    check(directory.path(), "inside flush");
}

#[test]
fn in_the_middle_of_a_restore() {
    let directory = prepared();
    assert!(crashes(
        directory.path(),
        "before_flush",
        1,
        0,
        "exactly_once"
    ));
    std::fs::remove_dir_all(directory.path().join("state")).expect("state deleted by hand");
    assert!(crashes(directory.path(), "restoring", 2, 0, "exactly_once"));
    run_to_the_end(directory.path(), Guarantee::ExactlyOnce);
    check(directory.path(), "restoring");
}

/// Outputs of the commit that crashed may come twice; they must be equal, and the state must be that of reading
/// the input once.
#[test]
fn at_least_once_state_never_runs_ahead_of_its_input() {
    for point in ["before_commit", "asked", "committed", "applied"] {
        let directory = prepared();
        for nth in [2, 5, 9] {
            crashes(directory.path(), point, nth, 0, "at_least_once");
        }
        run_to_the_end(directory.path(), Guarantee::AtLeastOnce);
        let log = open_log(directory.path());
        let results = crate::pipeline::finals_with_repeats(&*log);
        assert!(
            results == expected_by_sensor(&readings(READINGS)),
            "at least once, {point}: other results"
        );
        let replay = application(directory.path(), log, Guarantee::AtLeastOnce).replay(|_| ());
        assert!(
            replay.expect("replayed").is_equal(),
            "at least once, {point}"
        );
    }
}

/// Runs to the end in this process over a log that misbehaves. How many commits a run has depends on its speed: on
/// a loaded machine few, large ones.
fn run_with(fault: Fault) -> u32 {
    let directory = prepared();
    let log = Arc::new(FaultyLog::new(open_log(directory.path()), fault));
    let shared: Arc<dyn Log> = log.clone();
    let mut running = application(directory.path(), shared, Guarantee::ExactlyOnce)
        .start()
        .expect("started");
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    let faults = log.faults();
    drop((running, log));
    check(directory.path(), "faulty log");
    faults
}

#[test]
fn commit_answer_lost() {
    assert!(
        run_with(Fault::LoseAnswer { every: 2 }) > 0,
        "answers were lost"
    );
}

#[test]
fn an_outcome_that_the_writer_never_learns() {
    assert!(
        run_with(Fault::LoseOutcome { every: 2 }) > 1,
        "outcomes were lost"
    );
}

#[test]
fn abort_without_crash() {
    assert!(
        run_with(Fault::Abort { every: 3 }) > 0,
        "commits were aborted"
    );
}

/// Holds one worker before its commit, until it is free to go on.
#[derive(Debug)]
struct Stall {
    left: AtomicU32,
    holds: AtomicBool,
    free: AtomicBool,
}

impl Hooks for Stall {
    fn reached(&self, point: Point) {
        if point == Point::BeforeCommit && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.holds.store(true, Ordering::SeqCst);
            let since = Instant::now();
            while !self.free.load(Ordering::SeqCst) {
                assert!(since.elapsed() < 3 * DEADLINE, "nobody frees the worker");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[test]
fn zombie_fenced() {
    let directory = prepared();
    // Only the test moves the log's clock: a worker that is merely slow keeps its place.
    let clock = ManualEnv::new(SystemEnv::shared().wall_ms(), 1);
    let log = open_log_by(clock.clone(), directory.path());
    let builder = application(directory.path(), log.clone(), Guarantee::ExactlyOnce);
    let settings = Settings {
        workers: 2,
        commit_interval_ms: 3,
        records_per_step: 50,
        // However long it takes until another worker has the tasks.
        idle_timeout_ms: None,
        ..Settings::default()
    };
    // Each worker commits several times, however large its commits are.
    let stall = Arc::new(Stall {
        left: AtomicU32::new(3),
        holds: AtomicBool::new(false),
        free: AtomicBool::new(false),
    });
    let mut running = builder
        .settings(settings.clone())
        .hooks(stall.clone())
        .start()
        .expect("started");
    wait_for(&running, "a worker is held", |_| {
        stall.holds.load(Ordering::SeqCst)
    });
    clock.advance_ms(settings.max_poll_interval_ms as i64 + 1);
    wait_for(
        &running,
        "the other worker goes on in its place",
        |snapshot| {
            let expelled = snapshot.workers.iter().any(|worker| worker.expelled);
            expelled && snapshot.tasks.len() == 2 * PARTITIONS as usize && is_read(&*log)
        },
    );
    stall.free.store(true, Ordering::SeqCst);
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    let snapshot = running.snapshot();
    let workers = snapshot.workers.iter();
    let lost = workers.map(|worker| worker.places_lost).sum::<u64>();
    assert_eq!(lost, 1, "the zombie's place and no other");
    // What a zombie sent once more would be late by now.
    assert_eq!(
        snapshot.drops.kafka_streams_total(),
        0,
        "{:?}",
        snapshot.drops
    );
    drop((running, log));
    check(directory.path(), "a zombie");
}

/// Counts flushes.
#[derive(Debug, Default)]
struct Flushes(AtomicU32);

impl Hooks for Flushes {
    fn reached(&self, point: Point) {
        if point == Point::Flushed {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn rows_reach_the_disk_while_it_runs() {
    let directory = prepared();
    let log = open_log(directory.path());
    let settings = Settings {
        commit_interval_ms: 3,
        purge_interval_ms: 0,
        flush_interval_ms: 0,
        ..Settings::default()
    };
    let flushes = Arc::new(Flushes::default());
    let mut running = application(directory.path(), log, Guarantee::ExactlyOnce)
        .settings(settings)
        .hooks(flushes.clone())
        .start()
        .expect("started");
    running.drain(DEADLINE).expect("drained");
    assert!(flushes.0.load(Ordering::Relaxed) > 0, "before it is closed");
    running.close(DEADLINE).expect("closed");
    drop(running);
    check(directory.path(), "flushed on the way");
}

#[test]
fn log_shorter_or_other() {
    // Another log: the state of the first must not be used.
    let directory = prepared();
    run_to_the_end(directory.path(), Guarantee::ExactlyOnce);
    std::fs::remove_dir_all(directory.path().join("log")).expect("deleted");
    fill(directory.path());
    run_to_the_end(directory.path(), Guarantee::ExactlyOnce);
    check(directory.path(), "another log");

    // The same log as it was before the state moved on.
    let directory = prepared();
    assert!(crashes(directory.path(), "applied", 4, 0, "exactly_once"));
    copy(
        &directory.path().join("log"),
        &directory.path().join("old-log"),
    );
    run_to_the_end(directory.path(), Guarantee::ExactlyOnce);
    std::fs::remove_dir_all(directory.path().join("log")).expect("deleted");
    std::fs::rename(
        directory.path().join("old-log"),
        directory.path().join("log"),
    )
    .expect("moved");
    run_to_the_end(directory.path(), Guarantee::ExactlyOnce);
    check(directory.path(), "a shorter log");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("created");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            false => std::fs::copy(entry.path(), &target)
                .map(|_| ())
                .expect("copied"),
        }
    }
}
