//! The guarantees of the driver itself.

use marea::base::Record;
use marea::codec::{I64, Nullable, Utf8};
use marea::dsl::{Consumed, Grouped, Materialized, Produced, Repartitioned, StreamBuilder};
use marea::task::DropReason;
use marea::testing::{Driver, DriverBackend};
use marea::topology::Topology;

/// Keeps the last number of each key; 0 deletes it.
fn latest() -> Topology {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .group_by_key(Grouped::with("by-key", Utf8, I64))
        .aggregate(
            || 0,
            |_, number, _| (number != 0).then_some(number),
            Materialized::with("latest", I64),
        )
        .to_stream()
        .to_with("out", Produced::with(Utf8, Nullable(I64)));
    builder.build().expect("a topology")
}

fn pipe(driver: &mut Driver, number: i64, timestamp_ms: i64) {
    let input = driver.input_topic_with("in", Utf8, I64);
    let record = Record::new("a".to_owned(), number, timestamp_ms);
    input.pipe(driver, record).expect("a record");
}

#[test]
fn a_topic_that_is_never_written_cannot_be_read() {
    let mut driver = Driver::new(latest()).expect("a driver");
    let misspelt = driver.output_topic_with("uot", Utf8, Nullable(I64));
    let error = misspelt.read(&mut driver).expect_err("is not written");
    assert!(error.to_string().contains("it writes out"), "{error}");
    let out = driver.output_topic_with("out", Utf8, Nullable(I64));
    assert!(out.read(&mut driver).expect("nothing yet").is_empty());
    for changelog in ["driver-latest-changelog", "driver-task-changelog"] {
        let changelog = driver.output_topic_with(changelog, Utf8, Nullable(I64));
        assert!(changelog.read(&mut driver).expect("nothing yet").is_empty());
    }
}

#[test]
fn a_changelog_can_be_read_and_a_deletion_on_it_has_the_tasks_time() {
    let mut driver = Driver::builder(latest())
        .application("app")
        .build()
        .expect("a driver");
    for (number, timestamp_ms) in [(1, 5), (2, 70), (0, 60)] {
        pipe(&mut driver, number, timestamp_ms);
    }
    let changelog = driver.output_topic_with("app-latest-changelog", Utf8, Nullable(I64));
    let records = changelog.read(&mut driver).expect("changes").into_iter();
    let changes: Vec<_> = records
        .map(|record| (record.value, record.timestamp_ms))
        .collect();
    assert_eq!(changes, [(Some(1), 5), (Some(2), 70), (None, 70)]);
    assert!(driver.rebuild_and_compare().expect("a restore"));
}

#[test]
fn a_directory_of_an_earlier_driver_is_used_afresh() {
    let directory = tempfile::tempdir().expect("a directory");
    let backend = DriverBackend::RocksDb(directory.path().join("state"));
    for _ in 0..2 {
        let builder = Driver::builder(latest()).backend(backend.clone());
        let mut driver = builder.build().expect("a driver");
        assert_eq!(
            driver.key_value_rows("latest", Utf8, I64).expect("rows"),
            []
        );
        pipe(&mut driver, 3, 1);
        let rows = driver.key_value_rows("latest", Utf8, I64).expect("rows");
        assert_eq!(rows, [("a".to_owned(), 3, Some(1))]);
        assert!(driver.rebuild_and_compare().expect("a restore"));
    }
}

#[test]
fn the_clock_moves_when_it_is_told() {
    let mut driver = Driver::builder(latest()).build().expect("a driver");
    pipe(&mut driver, 3, 40);
    let moved = driver.advance_wall_clock(std::time::Duration::from_millis(15));
    moved.expect("no timer fails");
    assert_eq!((driver.wall_ms(), driver.stream_time_ms()), (15, 40));
}

#[test]
fn a_null_key_at_a_repartition_is_counted_apart_from_what_kafka_streams_counts() {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .select_key(|key, number| (*number > 0).then(|| key.clone()))
        .repartition(Repartitioned::with("again", Nullable(Utf8), I64))
        .to_with("out", Produced::with(Nullable(Utf8), I64));
    let topology = builder.build().expect("a topology");
    let mut driver = Driver::builder(topology).build().expect("a driver");
    for number in [0, 1, 0] {
        pipe(&mut driver, number, 1);
    }
    let out = driver.output_topic_with("out", Nullable(Utf8), I64);
    let records = out.read(&mut driver).expect("records");
    assert_eq!(records.len(), 1);
    assert_eq!(driver.drops().of(DropReason::NullRepartitionKey), 2);
    assert_eq!(driver.drops().kafka_streams_total(), 0);
}
