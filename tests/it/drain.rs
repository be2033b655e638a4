//! The end of the input closes what is open, and keeps it closed
//! ([ADR 0010](../../docs/adr/0010-time-as-a-promise.md)).

use std::time::Duration;

use marea::base::Record;
use marea::codec::{I64, Nullable, Utf8, Windowed, WindowedCodec};
use marea::dsl::{
    Consumed, Grouped, Produced, Repartitioned, Stream, StreamBuilder, Suppressed, TimeWindows,
};
use marea::task::DropReason;
use marea::testing::Driver;

fn windows(size_ms: u64) -> TimeWindows {
    TimeWindows::of(Duration::from_millis(size_ms)).grace(Duration::from_millis(5))
}

fn pipe(driver: &mut Driver, key: &str, timestamp_ms: i64) {
    let input = driver.input_topic_with("in", Utf8, I64);
    let record = Record::new(key.to_owned(), 1, timestamp_ms);
    input.pipe(driver, record).expect("a record");
}

fn finals(driver: &mut Driver, topic: &str, size_ms: i64) -> Vec<(String, i64, Option<i64>)> {
    let out = driver.output_topic_with(topic, WindowedCodec::new(Utf8, size_ms), Nullable(I64));
    let records = out.read(driver).expect("results").into_iter();
    let row = |record: Record<Windowed<String>, Option<i64>>| {
        (record.key.key, record.key.start_ms, record.value)
    };
    records.map(row).collect()
}

fn row(key: &str, start_ms: i64, count: i64) -> (String, i64, Option<i64>) {
    (key.to_owned(), start_ms, Some(count))
}

/// How many records of each key the topic `in` had in windows of 10 ms, once these have closed.
fn final_counts(builder: &StreamBuilder) -> Stream<Windowed<String>, Option<i64>> {
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .group_by_key(Grouped::with("by-key", Utf8, I64))
        .windowed_by(windows(10))
        .count("counts")
        .suppress(Suppressed::until_window_closes_with("final", I64))
        .to_stream()
}

#[test]
fn windows_close_once_and_do_not_open_again() {
    let builder = StreamBuilder::new();
    final_counts(&builder).to_with(
        "out",
        Produced::with(WindowedCodec::new(Utf8, 10), Nullable(I64)),
    );
    let topology = builder.build().expect("a topology");
    let mut driver = Driver::builder(topology).build().expect("a driver");
    for (key, timestamp_ms) in [("a", 1), ("b", 2), ("a", 3), ("a", 12)] {
        pipe(&mut driver, key, timestamp_ms);
    }
    assert_eq!(finals(&mut driver, "out", 10), []);
    driver.drain().expect("the end");
    let closed = [row("a", 0, 2), row("b", 0, 1), row("a", 10, 1)];
    assert_eq!(finals(&mut driver, "out", 10), closed);
    driver.drain().expect("the end again");
    assert_eq!(finals(&mut driver, "out", 10), []);

    // Its window was final: a result that came later would contradict it.
    pipe(&mut driver, "a", 13);
    assert_eq!(driver.drops().of(DropReason::Late), 1);
    pipe(&mut driver, "a", 20);
    driver.drain().expect("the end");
    assert_eq!(finals(&mut driver, "out", 10), [row("a", 20, 1)]);
    assert!(driver.rebuild_and_compare().expect("a restore"));
}

#[test]
fn what_upstream_closes_is_counted_downstream_before_that_closes() {
    let builder = StreamBuilder::new();
    final_counts(&builder)
        .map(|_, count| ("all".to_owned(), count.unwrap_or(0)))
        .repartition(Repartitioned::with("all", Utf8, I64))
        .group_by_key(Grouped::with("by-all", Utf8, I64))
        .windowed_by(windows(100))
        .aggregate(
            || 0,
            |_, count, sum| sum + count,
            marea::dsl::Materialized::with("sums", I64),
        )
        .suppress(Suppressed::until_window_closes_with("final-sums", I64))
        .to_stream()
        .to_with(
            "out",
            Produced::with(WindowedCodec::new(Utf8, 100), Nullable(I64)),
        );
    let topology = builder.build().expect("a topology");
    let mut driver = Driver::builder(topology).build().expect("a driver");
    for (key, timestamp_ms) in [("a", 1), ("b", 55), ("a", 57), ("c", 142)] {
        pipe(&mut driver, key, timestamp_ms);
    }
    driver.drain().expect("the end");
    assert_eq!(
        finals(&mut driver, "out", 100),
        [row("all", 0, 4 - 1), row("all", 100, 1)]
    );
    assert_eq!(driver.drops().kafka_streams_total(), 0);
}
