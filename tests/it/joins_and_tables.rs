//! Joins, grouped tables and held rows through the driver: what the vectors do not cover.

use std::time::Duration;

use marea::base::Record;
use marea::codec::{I64, Nullable, Utf8, WindowedCodec};
use marea::dsl::{
    Consumed, Grouped, JoinWindows, Materialized, Produced, Stream, StreamBuilder, StreamJoined,
    Suppressed, TimeWindows,
};
use marea::task::{ErrorPolicies, Policy};
use marea::testing::Driver;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn input(builder: &StreamBuilder, topic: &str) -> Stream<String, String> {
    builder.stream_with(topic, Consumed::with(Utf8, Utf8))
}

fn outer(builder: &StreamBuilder) -> Stream<String, String> {
    input(builder, "left").outer_join(
        input(builder, "right"),
        |_, left, right| {
            assert!(left.is_none_or(|left| left != "bad"), "a bad value");
            let or_none = |side: Option<&String>| side.cloned().unwrap_or("none".to_owned());
            format!("{}+{}", or_none(left), or_none(right))
        },
        JoinWindows::of(ms(10)),
        StreamJoined::with("pair", Utf8, Utf8, Utf8),
    )
}

fn pipe(driver: &mut Driver, topic: &str, key: &str, value: &str, timestamp_ms: i64) {
    let record = Record::new(key.to_owned(), value.to_owned(), timestamp_ms);
    let input = driver.input_topic_with(topic, Utf8, Utf8);
    input.pipe(driver, record).expect("a record");
}

fn texts(driver: &mut Driver, topic: &str) -> Vec<String> {
    let records = driver.output_topic_with(topic, Utf8, Utf8).read(driver);
    let records = records.expect("results").into_iter();
    let text = |record: Record<String, String>| format!("{}@{}", record.value, record.timestamp_ms);
    records.map(text).collect()
}

#[test]
fn at_the_end_what_waits_comes_out_in_order_and_what_is_behind_takes_it() {
    let builder = StreamBuilder::new();
    let pairs = outer(&builder);
    pairs.clone().to_with("pairs", Produced::with(Utf8, Utf8));
    pairs
        .group_by_key(Grouped::with("by-key", Utf8, Utf8))
        .windowed_by(TimeWindows::of(ms(10)))
        .count("counts")
        .suppress(Suppressed::until_window_closes_with("final", I64))
        .to_stream()
        .to_with(
            "counts-out",
            Produced::with(WindowedCodec::new(Utf8, 10), Nullable(I64)),
        );
    let mut driver = Driver::builder(builder.build().expect("a topology"))
        .build()
        .expect("a driver");
    pipe(&mut driver, "left", "b", "l1", 3);
    pipe(&mut driver, "right", "a", "r2", 3);
    pipe(&mut driver, "left", "a", "l3", 1);
    pipe(&mut driver, "left", "a", "l4", 3);
    assert_eq!(texts(&mut driver, "pairs"), ["l3+r2@3", "l4+r2@3"]);
    driver.drain().expect("drained");
    assert_eq!(texts(&mut driver, "pairs"), ["l1+none@3"]);
    let counts = driver
        .output_topic_with("counts-out", WindowedCodec::new(Utf8, 10), Nullable(I64))
        .read(&mut driver)
        .expect("counts");
    let counts: Vec<_> = counts
        .into_iter()
        .map(|record| (record.key.key, record.value))
        .collect();
    assert_eq!(
        counts,
        [("a".to_owned(), Some(2)), ("b".to_owned(), Some(1))]
    );
    assert_eq!(driver.drops().kafka_streams_total(), 0);
    assert!(driver.rebuild_and_compare().expect("compared"));
}

/// More records after the end are joined as before, and the next end releases what waits then.
#[test]
fn an_outer_join_ends_more_than_once() {
    let builder = StreamBuilder::new();
    outer(&builder).to_with("pairs", Produced::with(Utf8, Utf8));
    let mut driver = Driver::builder(builder.build().expect("a topology"))
        .build()
        .expect("a driver");
    for round in 0..3 {
        pipe(&mut driver, "left", "a", "l", round * 100);
        driver.drain().expect("drained");
        assert_eq!(
            texts(&mut driver, "pairs"),
            [format!("l+none@{}", round * 100)]
        );
    }
}

#[test]
fn a_waiting_record_that_cannot_come_out_is_given_up_alone() {
    let builder = StreamBuilder::new();
    outer(&builder).to_with("pairs", Produced::with(Utf8, Utf8));
    let policies = ErrorPolicies {
        process: Policy::Skip,
        ..ErrorPolicies::default()
    };
    let mut driver = Driver::builder(builder.build().expect("a topology"))
        .policies(policies)
        .build()
        .expect("a driver");
    pipe(&mut driver, "left", "a", "bad", 1);
    pipe(&mut driver, "left", "a", "good", 1);
    pipe(&mut driver, "right", "b", "r", 100);
    assert_eq!(texts(&mut driver, "pairs"), ["good+none@1"]);
    assert_eq!(driver.drops().of(marea::task::DropReason::Skipped), 1);
    pipe(&mut driver, "right", "b", "r", 200);
    assert_eq!(texts(&mut driver, "pairs"), ["none+r@100"]);
    assert!(driver.rebuild_and_compare().expect("compared"));
}

/// The store of a join's result knows the previous row: groups downstream lose nothing.
#[test]
fn what_is_grouped_behind_a_join_that_is_kept_adds_up() {
    let builder = StreamBuilder::new();
    let table = |topic: &str| {
        let rows = Materialized::with(format!("{topic}-rows"), I64);
        builder.table_with(topic, Consumed::with(Utf8, I64), rows)
    };
    table("left")
        .left_join_without_store(table("right"), |_, left, right| {
            left * right.copied().unwrap_or(1)
        })
        .materialized(Materialized::with("products", I64))
        .filter(|_, product| *product > 0)
        .group_by(Grouped::with("all", Utf8, I64), |_, product| {
            ("all".to_owned(), *product)
        })
        .reduce(
            |sum, row| sum + row,
            |sum, row| sum - row,
            Materialized::with("sum", I64),
        )
        .to_stream()
        .present()
        .to_with("sums", Produced::with(Utf8, I64));
    let mut driver = Driver::builder(builder.build().expect("a topology"))
        .build()
        .expect("a driver");
    let rows: [(&str, &str, Option<i64>); 9] = [
        ("left", "a", Some(3)),
        ("right", "b", Some(10)),
        ("left", "b", Some(5)),
        ("right", "a", Some(-1)),
        ("right", "a", Some(2)),
        ("left", "b", Some(7)),
        ("right", "b", None),
        ("left", "a", None),
        ("left", "a", Some(1)),
    ];
    for (number, (topic, key, value)) in rows.into_iter().enumerate() {
        let input = driver.input_topic_with(topic, Utf8, Nullable(I64));
        let record = Record::new(key.to_owned(), value, number as i64);
        input.pipe(&mut driver, record).expect("a record");
    }
    let sums = driver
        .output_topic_with("sums", Utf8, I64)
        .read(&mut driver);
    let sums: Vec<i64> = sums
        .expect("sums")
        .into_iter()
        .map(|sum| sum.value)
        .collect();
    assert_eq!(sums, [3, 53, 50, 56, 76, 13, 7, 9]);
    assert!(driver.rebuild_and_compare().expect("compared"));
}

#[test]
fn held_rows_come_out_at_the_end_in_the_order_of_their_waits() {
    let builder = StreamBuilder::new();
    builder
        .table_with(
            "in",
            Consumed::with(Utf8, Utf8),
            Materialized::with("rows", Utf8),
        )
        .suppress(Suppressed::until_time_limit_with("calm", ms(100), Utf8))
        .to_stream()
        .present()
        .to_with("out", Produced::with(Utf8, Utf8));
    let mut driver = Driver::builder(builder.build().expect("a topology"))
        .build()
        .expect("a driver");
    pipe(&mut driver, "in", "b", "b1", 5);
    pipe(&mut driver, "in", "a", "a1", 6);
    pipe(&mut driver, "in", "b", "b2", 9);
    pipe(&mut driver, "in", "a", "a2", 2);
    assert!(driver.rebuild_and_compare().expect("compared"));
    driver.drain().expect("drained");
    assert_eq!(texts(&mut driver, "out"), ["b2@9", "a2@2"]);
    assert!(driver.rebuild_and_compare().expect("compared"));
}

/// When to look next is remembered as in Kafka Streams, which looks at each record: two with the same key and time
/// are two. Found by vectors of another seed.
#[test]
fn a_second_record_of_a_key_and_time_ends_the_look_at_what_waits() {
    let builder = StreamBuilder::new();
    input(&builder, "left")
        .outer_join(
            input(&builder, "right"),
            |key, left, right| {
                let side = left.or(right).cloned().unwrap_or_default();
                format!("{key}{side}")
            },
            JoinWindows::of(ms(10)).grace(ms(5)),
            StreamJoined::with("pair", Utf8, Utf8, Utf8),
        )
        .to_with("pairs", Produced::with(Utf8, Utf8));
    let mut driver = Driver::builder(builder.build().expect("a topology"))
        .build()
        .expect("a driver");
    pipe(&mut driver, "right", "d", "1", 30);
    pipe(&mut driver, "right", "b", "2", 37);
    pipe(&mut driver, "left", "a", "3", 41);
    pipe(&mut driver, "left", "a", "4", 41);
    pipe(&mut driver, "left", "a", "5", 43);
    pipe(&mut driver, "right", "c", "6", 51);
    assert_eq!(texts(&mut driver, "pairs"), ["d1@30"]);
    // A look that had gone on to the record of 43 would not be repeated before 59.
    pipe(&mut driver, "left", "e", "7", 58);
    assert_eq!(texts(&mut driver, "pairs"), ["b2@37", "a3@41", "a4@41"]);
}
