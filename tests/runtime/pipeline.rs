//! The pipeline of these tests: readings re-keyed by ocean, summed by day, with final sums as output.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use marea::base::{SystemEnv, TopicPartition, partition_for_key};
use marea::codec::{Codec, I64, Utf8, WindowedCodec};
use marea::dsl::{
    Consumed, Grouped, Materialized, Produced, Stream, StreamBuilder, Suppressed, TimeWindows,
};
use marea::log::{BatchBuilder, Commit, Isolation, Log, MemoryLog, TopicSpec};
use marea::runtime::{Application, ApplicationBuilder, Settings, StateBackend};
use marea::topology::Topology;

use crate::committing::commit;

pub const WINDOW_MS: i64 = 1_000;
pub const GRACE_MS: i64 = 500;

/// A reading: sensor, ocean, value, timestamp.
pub type Reading = (String, String, i64, i64);

pub fn topology() -> Topology {
    let builder = StreamBuilder::new();
    let values = builder
        .stream_with("readings", Consumed::with(Utf8, Utf8))
        .map(|_sensor, reading: String| {
            let (ocean, value) = reading.split_once(';').expect("ocean;value");
            (ocean.to_owned(), value.parse::<i64>().expect("a number"))
        });
    sums_to_finals(values, "by-ocean");
    builder.build().expect("a topology")
}

/// The same by sensor, which needs no repartition: with at least once a repartition topic may repeat records, and
/// sums behind it then count them twice.
pub fn topology_by_sensor() -> Topology {
    let builder = StreamBuilder::new();
    let values = builder
        .stream_with("readings", Consumed::with(Utf8, Utf8))
        .map_values(|_sensor, reading: String| {
            let (_ocean, value) = reading.split_once(';').expect("ocean;value");
            value.parse::<i64>().expect("a number")
        });
    sums_to_finals(values, "by-sensor");
    builder.build().expect("a topology")
}

/// The final sum of each key and window, to the topic `finals`.
fn sums_to_finals(values: Stream<String, i64>, name: &str) {
    values
        .group_by_key(Grouped::with(name, Utf8, I64))
        .windowed_by(
            TimeWindows::of(Duration::from_millis(WINDOW_MS as u64))
                .grace(Duration::from_millis(GRACE_MS as u64)),
        )
        .aggregate(
            || 0,
            |_, value, sum| sum + value,
            Materialized::with("sums", I64),
        )
        .suppress(Suppressed::until_window_closes_with("final", I64))
        .to_stream()
        .present()
        .to_with(
            "finals",
            Produced::with(WindowedCodec::new(Utf8, WINDOW_MS), I64),
        );
}

/// The expected results of [`topology_by_sensor`].
pub fn expected_by_sensor(readings: &[Reading]) -> BTreeMap<(i64, String), i64> {
    sums_by(readings, |(sensor, ..)| sensor)
}

/// Readings of three oceans whose timestamps jump back and forth within the grace of each sensor.
pub fn readings(count: i64) -> Vec<Reading> {
    let oceans = ["atlantic", "pacific", "arctic"];
    let reading = |n: i64| {
        let sensor = format!("s{}", n % 17);
        let ocean = oceans[(n % 17) as usize % 3].to_owned();
        let jitter = (n * 7919) % 400;
        (sensor, ocean, n % 100, (n * 3 + 400 - jitter).max(0))
    };
    (0..count).map(reading).collect()
}

/// The expected results of the pipeline: the sum of each ocean and window.
pub fn expected(readings: &[Reading]) -> BTreeMap<(i64, String), i64> {
    sums_by(readings, |(_, ocean, ..)| ocean)
}

fn sums_by(
    readings: &[Reading],
    key: impl Fn(&Reading) -> &String,
) -> BTreeMap<(i64, String), i64> {
    let mut sums = BTreeMap::new();
    for reading in readings {
        let (_, _, value, timestamp_ms) = reading;
        let start_ms = timestamp_ms / WINDOW_MS * WINDOW_MS;
        *sums.entry((start_ms, key(reading).clone())).or_insert(0) += value;
    }
    sums
}

pub fn memory_log() -> Arc<dyn Log> {
    Arc::new(MemoryLog::new(SystemEnv::shared()))
}

pub fn create_topics(log: &dyn Log, partitions: u32) {
    let topics = [
        TopicSpec::new("readings", partitions),
        TopicSpec::new("finals", 1),
    ];
    log.create_topics(&topics).expect("topics");
}

/// Appends readings in batches, each sensor on its own partition.
pub fn append(log: &dyn Log, readings: &[Reading], partitions: u32, batch: usize) {
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    for chunk in readings.chunks(batch) {
        let mut builders: BTreeMap<u32, BatchBuilder> = BTreeMap::new();
        for (sensor, ocean, value, timestamp) in chunk {
            let partition = partition_for_key(sensor.as_bytes(), partitions);
            let value = format!("{ocean};{value}");
            let builder = builders.entry(partition).or_default();
            builder.push(
                Some(sensor.as_bytes()),
                Some(value.as_bytes()),
                *timestamp,
                &[],
            );
        }
        let appends = builders.into_iter().filter_map(|(partition, mut builder)| {
            Some((TopicPartition::new("readings", partition), builder.seal()?))
        });
        let whole = Commit {
            appends: appends.collect(),
            group: None,
        };
        commit(&mut *writer, whole);
    }
}

/// The records of `finals`; a window of an ocean that comes twice fails the test.
pub fn finals(log: &dyn Log) -> BTreeMap<(i64, String), i64> {
    read_finals(log, |key, before, _| {
        assert_eq!(before, None, "{key:?} is final twice");
    })
}

/// The records of `finals`; one that comes twice must be equal.
pub fn finals_with_repeats(log: &dyn Log) -> BTreeMap<(i64, String), i64> {
    read_finals(log, |key, before, now| {
        assert!(
            before.is_none_or(|before| before == now),
            "{key:?} is {before:?}, then {now}"
        );
    })
}

fn read_finals(
    log: &dyn Log,
    check: impl Fn(&(i64, String), Option<i64>, i64),
) -> BTreeMap<(i64, String), i64> {
    let partition = TopicPartition::new("finals", 0);
    // A transaction that somebody left open may hold readers back for a while.
    let end = log
        .end_offset(&partition, Isolation::ReadUncommitted)
        .expect("an end");
    let mut reader = log.reader(1 << 20).expect("a reader");
    reader.assign(&[(partition.clone(), 0)]).expect("assigned");
    let mut finals = BTreeMap::new();
    while reader.position(&partition).expect("assigned") < end {
        for fetched in reader
            .poll(1 << 20, Duration::from_secs(1))
            .expect("records")
        {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record().expect("intact") {
                let key = WindowedCodec::new(Utf8, WINDOW_MS)
                    .decode(record.key)
                    .expect("a key");
                let sum = I64.decode(record.value).expect("a sum");
                let place = (key.start_ms, key.key);
                check(&place, finals.get(&place).copied(), sum);
                finals.insert(place, sum);
            }
        }
    }
    finals
}

pub fn application(log: Arc<dyn Log>, workers: usize) -> ApplicationBuilder {
    Application::builder(topology(), "test")
        .log(log)
        .settings(Settings {
            workers,
            commit_interval_ms: 10,
            state_backend: StateBackend::Memory,
            ..Settings::default()
        })
}
