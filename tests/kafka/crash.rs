//! Whole applications on a real broker: the undisturbed run, and a crash at each step of a commit.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use marea::base::TopicPartition;
use marea::log::{Isolation, Log};
use marea::runtime::{
    Application, ApplicationBuilder, Guarantee, Hooks, Point, Settings, StoreSum,
};

use crate::broker::Broker;
use crate::cases::Case;
use crate::foreign;
use crate::patience::{assign, connected};
use crate::pipeline::{
    append, create_topics, expected, expected_by_sensor, finals, finals_with_repeats, readings,
    topology, topology_by_sensor,
};

pub const CASES: &[(&str, Case)] = &[
    (
        "an_application_is_exactly_once",
        an_application_is_exactly_once,
    ),
    (
        "a_crash_before_a_commit_is_asked",
        a_crash_before_a_commit_is_asked,
    ),
    (
        "a_crash_while_a_commit_is_asked",
        a_crash_while_a_commit_is_asked,
    ),
    ("a_crash_after_a_commit", a_crash_after_a_commit),
    (
        "a_crash_after_the_rows_are_applied",
        a_crash_after_the_rows_are_applied,
    ),
    ("a_crash_inside_a_flush", a_crash_inside_a_flush),
    (
        "a_crash_in_the_middle_of_a_restore",
        a_crash_in_the_middle_of_a_restore,
    ),
    (
        "at_least_once_state_never_runs_ahead_of_its_input",
        at_least_once_state_never_runs_ahead_of_its_input,
    ),
    (
        "a_process_that_wakes_up_late_does_no_harm",
        a_process_that_wakes_up_late_does_no_harm,
    ),
];

/// Set for a child process: what to run.
pub const CHILD: &str = "MAREA_TEST_KAFKA_CHILD";

const DEADLINE: Duration = Duration::from_secs(120);
/// How long sessions and transactions of crashed processes last, in milliseconds: whoever waited for one of them
/// would miss the deadline.
pub const OUTLASTS_MS: u64 = 600_000;
/// How long transactions of a process that falls asleep last, in milliseconds: others wait for the one that it has
/// left open, and brokers look for such transactions every ten seconds.
const SHORT_MS: u64 = 10_000;
const PARTITIONS: u32 = 2;
const READINGS: i64 = 20_000;

pub fn prepared(broker: &Broker) -> Arc<dyn Log> {
    let log = broker.fresh_log();
    create_topics(&*log, PARTITIONS);
    append(&*log, &readings(READINGS), PARTITIONS, 500);
    log
}

pub fn application(directory: &Path, log: Arc<dyn Log>) -> ApplicationBuilder {
    Application::builder(topology(), id_of(directory))
        .log(log)
        .state_directory(directory)
        .settings(settings())
}

/// A group of its own for each directory: an earlier group may still have members.
pub fn id_of(directory: &Path) -> String {
    let name = directory.file_name().expect("a name").to_string_lossy();
    name.trim_start_matches('.').to_owned()
}

pub fn settings() -> Settings {
    Settings {
        workers: 2,
        commit_interval_ms: 20,
        records_per_step: 50,
        memory_bytes: 64 << 20,
        session_timeout_ms: 10_000,
        ..Settings::default()
    }
}

fn run_to_the_end(builder: ApplicationBuilder) {
    let mut running = builder.start().expect("started");
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
}

pub fn check(directory: &Path, log: Arc<dyn Log>) {
    assert!(
        finals(&*log) == expected(&readings(READINGS)),
        "other results"
    );
    let replay = application(directory, Arc::clone(&log))
        .replay(|_| ())
        .expect("replayed");
    let differ = |(before, after): &(&StoreSum, &StoreSum)| before != after;
    let pairs = || replay.before.iter().zip(&replay.after).filter(differ);
    for (before, after) in pairs() {
        println!("    {before:?} was rebuilt as {after:?}");
        let changelog = match &*before.store {
            "times" => format!("{}-task", before.task.subtopology),
            store => store.to_owned(),
        };
        let topic = format!("{}-{changelog}-changelog", id_of(directory));
        print_records(&*log, &TopicPartition::new(topic, before.task.partition));
    }
    assert_eq!(pairs().count(), 0, "the changelogs tell another state");
}

/// Prints what a partition holds, to find out why a test failed.
fn print_records(log: &dyn Log, partition: &TopicPartition) {
    let end = log.end_offset(partition, Isolation::ReadUncommitted);
    let end = end.expect("an end");
    let mut reader = log.reader(1 << 20).expect("a reader");
    assign(&mut *reader, &[(partition.clone(), 0)]);
    let until = Instant::now() + DEADLINE;
    while reader.position(partition).is_some_and(|at| at < end) && Instant::now() < until {
        for fetched in reader.poll(1 << 20, Duration::from_secs(1)).expect("read") {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record().expect("whole") {
                let key = String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned();
                println!(
                    "      {partition} {}: {key:?} {:?}",
                    record.offset, record.value
                );
            }
        }
    }
    println!("      {partition} ends at {end}");
}

fn an_application_is_exactly_once(broker: &Broker) {
    let log = prepared(broker);
    let directory = tempfile::tempdir().expect("a directory");
    run_to_the_end(application(directory.path(), Arc::clone(&log)));
    check(directory.path(), log);
}

/// A process sleeps in the middle of its work for longer than its session; another one takes over, and the first
/// wakes up.
fn a_process_that_wakes_up_late_does_no_harm(broker: &Broker) {
    let log = prepared(broker);
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = start_child(broker, directory.path(), "slow|exactly_once", 0);
    let signal = |name: &str, id: u32| {
        let sent = Command::new("kill").arg(name).arg(id.to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "{name}");
    };
    let readings = TopicPartition::new("readings", 0);
    let until = Instant::now() + DEADLINE;
    let done = loop {
        let done = log.committed(&id_of(directory.path()), std::slice::from_ref(&readings));
        match done.expect("known").pop().flatten() {
            Some(committed) if committed.offset > 300 => break committed.offset,
            _ => assert!(Instant::now() < until && child.try_wait().expect("a child").is_none()),
        }
    };
    signal("-STOP", child.id());
    println!("    asleep after {done} of {} records", READINGS / 2);
    let builder = application(directory.path(), Arc::clone(&log));
    let mut running = builder
        .state_directory(directory.path().join("other"))
        .start()
        .expect("started");
    running.drain(DEADLINE).expect("drained");
    assert!(
        finals(&*log) == expected(&crate::pipeline::readings(READINGS)),
        "other results"
    );
    signal("-CONT", child.id());
    std::thread::sleep(Duration::from_secs(4));
    let lived = child.try_wait().expect("a child").is_none();
    child.kill().expect("killed");
    child.wait().expect("gone");
    running.close(DEADLINE).expect("closed");
    assert!(lived, "it joins anew");
    assert!(
        finals(&*log) == expected(&crate::pipeline::readings(READINGS)),
        "other results"
    );
}

pub fn start_child(broker: &Broker, directory: &Path, point: &str, nth: u32) -> Child {
    let plan = format!("{}|{}|{point}|{nth}", broker.url, directory.display());
    Command::new(std::env::current_exe().expect("this binary"))
        .env(CHILD, plan)
        .stdout(Stdio::null())
        .stderr(match std::env::var_os("RUST_LOG") {
            Some(_) => Stdio::inherit(),
            None => Stdio::null(),
        })
        .spawn()
        .expect("the child runs")
}

fn a_crash_before_a_commit_is_asked(broker: &Broker) {
    crash_at(
        broker,
        &[("before_commit", 1), ("before_commit", 4)],
        "exactly_once",
    );
}

fn a_crash_while_a_commit_is_asked(broker: &Broker) {
    crash_at(broker, &[("asked", 1), ("asked", 4)], "exactly_once");
}

fn a_crash_after_a_commit(broker: &Broker) {
    crash_at(
        broker,
        &[("committed", 1), ("committed", 4)],
        "exactly_once",
    );
}

fn a_crash_after_the_rows_are_applied(broker: &Broker) {
    crash_at(broker, &[("applied", 1), ("applied", 5)], "exactly_once");
}

fn a_crash_inside_a_flush(broker: &Broker) {
    crash_at(
        broker,
        &[("before_flush", 1), ("flushed", 2)],
        "exactly_once",
    );
}

fn a_crash_in_the_middle_of_a_restore(broker: &Broker) {
    let steps = [("committed", 4), ("restoring", 1), ("restoring", 3)];
    crash_at(broker, &steps, "exactly_once");
}

fn at_least_once_state_never_runs_ahead_of_its_input(broker: &Broker) {
    let steps = [
        ("before_commit", 1),
        ("asked", 2),
        ("committed", 1),
        ("applied", 1),
    ];
    crash_at(broker, &steps, "at_least_once");
}

/// Crashes at each step in turn, on the same data; each time it must soon work again, as if nothing had happened.
fn crash_at(broker: &Broker, steps: &[(&str, u32)], guarantee: &str) {
    let log = prepared(broker);
    let directory = tempfile::tempdir().expect("a directory");
    let mut crashed = 0;
    for (point, nth) in steps {
        let mut child = start_child(
            broker,
            directory.path(),
            &format!("{point}|{guarantee}"),
            *nth,
        );
        let status = child.wait().expect("the child ends");
        crashed += usize::from(!status.success());
    }
    assert!(crashed * 2 >= steps.len(), "{crashed} children crashed");
    let builder = with_guarantee(directory.path(), patient(&broker.url), guarantee);
    let started = Instant::now();
    let mut running = builder.start().expect("started");
    while running.snapshot().tasks.len() < 2 * PARTITIONS as usize / at_once(guarantee) {
        assert!(started.elapsed() < DEADLINE, "{:?}", running.snapshot());
        std::thread::sleep(Duration::from_millis(5));
    }
    println!(
        "    {crashed} crashes; at work again after {} ms",
        started.elapsed().as_millis()
    );
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    drop(running);
    match guarantee {
        "exactly_once" => check(directory.path(), log),
        _ => {
            let results = finals_with_repeats(&*log);
            assert!(
                results == expected_by_sensor(&readings(READINGS)),
                "other results"
            );
            let replay = with_guarantee(directory.path(), log, guarantee).replay(|_| ());
            assert!(replay.expect("replayed").is_equal(), "other rows");
        }
    }
}

/// With at least once, the sums are by sensor, which needs no repartition and half of the tasks.
fn at_once(guarantee: &str) -> usize {
    1 + usize::from(guarantee == "at_least_once")
}

/// The cluster, with transactions that outlast a test.
pub fn patient(url: &str) -> Arc<dyn Log> {
    let first = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{first}transaction.timeout.ms={OUTLASTS_MS}");
    connected(&url)
}

fn with_guarantee(directory: &Path, log: Arc<dyn Log>, guarantee: &str) -> ApplicationBuilder {
    match guarantee {
        "exactly_once" => application(directory, log).settings(Settings {
            session_timeout_ms: OUTLASTS_MS,
            ..settings()
        }),
        foreign::PLAN => foreign::application(directory, log),
        _ => Application::builder(topology_by_sensor(), id_of(directory))
            .log(log)
            .state_directory(directory)
            .settings(Settings {
                guarantee: Guarantee::AtLeastOnce,
                session_timeout_ms: OUTLASTS_MS,
                ..settings()
            }),
    }
}

/// Aborts the process when a point is reached for the nth time.
#[derive(Debug)]
struct AbortAt {
    point: Point,
    left: AtomicU32,
}

impl Hooks for AbortAt {
    fn reached(&self, point: Point) {
        if point == self.point && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            std::process::abort();
        }
    }
}

/// What a child process runs.
pub fn child(plan: &str) {
    let parts: Vec<&str> = plan.split('|').collect();
    let [url, directory, point, guarantee, nth] = parts[..] else {
        panic!("{plan}")
    };
    if point == "slow" {
        let url = format!("{url}?transaction.timeout.ms={SHORT_MS}");
        let builder = application(Path::new(directory), connected(&url));
        let running = builder.settings(Settings {
            records_per_step: 1,
            ..settings()
        });
        let running = running.start().expect("started");
        // For longer than it may sleep: its clock does not stop. It is killed before that.
        running.wait(6 * DEADLINE).expect("it runs");
        return;
    }
    let point = match point {
        "before_commit" => Point::BeforeCommit,
        "asked" => Point::Asked,
        "committed" => Point::Committed,
        "applied" => Point::Applied,
        "before_flush" => Point::BeforeFlush,
        "flushed" => Point::Flushed,
        "restoring" => Point::Restoring,
        _ => panic!("{plan}"),
    };
    let left = AtomicU32::new(nth.parse().expect("a number"));
    let log = patient(url);
    let hooks = Arc::new(AbortAt { point, left });
    run_to_the_end(with_guarantee(Path::new(directory), log, guarantee).hooks(hooks));
}
