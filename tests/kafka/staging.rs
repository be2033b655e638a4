//! Outputs that are sent ahead of their commit: transactions that are open for long, and what ends them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use marea::base::TopicPartition;
use marea::codec::{I64, Utf8};
use marea::dsl::{Consumed, Produced, StreamBuilder};
use marea::log::{
    BatchBuilder, BatchesBuilder, Commit, CommittedOffset, Isolation, Log, Reader, Records,
    TopicSpec,
};
use marea::runtime::{Application, ApplicationBuilder, Settings};
use marea::topology::Topology;

use crate::broker::Broker;
use crate::cases::{Case, OwnCase};
use crate::crash::settings;
use crate::patience::{assign, commit, connected, insist};

pub const CASES: &[(&str, Case)] = &[
    (
        "a_commit_that_waits_takes_no_processor",
        a_commit_that_waits_takes_no_processor,
    ),
    (
        "members_come_and_go_while_outputs_go_ahead",
        members_come_and_go_while_outputs_go_ahead,
    ),
    (
        "a_time_that_the_brokers_do_not_allow_is_named",
        a_time_that_the_brokers_do_not_allow_is_named,
    ),
];

pub const OWN_CASES: &[(&str, OwnCase)] = &[(
    "a_closure_that_outlasts_a_transaction_loses_nothing_and_ends_nothing",
    a_closure_that_outlasts_a_transaction_loses_nothing_and_ends_nothing,
)];

const DEADLINE: Duration = Duration::from_secs(180);

/// A log whose transactions may be open for this long.
pub fn log_with_timeout(broker: &Broker, timeout_ms: u64) -> Arc<dyn Log> {
    let url = format!("{}?transaction.timeout.ms={timeout_ms}", broker.url);
    connected(&url)
}

/// Numbers from 0 on, with values of that size, to the partitions in turn.
fn fill(log: &dyn Log, topic: &str, partitions: u32, count: i64, size: usize) {
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    let value = "v".repeat(size);
    for first in (0..count).step_by(10_000) {
        let mut builders: Vec<BatchesBuilder> = Vec::new();
        builders.resize_with(partitions as usize, BatchesBuilder::default);
        for number in first..count.min(first + 10_000) {
            let builder = &mut builders[number as usize % partitions as usize];
            let key = number.to_be_bytes();
            builder.push(Some(&key), Some(value.as_bytes()), 1_000 + number, &[]);
        }
        let mut appends = Vec::new();
        for (partition, builder) in builders.iter_mut().enumerate() {
            let place = TopicPartition::new(topic, partition as u32);
            appends.extend(
                builder
                    .seal()
                    .into_iter()
                    .map(|batch| (place.clone(), batch)),
            );
        }
        let group = None;
        commit(&mut *writer, Commit { appends, group });
    }
}

/// The committed numbers of a topic, sorted.
fn numbers(log: &dyn Log, topic: &str, partitions: u32) -> Vec<i64> {
    let places: Vec<_> = (0..partitions)
        .map(|partition| TopicPartition::new(topic, partition))
        .collect();
    let ends = log.end_offsets(&places, Isolation::ReadUncommitted);
    let ends = ends.expect("ends");
    let mut reader = log.reader(1 << 20).expect("a reader");
    let starts: Vec<_> = places.iter().map(|place| (place.clone(), 0)).collect();
    assign(&mut *reader, &starts);
    let mut found = Vec::new();
    let until = Instant::now() + DEADLINE;
    let at = |reader: &dyn Reader, place| reader.position(place).expect("assigned");
    while places
        .iter()
        .zip(&ends)
        .any(|(place, end)| at(&*reader, place) < *end)
    {
        assert!(Instant::now() < until, "{} of {ends:?}", found.len());
        let fetched = reader.poll(8 << 20, Duration::from_millis(100));
        for fetched in fetched.expect("readable") {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record().expect("intact") {
                let key = record.key.expect("a key").try_into().expect("a number");
                found.push(i64::from_be_bytes(key));
            }
        }
    }
    found.sort_unstable();
    found
}

/// From `in` to the topic, through the closure.
fn pass(out: &str, closure: impl Fn(&i64) + Send + Sync + 'static) -> Topology {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(I64, Utf8))
        .map(move |key, value: String| {
            closure(&key);
            (key, value)
        })
        .to_with(out, Produced::with(I64, Utf8));
    builder.build().expect("a topology")
}

/// The processor time that each of the writers' threads of this process has used, in ticks of 10 ms. Those of earlier
/// cases may end at any time.
fn ticks_of_writers() -> BTreeMap<OsString, u64> {
    let mut ticks = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").expect("threads") {
        let task = task.expect("a thread");
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if !read("comm").starts_with("marea-kafka-wri") {
            continue;
        }
        let stat = read("stat");
        let Some((_, fields)) = stat.rsplit_once(')') else {
            continue;
        };
        // User and system time: the 12th and 13th field after the name.
        let fields = fields.split_whitespace().skip(11).take(2);
        let fields = fields.filter_map(|field| field.parse::<u64>().ok());
        ticks.insert(task.file_name(), fields.sum());
    }
    ticks
}

/// A commit that waits for an unresponsive broker sleeps.
fn a_commit_that_waits_takes_no_processor(broker: &Broker) {
    const PAUSE: Duration = Duration::from_secs(3);
    if broker.directory().is_none() {
        println!("    not done: the broker is not ours to stop");
        return;
    }
    let log = broker.fresh_log();
    log.create_topics(&[TopicSpec::new("in", 1)])
        .expect("created");
    fill(&*log, "in", 1, 1, 10);
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    let mut batch = BatchBuilder::default();
    batch.push(None, Some(b"x"), 1, &[]);
    let appends = vec![(
        TopicPartition::new("in", 0),
        batch.seal().expect("a record"),
    )];
    let before = ticks_of_writers();
    let group = None;
    let waited = std::thread::scope(|scope| {
        let began = Instant::now();
        broker.signal(1, "-STOP");
        scope.spawn(|| {
            std::thread::sleep(PAUSE);
            broker.signal(1, "-CONT");
        });
        commit(&mut *writer, Commit { appends, group });
        began.elapsed()
    });
    let after = ticks_of_writers();
    let grown = |(thread, ticks): (&OsString, &u64)| {
        let before = before.get(thread).unwrap_or(ticks);
        ticks.saturating_sub(*before)
    };
    let took_ms = 10 * after.iter().map(grown).sum::<u64>();
    let waited_ms = waited.as_millis() as u64;
    println!("    {took_ms} ms of processor in {waited_ms} ms");
    assert!(waited >= PAUSE / 2, "it waited for the broker");
    // Anything more would be spinning.
    assert!(took_ms * 10 < waited_ms, "{took_ms} of {waited_ms} ms");
}

/// How long a transaction may be open there, in milliseconds.
const OPEN_MS: u64 = 3_000;
const LOOK: Duration = Duration::from_millis(20);

/// One record takes longer than a transaction may be open, every time, and the outputs of the records before it
/// have been sent ahead.
fn a_closure_that_outlasts_a_transaction_loses_nothing_and_ends_nothing() {
    const ROUNDS: u32 = 10;
    // By default, brokers check for expired transactions every ten seconds.
    let looks = "transaction.abort.timed.out.transaction.cleanup.interval.ms=500";
    let broker = Broker::own(looks).expect("a broker");
    for round in 0..ROUNDS {
        let opened = a_closure_outlasts_a_transaction(&broker, round);
        println!("    whether a transaction was open at the slow record: {opened:?}");
        // A slow machine may have committed everything before that record.
        if let [true, later @ ..] = &opened[..]
            && !later.is_empty()
        {
            assert!(!later.contains(&true), "nothing is sent ahead again");
            return;
        }
    }
    panic!("no transaction was open at the slow record, in {ROUNDS} rounds");
}

/// Whether a transaction was open at the slow record, each time that it was processed.
fn a_closure_outlasts_a_transaction(broker: &Broker, round: u32) -> Vec<bool> {
    const RECORDS: i64 = 4_000;
    const SLOW: i64 = 2_500;
    let asked = broker.fresh_log();
    asked
        .create_topics(&[TopicSpec::new("in", 1), TopicSpec::new("out", 1)])
        .expect("created");
    fill(&*asked, "in", 1, RECORDS, 1_000);
    let opened = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&opened);
    let topology = pass("out", move |number| {
        if *number == SLOW {
            let mut opened = noted.lock().expect("no panic");
            let is_first = opened.is_empty();
            opened.push(outlast_a_transaction(&*asked, is_first));
        }
    });
    let log = log_with_timeout(broker, OPEN_MS);
    let directory = tempfile::tempdir().expect("a directory");
    let builder = Application::builder(topology, format!("slow{round}"))
        .log(Arc::clone(&log))
        .state_directory(directory.path())
        .settings(Settings {
            workers: 1,
            commit_interval_ms: 60_000,
            commit_spacing_ms: Some(60_000),
            records_per_step: 500,
            ..settings()
        });
    let mut running = builder.start().expect("started");
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    assert!(
        numbers(&*log, "out", 1) == (0..RECORDS).collect::<Vec<_>>(),
        "other records"
    );
    let opened = opened.lock().expect("no panic");
    opened.clone()
}

/// Returns whether a transaction on the output was left open. The first time, it is over by then; if there was none,
/// another round has to show it. Later, this takes longer than one may be open.
fn outlast_a_transaction(log: &dyn Log, is_first: bool) -> bool {
    let out = TopicPartition::new("out", 0);
    let is_open = || {
        let end = |isolation| insist("an end", || log.end_offset(&out, isolation));
        end(Isolation::ReadCommitted) < end(Isolation::ReadUncommitted)
    };
    let is_open_for = |time: Duration| {
        let began = Instant::now();
        while is_open() {
            if began.elapsed() >= time {
                return true;
            }
            std::thread::sleep(LOOK);
        }
        false
    };
    let until = Instant::now() + Duration::from_millis(OPEN_MS + 1_000);
    while Instant::now() < until {
        // A commit in flight is soon over.
        if is_open_for(Duration::from_secs(1)) {
            assert!(
                !is_first || !is_open_for(DEADLINE),
                "brokers end a transaction"
            );
            return true;
        }
        std::thread::sleep(LOOK);
    }
    false
}

/// A member that comes or goes changes the group's generation: whatever commits and outputs are in flight then,
/// each input is written once. Prints the cost; the test does not depend on the time.
fn members_come_and_go_while_outputs_go_ahead(broker: &Broker) {
    const RECORDS: i64 = 300_000;
    const PARTITIONS: u32 = 4;
    let log = broker.fresh_log();
    let topics = ["in", "alone", "disturbed"];
    let topics = topics.map(|name| TopicSpec::new(name, PARTITIONS));
    log.create_topics(&topics).expect("created");
    fill(&*log, "in", PARTITIONS, RECORDS, 400);
    let mut rates = Vec::new();
    for out in ["alone", "disturbed"] {
        let directory = tempfile::tempdir().expect("a directory");
        let id = crate::crash::id_of(directory.path());
        let count = Arc::new(AtomicU64::new(0));
        let start = |name: &str, workers: usize| -> Application {
            let counted = Arc::clone(&count);
            let topology = pass(out, move |_| {
                // As if each record required work.
                if counted.fetch_add(1, Ordering::Relaxed).is_multiple_of(20) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let builder: ApplicationBuilder = Application::builder(topology, &id).log(broker.log());
            let builder = builder.state_directory(directory.path().join(name));
            let builder = builder.settings(Settings {
                workers,
                commit_interval_ms: 500,
                records_per_step: 1_000,
                ..settings()
            });
            builder.start().expect("started")
        };
        let began = Instant::now();
        let mut stays = start("stays", 2);
        let inputs: Vec<_> = (0..PARTITIONS)
            .map(|partition| TopicPartition::new("in", partition))
            .collect();
        let done = || {
            let offsets = log.committed(&id, &inputs).expect("offsets");
            let offset = |one: Option<CommittedOffset>| one.map_or(0, |one| one.offset);
            offsets.into_iter().map(offset).sum::<i64>()
        };
        let mut comes: Option<Application> = None;
        let mut changed = Instant::now();
        let mut changes = 0;
        while done() < RECORDS {
            assert!(began.elapsed() < DEADLINE, "{} of {RECORDS}", done());
            std::thread::sleep(Duration::from_millis(50));
            if out == "disturbed" && changed.elapsed() >= Duration::from_secs(3) {
                changed = Instant::now();
                changes += 1;
                comes = match comes.take() {
                    Some(mut goes) => {
                        goes.leave(DEADLINE).expect("left");
                        None
                    }
                    None => Some(start("comes", 1)),
                };
            }
        }
        let took = began.elapsed();
        let processed = count.load(Ordering::Relaxed);
        println!(
            "    {out}: {RECORDS} records in {took:?} with {changes} changes, {processed} processed"
        );
        rates.push(RECORDS as f64 / took.as_secs_f64());
        stays.close(DEADLINE).expect("closed");
        if let Some(mut comes) = comes {
            comes.close(DEADLINE).expect("closed");
        }
        assert!(
            numbers(&*log, out, PARTITIONS) == (0..RECORDS).collect::<Vec<_>>(),
            "{out}: other records"
        );
    }
    println!(
        "    a rebalance every 3 s keeps {:.2} of the rate",
        rates[1] / rates[0]
    );
}

/// Brokers allow 15 minutes by default.
fn a_time_that_the_brokers_do_not_allow_is_named(broker: &Broker) {
    let log = log_with_timeout(broker, 3_600_000);
    let error = log.writer("w", 1 << 20).err().expect("too long");
    assert_eq!(error.kind(), marea::ErrorKind::Invalid, "{error}");
    let said = error.to_string();
    assert!(said.contains("transaction.max.timeout.ms"), "{said}");
}
