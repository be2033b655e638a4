//! A topology with a feedback edge, over several tasks: time advances behind it and breaks no promise, and a drain
//! ends with every answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use marea::base::{TopicPartition, partition_for_key};
use marea::codec::{Codec, Utf8};
use marea::log::{BatchBuilder, Commit, Isolation, Log, TopicSpec};
use marea::runtime::{Application, Settings};

use crate::committing::commit;
use crate::counting::{DEADLINE, wait};
use crate::looped::{expected, topology};
use crate::pipeline::memory_log;

const PARTITIONS: u32 = 4;

type Row = (String, String, i64);

fn create_topics(log: &dyn Log) {
    let topics = ["left", "right", "out", "final", "both"];
    let topics = topics.map(|topic| TopicSpec::new(topic, PARTITIONS));
    log.create_topics(&topics).expect("topics");
}

fn put(log: &dyn Log, topic: &str, rows: &[Row]) {
    let mut builders: BTreeMap<u32, BatchBuilder> = BTreeMap::new();
    for (key, value, timestamp_ms) in rows {
        let partition = partition_for_key(key.as_bytes(), PARTITIONS);
        let builder = builders.entry(partition).or_default();
        let (key, value) = (key.as_bytes(), value.as_bytes());
        builder.push(Some(key), Some(value), *timestamp_ms, &[]);
    }
    let batch = |(partition, mut builder): (u32, BatchBuilder)| {
        let batch = builder.seal().expect("records");
        (TopicPartition::new(topic, partition), batch)
    };
    let whole = Commit {
        appends: builders.into_iter().map(batch).collect(),
        group: None,
    };
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    commit(&mut *writer, whole);
}

/// All records of a topic.
fn read(log: &dyn Log, topic: &str) -> Vec<(String, String)> {
    let places = (0..PARTITIONS).map(|partition| TopicPartition::new(topic, partition));
    let places: Vec<_> = places.collect();
    let ends = log.end_offsets(&places, Isolation::ReadCommitted);
    let ends = ends.expect("ends");
    let mut reader = log.reader(1 << 20).expect("a reader");
    let starts: Vec<_> = places.iter().map(|place| (place.clone(), 0)).collect();
    reader.assign(&starts).expect("assigned");
    let mut records = Vec::new();
    let behind = |reader: &dyn marea::log::Reader| {
        let mut places = places.iter().zip(&ends);
        places.any(|(place, end)| reader.position(place).unwrap_or(0) < *end)
    };
    while behind(&*reader) {
        for fetched in reader.poll(1 << 20, DEADLINE).expect("records") {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(raw) = cursor.next_record().expect("intact") {
                let text = |bytes| Utf8.decode(bytes).expect("text");
                records.push((text(raw.key), text(raw.value)));
            }
        }
    }
    records
}

fn rows(rows: impl Iterator<Item = (String, String)>, from_ms: i64) -> Vec<Row> {
    let rows = rows.enumerate();
    rows.map(|(at, (key, value))| (key, value, from_ms + at as i64 * 5))
        .collect()
}

fn texts(rows: &[Row]) -> Vec<(&str, &str)> {
    let rows = rows.iter();
    rows.map(|(key, value, _)| (key.as_str(), value.as_str()))
        .collect()
}

fn start(log: &Arc<dyn Log>, reached: &Arc<AtomicI64>, workers: usize) -> Application {
    Application::builder(topology(reached).expect("a topology"), "app")
        .log(log.clone())
        .settings(Settings {
            workers,
            commit_interval_ms: 5,
            idle_timeout_ms: None,
            state_backend: marea::runtime::StateBackend::Memory,
            ..Settings::default()
        })
        .start()
        .expect("started")
}

#[test]
fn time_moves_behind_answers_and_breaks_no_promise_and_a_drain_has_them_all() {
    for workers in [1, 3] {
        let log = memory_log();
        create_topics(&*log);
        let reached = Arc::new(AtomicI64::new(-1));
        let mut running = start(&log, &reached, workers);
        let (mut lefts, mut rights) = (Vec::new(), Vec::new());
        for round in 0..20 {
            let from_ms = round * 1_000;
            let key = |n: i64| match n % 50 {
                49 => format!("late-{round}"),
                n => format!("k{n}"),
            };
            let left = |n: i64| (key(n), format!("r{}:{round}", (n * 7 + round) % 23));
            let left = rows((0..200).map(left), from_ms);
            let right = |n: i64| (format!("r{}", n % 20), format!("{round}-{n}"));
            let right = rows((0..200).map(right), from_ms);
            put(&*log, "right", &right);
            put(&*log, "left", &left);
            lefts.extend(left);
            rights.extend(right);
        }
        // A key that is held until the end holds time back to its record, which comes early in the first round.
        wait("time", || reached.load(Ordering::SeqCst) >= 200);
        running.drain(DEADLINE).expect("drained");
        let snapshot = running.snapshot();
        assert_eq!(
            snapshot.drops.kafka_streams_total(),
            0,
            "{:?}",
            snapshot.drops
        );
        running.close(DEADLINE).expect("closed");
        let mut last = read(&*log, "final");
        last.sort();
        assert_eq!(last, expected(&texts(&lefts), &texts(&rights)), "{workers}");
        let mut both = read(&*log, "both");
        both.sort();
        assert!(
            both == last,
            "{workers}: something closed before its last input"
        );
    }
}

#[test]
fn a_run_that_sends_back_can_be_drained_again() {
    let log = memory_log();
    create_topics(&*log);
    let reached = Arc::new(AtomicI64::new(-1));
    let (mut lefts, mut rights) = (Vec::new(), Vec::new());
    let mut finals: BTreeMap<String, String> = BTreeMap::new();
    for life in 0..2 {
        let mut running = start(&log, &reached, 2);
        for day in 0..2 {
            let day = life * 2 + day;
            let left = (0..50).map(|n| (format!("k{n}"), format!("r{}:{day}", (n + day) % 9)));
            let right = (0..9).map(|n| (format!("r{n}"), format!("{day}-{n}")));
            let (left, right) = (rows(left, day * 10_000), rows(right, day * 10_000));
            put(&*log, "left", &left);
            put(&*log, "right", &right);
            lefts.extend(left);
            rights.extend(right);
            running.drain(DEADLINE).expect("drained");
            finals.extend(read(&*log, "final"));
            let expected = expected(&texts(&lefts), &texts(&rights));
            assert_eq!(finals, expected.into_iter().collect(), "day {day}");
        }
        running.close(DEADLINE).expect("closed");
    }
    assert_eq!(read(&*log, "final").len(), 4 * 50, "each day each key once");
}
