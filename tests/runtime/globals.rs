//! Global stores: every instance has all of them before it starts, and all its tasks read them.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use marea::base::{Record, TopicPartition};
use marea::codec::{I64, Utf8};
use marea::dsl::{
    Consumed, KeyValueStore, Processed, Processor, ProcessorContext, Produced, Stores,
    StreamBuilder,
};
use marea::log::{BatchBuilder, Commit, Isolation, Log, TopicSpec};
use marea::runtime::{Application, Settings, StateBackend};
use marea::task::DropReason;
use marea::topology::Topology;
use marea::{Error, ErrorKind, Result};

use crate::counting::{DEADLINE, wait};
use crate::pipeline::memory_log;

const PARTITIONS: u32 = 4;

type Context<'a> = ProcessorContext<'a, String, i64>;

/// Writes each record to the store; a negative number deletes its key.
struct Fill;

impl Processor for Fill {
    type KeyIn = String;
    type ValueIn = i64;
    type KeyOut = String;
    type ValueOut = i64;

    fn process(&mut self, record: Record<String, i64>, context: &mut Context<'_>) -> Result<()> {
        let rates = context.store::<KeyValueStore<String, i64>>("rates")?;
        match record.value {
            0.. => rates.put(&record.key, &record.value),
            -13 => Err(Error::user("thirteen")),
            _ => rates.delete(&record.key).map(drop),
        }
    }
}

/// Adds the rate of the record's key to its value, -1 if there is none.
struct Add;

impl Processor for Add {
    type KeyIn = String;
    type ValueIn = i64;
    type KeyOut = String;
    type ValueOut = i64;

    fn process(&mut self, record: Record<String, i64>, context: &mut Context<'_>) -> Result<()> {
        let rates = context.store::<KeyValueStore<String, i64>>("rates")?;
        let rate = rates.get(&record.key)?.unwrap_or(-1);
        // Others may come and go meanwhile.
        let all = rates.all()?.collect::<Result<Vec<_>>>()?;
        assert!(
            all.is_sorted_by(|(one, _), (other, _)| one < other),
            "{all:?}"
        );
        let refused = rates.put(&record.key, &0).expect_err("it is global");
        assert_eq!(refused.kind(), ErrorKind::User);
        context.forward(record.map_value(|_, value| value + rate))
    }
}

fn topology() -> Topology {
    let builder = StreamBuilder::new();
    let rates = Stores::key_value("rates", Utf8, I64);
    builder.add_global_store(rates, "rates", Consumed::with(Utf8, I64), || Fill);
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .process(|| Add, Processed::named("add").stores(["rates"]))
        .to_with("out", Produced::with(Utf8, I64));
    builder.build().expect("a topology")
}

fn put(log: &dyn Log, topic: &str, rows: impl Iterator<Item = (String, i64)>) {
    let mut appends = Vec::new();
    for (number, (key, value)) in rows.enumerate() {
        let mut builder = BatchBuilder::default();
        builder.push(Some(key.as_bytes()), Some(&value.to_be_bytes()), 0, &[]);
        let place = TopicPartition::new(topic, number as u32 % PARTITIONS);
        appends.push((place, builder.seal().expect("a record")));
    }
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    let commit = Commit {
        appends,
        group: None,
    };
    writer.submit(commit).expect("submitted");
    assert!(writer.poll(DEADLINE).expect("committed").is_some());
}

fn settings() -> Settings {
    Settings {
        workers: 2,
        commit_interval_ms: 5,
        state_backend: StateBackend::Memory,
        ..Settings::default()
    }
}

fn start(log: &Arc<dyn Log>) -> Result<Application> {
    let application = Application::builder(topology(), "app").log(log.clone());
    application.settings(settings()).start()
}

/// With state on a disk, and this much memory.
fn start_on_disk(log: &Arc<dyn Log>, directory: &Path, memory_bytes: usize) -> Result<Application> {
    let application = Application::builder(topology(), "app").log(log.clone());
    let settings = Settings {
        state_backend: StateBackend::RocksDb,
        memory_bytes,
        ..settings()
    };
    let application = application.state_directory(directory).settings(settings);
    application.start()
}

fn results(log: &dyn Log) -> i64 {
    let out = TopicPartition::new("out", 0);
    let end = log.end_offset(&out, Isolation::ReadCommitted);
    end.expect("an end")
}

/// All numbers that were written, in order.
fn numbers(log: &dyn Log) -> Vec<i64> {
    let out = TopicPartition::new("out", 0);
    let mut reader = log.reader(1 << 20).expect("a reader");
    reader.assign(&[(out.clone(), 0)]).expect("assigned");
    let mut numbers = Vec::new();
    while reader.position(&out) < Some(results(log)) {
        for fetched in reader.poll(1 << 20, DEADLINE).expect("records") {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(raw) = cursor.next_record().expect("intact") {
                let bytes = raw.value.expect("a value").try_into();
                numbers.push(i64::from_be_bytes(bytes.expect("a number")));
            }
        }
    }
    numbers
}

fn create_topics(log: &dyn Log) {
    let topics = [
        TopicSpec::new("in", PARTITIONS),
        TopicSpec::new("rates", PARTITIONS),
        TopicSpec::new("out", 1),
    ];
    log.create_topics(&topics).expect("topics");
}

fn key(n: i64) -> String {
    format!("k{n}")
}

#[test]
fn all_tasks_see_all_rows_from_the_first_record_on_and_after_a_restart() {
    let log = memory_log();
    create_topics(&*log);
    // Each rate is on another partition than the records of its key.
    put(&*log, "rates", (1..=200).map(|n| (key(n), 1_000)));
    put(&*log, "in", (0..=200).map(|n| (key(n), 1)));
    for life in 1..=2 {
        let mut running = start(&log).expect("started");
        wait("the records", || results(&*log) == life * 201);
        running.close(DEADLINE).expect("closed");
        let numbers = numbers(&*log);
        let mut own = numbers[(life as usize - 1) * 201..].to_vec();
        own.sort_unstable();
        assert_eq!(own[0], 0, "k0 has no rate");
        assert!(own[1..].iter().all(|number| *number == 1_001), "{own:?}");
        put(&*log, "in", (0..=200).map(|n| (key(n), 1)));
    }
}

#[test]
fn rows_that_come_later_show_and_what_is_deleted_goes() {
    let log = memory_log();
    create_topics(&*log);
    let running = start(&log).expect("started");
    // How soon is not guaranteed; a record that finds the row comes in the end.
    let asks_until = |found: i64| {
        wait("the row", || {
            let before = results(&*log);
            put(&*log, "in", std::iter::once((key(7), 0)));
            wait("an answer", || results(&*log) > before);
            numbers(&*log).last() == Some(&found)
        });
    };
    asks_until(-1);
    put(&*log, "rates", std::iter::once((key(7), 70)));
    asks_until(70);
    put(&*log, "rates", std::iter::once((key(7), -1)));
    asks_until(-1);
    drop(running);
}

/// Rows that do not fit into their share of the memory are read from the disk, and no row of an earlier life is found.
#[test]
fn rows_are_on_the_disk_alone_once_they_are_too_many_for_the_memory() {
    const ROWS: i64 = 4_000;
    let log = memory_log();
    create_topics(&*log);
    put(&*log, "rates", (1..=ROWS).map(|n| (key(n), 1_000)));
    let directory = tempfile::tempdir().expect("a directory");
    let mut seen = 0;
    for (memory_bytes, fits) in [(256 << 20, true), (4 << 20, false)] {
        put(&*log, "in", (0..=200).map(|n| (key(n * 19), 1)));
        let mut running = start_on_disk(&log, directory.path(), memory_bytes).expect("started");
        wait("the records", || results(&*log) == seen + 201);
        let memory = running.snapshot().memory;
        assert_eq!(memory.globals_bytes > ROWS as u64 * 100, fits, "{memory:?}");
        assert_eq!(memory.globals_bytes == 0, !fits, "{memory:?}");
        let mut own = numbers(&*log)[seen as usize..].to_vec();
        own.sort_unstable();
        assert_eq!(own[0], 0, "k0 has no rate");
        assert!(own[1..].iter().all(|number| *number == 1_001), "{own:?}");
        {
            // Queries find them where they are.
            let view = running.queries().view().expect("a view");
            let rates = view.key_value::<String, i64>("rates").expect("a store");
            let rate = rates.get(&key(1)).expect("read").map(|row| row.value);
            assert_eq!(rate, Some(1_000));
            let all = rates
                .all()
                .expect("rows")
                .map(|row| row.expect("decoded").0);
            let all: BTreeSet<String> = all.collect();
            assert_eq!(all.len(), ROWS as usize);
            assert!(view.is_complete("rates").expect("a store"));
        }
        // What changes later is read from the disk, too. A key stays in its partition.
        put(&*log, "rates", [(key(1), -1), (key(2), 5)].into_iter());
        wait("the changes", || {
            let before = results(&*log);
            put(&*log, "in", [(key(1), 1), (key(2), 1)].into_iter());
            wait("two results", || results(&*log) >= before + 2);
            let all = numbers(&*log);
            let mut own = all[all.len() - 2..].to_vec();
            own.sort_unstable();
            own == [0, 6]
        });
        seen = results(&*log);
        put(
            &*log,
            "rates",
            [(key(1), 1_000), (key(2), 1_000)].into_iter(),
        );
        running.close(DEADLINE).expect("closed");
    }
    let ends = (0..PARTITIONS).map(|partition| {
        let partition = TopicPartition::new("rates", partition);
        let end = log.end_offset(&partition, Isolation::ReadCommitted);
        (partition, end.expect("an end"))
    });
    let ends: Vec<_> = ends.collect();
    log.delete_records(&ends).expect("deleted");
    put(&*log, "in", std::iter::once((key(1), 1)));
    let mut running = start_on_disk(&log, directory.path(), 4 << 20).expect("started");
    wait("the record", || results(&*log) == seen + 1);
    assert_eq!(numbers(&*log).last(), Some(&0), "its rate is gone");
    running.close(DEADLINE).expect("closed");
}

#[test]
fn what_cannot_be_filled_fails_the_application_at_its_start_and_later() {
    let log = memory_log();
    create_topics(&*log);
    let running = start(&log).expect("started");
    put(&*log, "rates", std::iter::once((key(7), -13)));
    let failed = || running.wait(std::time::Duration::ZERO).is_err();
    wait("the failure", failed);
    let error = running.wait(DEADLINE).expect_err("thirteen");
    for part in ["a global store", "rates-0", "thirteen"] {
        assert!(error.to_string().contains(part), "{part:?} in {error}");
    }
    drop(running);
    let error = start(&log).expect_err("it is still there");
    assert!(error.to_string().contains("thirteen"), "{error}");
}

/// A disk that fails is no outage of the log, which would be waited for: the stores would be stale for ever.
#[test]
fn a_failing_disk_ends_the_application_with_its_cause() {
    let log = memory_log();
    create_topics(&*log);
    put(&*log, "rates", (1..=4_000).map(|n| (key(n), 1_000)));
    let directory = tempfile::tempdir().expect("a directory");
    let running = start_on_disk(&log, directory.path(), 4 << 20).expect("started");
    put(&*log, "in", std::iter::once((key(7), 0)));
    wait("the record", || results(&*log) == 1);
    assert_eq!(running.snapshot().memory.globals_bytes, 0, "on the disk");
    // Files that are written from now on have no place.
    let rows = directory.path().join("app/global");
    std::fs::remove_dir_all(&rows).expect("removed");
    let next = Cell::new(4_001);
    wait("the failure", || {
        let first = next.replace(next.get() + 2_000);
        put(&*log, "rates", (first..next.get()).map(|n| (key(n), n)));
        running.wait(std::time::Duration::ZERO).is_err()
    });
    let error = running.wait(DEADLINE).expect_err("the disk is gone");
    assert!(error.to_string().contains("a global store"), "{error}");
    let path = rows.display().to_string();
    assert!(format!("{error:?}").contains(&path), "{error:?}");
}

/// A global table: the row that a record names is there whatever its partition, and what the table drops is
/// counted.
#[test]
fn a_stream_joins_with_rows_of_any_partition() {
    let builder = StreamBuilder::new();
    let rates = builder.global_table::<Option<String>, i64>("rates", "rates");
    builder
        .stream::<String, i64>("in")
        .join_global(
            &rates,
            // Each record names the row of another key.
            |_, n| Some(format!("k{}", n % 100 + 1)),
            |_, n, rate| n * 1_000 + rate,
        )
        .to("out");
    let log = memory_log();
    create_topics(&*log);
    put(&*log, "rates", (1..=100).map(|n| (key(n), n)));
    let null_key = {
        let mut builder = BatchBuilder::default();
        builder.push(None, Some(&7_i64.to_be_bytes()), 0, &[]);
        builder.seal().expect("a record")
    };
    let commit = Commit {
        appends: vec![(TopicPartition::new("rates", 2), null_key)],
        group: None,
    };
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    writer.submit(commit).expect("submitted");
    assert!(writer.poll(DEADLINE).expect("committed").is_some());
    put(&*log, "in", (0..200).map(|n| (key(n), n)));
    let mut running = Application::builder(builder.build().expect("a topology"), "app")
        .log(log.clone())
        .settings(settings())
        .start()
        .expect("started");
    running.drain(DEADLINE).expect("drained");
    assert_eq!(running.snapshot().drops.of(DropReason::NullKey), 1);
    running.close(DEADLINE).expect("closed");
    let mut numbers = numbers(&*log);
    numbers.sort_unstable();
    let joined = (0..200).map(|n| n * 1_000 + n % 100 + 1);
    assert_eq!(numbers, joined.collect::<Vec<_>>());
}
