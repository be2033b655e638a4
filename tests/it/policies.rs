//! What happens to records that cannot be handled.

use std::time::Duration;

use marea::ErrorKind;
use marea::base::Record;
use marea::codec::{Bytes, Codec, Encoded, I64, Nullable, Utf8};
use marea::dsl::{
    Consumed, Grouped, Materialized, Produced, StreamBuilder, Suppressed, TimeWindows,
};
use marea::task::{DropReason, ErrorPolicies, Policy};
use marea::testing::Driver;
use marea::topology::Topology;

/// Doubles numbers; panics at 13.
fn doubling() -> Topology {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .map_values(|_, number| {
            assert!(number != 13, "thirteen");
            number * 2
        })
        .to_with("out", Produced::with(Utf8, I64));
    builder.build().expect("a topology")
}

fn driver(policy: Policy) -> Driver {
    let builder = Driver::builder(doubling()).policies(ErrorPolicies::all(policy));
    builder.dead_letters("dead").build().expect("a driver")
}

fn pipe(driver: &mut Driver, key: &str, number: i64) -> marea::Result<()> {
    let input = driver.input_topic_with("in", Utf8, I64);
    input.pipe(driver, Record::new(key.to_owned(), number, 7))
}

fn pipe_bytes(driver: &mut Driver, value: &[u8], timestamp_ms: i64) -> marea::Result<()> {
    let input = driver.input_topic_with("in", Utf8, Bytes);
    let mut record = Record::new("k".to_owned(), value.to_vec(), timestamp_ms);
    record.headers.add("mine", Some(b"kept".to_vec()));
    input.pipe(driver, record)
}

fn numbers(driver: &mut Driver) -> Vec<i64> {
    let out = driver.output_topic_with("out", Utf8, I64);
    let records = out.read(driver).expect("numbers");
    records.into_iter().map(|record| record.value).collect()
}

#[test]
fn failing_names_topic_partition_offset_stage_and_cause() {
    let mut driver = driver(Policy::Fail);
    pipe(&mut driver, "a", 1).expect("a number");
    let error = pipe_bytes(&mut driver, b"short", 7).expect_err("no number");
    assert_eq!(error.kind(), ErrorKind::User);
    let said = error.to_string();
    for part in ["in-0", "offset 1", "decode", "value", "8 bytes"] {
        assert!(said.contains(part), "{part:?} in {said:?}");
    }
    let error = pipe(&mut driver, "a", 13).expect_err("a panic");
    let said = error.to_string();
    for part in ["in-0", "offset 2", "process", "panicked", "thirteen"] {
        assert!(said.contains(part), "{part:?} in {said:?}");
    }
    pipe(&mut driver, "a", 4).expect("the driver goes on behind the record");
    assert_eq!(numbers(&mut driver), [2, 8]);
}

#[test]
fn skipping_counts_and_goes_on() {
    let mut driver = driver(Policy::Skip);
    pipe_bytes(&mut driver, b"short", 7).expect("skipped");
    pipe_bytes(&mut driver, &[0; 8], -1).expect("a negative timestamp is skipped");
    pipe(&mut driver, "a", 13).expect("skipped");
    pipe(&mut driver, "a", 3).expect("a number");
    assert_eq!(numbers(&mut driver), [6]);
    assert_eq!(driver.drops().of(DropReason::Skipped), 3);
    assert_eq!(driver.drops().kafka_streams_total(), 3);
}

#[test]
fn a_dead_letter_has_the_raw_record_and_says_why() {
    let mut driver = driver(Policy::DeadLetter);
    pipe(&mut driver, "a", 1).expect("a number");
    pipe_bytes(&mut driver, b"short", 9).expect("a dead letter");
    pipe(&mut driver, "b", 13).expect("a dead letter");
    let dead = driver.output_topic_with("dead", Utf8, Bytes);
    let letters = dead.read(&mut driver).expect("letters");
    assert_eq!(letters.len(), 2);
    let header = |letter: usize, name: &str| {
        let header = letters[letter].headers.last(name).expect(name);
        String::from_utf8(header.value.clone().expect("a value")).expect("text")
    };
    assert_eq!((letters[0].key.as_str(), letters[0].timestamp_ms), ("k", 9));
    assert_eq!(letters[0].value, b"short");
    assert_eq!(header(0, "mine"), "kept");
    assert_eq!(header(0, "marea.error.topic"), "in");
    assert_eq!(header(0, "marea.error.partition"), "0");
    assert_eq!(header(0, "marea.error.offset"), "1");
    assert_eq!(header(0, "marea.error.stage"), "decode");
    assert_eq!(header(1, "marea.error.stage"), "process");
    assert_eq!(header(1, "marea.error.offset"), "2");
    assert!(header(1, "marea.error.message").contains("thirteen"));
    assert_eq!(letters[1].value, 13i64.to_be_bytes());
    assert_eq!(driver.drops().of(DropReason::DeadLetter), 2);
    assert_eq!(driver.drops().kafka_streams_total(), 0);
    assert_eq!(numbers(&mut driver), [2]);
}

#[test]
fn a_dead_letter_leaves_nothing_of_what_its_record_did() {
    let builder = StreamBuilder::new();
    let input = builder.stream_with("in", Consumed::with(Utf8, I64));
    input.clone().to_with("early", Produced::with(Utf8, I64));
    input
        .group_by_key(Grouped::with("by-key", Utf8, I64))
        .count("counts")
        .to_stream()
        .map_values(|_, count| {
            assert!(count != Some(2), "two");
            count
        })
        .to_with("out", Produced::with(Utf8, Nullable(I64)));
    let policies = ErrorPolicies::all(Policy::DeadLetter);
    let builder = Driver::builder(builder.build().expect("a topology")).policies(policies);
    let mut driver = builder.dead_letters("dead").build().expect("a driver");
    for number in [10, 20] {
        pipe(&mut driver, "a", number).expect("handled");
    }
    let rows = driver.key_value_rows("counts", Utf8, I64).expect("rows");
    assert_eq!(rows, [("a".to_owned(), 1, Some(7))]);
    let early = driver.output_topic_with("early", Utf8, I64);
    assert_eq!(early.read(&mut driver).expect("records").len(), 1);
    let dead = driver.output_topic_with("dead", Utf8, I64);
    assert_eq!(dead.read(&mut driver).expect("letters")[0].value, 20);
    assert!(driver.rebuild_and_compare().expect("a restore"));
}

#[test]
fn continuing_drops_only_what_the_failing_operator_was_given() {
    let builder = StreamBuilder::new();
    let input = builder.stream_with("in", Consumed::with(Utf8, I64));
    let counts = input
        .clone()
        .group_by_key(Grouped::with("by-key", Utf8, I64))
        .count("counts");
    counts
        .to_stream()
        .map_values(|_, count| {
            assert!(count != Some(2), "two");
            count
        })
        .to_with("counts-out", Produced::with(Utf8, Nullable(I64)));
    input.to_with("out", Produced::with(Utf8, I64));
    let policies = ErrorPolicies::all(Policy::Continue);
    let builder = Driver::builder(builder.build().expect("a topology")).policies(policies);
    let mut driver = builder.build().expect("a driver");
    for number in [10, 20, 30] {
        pipe(&mut driver, "a", number).expect("handled");
    }
    pipe_bytes(&mut driver, b"short", 7).expect("skipped");
    let rows = driver.key_value_rows("counts", Utf8, I64).expect("rows");
    assert_eq!(rows, [("a".to_owned(), 3, Some(7))], "the row of 2 stays");
    let counts = driver.output_topic_with("counts-out", Utf8, Nullable(I64));
    let counts = counts.read(&mut driver).expect("counts").into_iter();
    let counts: Vec<_> = counts.map(|record| record.value).collect();
    assert_eq!(counts, [Some(1), Some(3)]);
    assert_eq!(numbers(&mut driver), [10, 20, 30], "of the other branch");
    assert_eq!(driver.drops().of(DropReason::Skipped), 2);
    assert!(driver.rebuild_and_compare().expect("a restore"));
}

/// Refuses 13.
#[derive(Clone)]
struct Fearful;

impl Codec<i64> for Fearful {
    fn encode(&self, value: &i64, out: &mut Vec<u8>) -> marea::Result<Encoded> {
        match value {
            13 => Err(marea::Error::user("thirteen")),
            _ => I64.encode(value, out),
        }
    }

    fn decode(&self, bytes: Option<&[u8]>) -> marea::Result<i64> {
        I64.decode(bytes)
    }

    fn name(&self) -> String {
        "fearful".to_owned()
    }
}

#[test]
fn continuing_after_a_row_that_cannot_be_held_leaves_no_part_of_it() {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .group_by_key(Grouped::with("by-key", Utf8, I64))
        .reduce(|sum, number| sum + number, "sums")
        .suppress(Suppressed::until_time_limit_with(
            "calm",
            Duration::from_millis(100),
            Fearful,
        ))
        .to_stream()
        .to_with("out", Produced::with(Utf8, Nullable(I64)));
    let policies = ErrorPolicies::all(Policy::Continue);
    let builder = Driver::builder(builder.build().expect("a topology")).policies(policies);
    let mut driver = builder.build().expect("a driver");
    let input = driver.input_topic_with("in", Utf8, I64);
    for (key, number, timestamp_ms) in [("a", 13, 0), ("b", 1, 1), ("c", 1, 1_000), ("c", 1, 2_000)]
    {
        let record = Record::new(key.to_owned(), number, timestamp_ms);
        input.pipe(&mut driver, record).expect("handled");
    }
    assert_eq!(driver.drops().of(DropReason::Skipped), 1);
    let out = driver.output_topic_with("out", Utf8, Nullable(I64));
    let out = out.read(&mut driver).expect("rows").into_iter();
    let out: Vec<_> = out.map(|record| (record.key, record.value)).collect();
    assert_eq!(out, [("b".to_owned(), Some(1)), ("c".to_owned(), Some(2))]);
}

#[test]
fn dead_letters_need_a_topic() {
    let policies = ErrorPolicies::all(Policy::DeadLetter);
    let error = Driver::builder(doubling()).policies(policies).build();
    let error = error.expect_err("no topic");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("dead_letters"), "{error}");
}

#[test]
fn a_topic_that_is_not_read_is_refused_by_name() {
    let mut driver = driver(Policy::Fail);
    let input = driver.input_topic_with("on", Utf8, I64);
    let error = input.pipe(&mut driver, Record::new("a".to_owned(), 1, 1));
    let error = error.expect_err("no such input");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("reads in"), "{error}");
}

#[test]
fn failing_leaves_nothing_of_what_the_record_did() {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .group_by_key(Grouped::with("by-key", Utf8, I64))
        .aggregate(
            || 0,
            |_, number, sum| sum + number,
            Materialized::with("sums", I64),
        )
        .to_stream()
        .map_values(|_, sum| {
            assert!(sum != Some(30), "thirty");
            sum
        })
        .to_with("out", Produced::with(Utf8, Nullable(I64)));
    let topology = builder.build().expect("a topology");
    let mut driver = Driver::builder(topology).build().expect("a driver");
    pipe(&mut driver, "a", 10).expect("ten");
    pipe(&mut driver, "a", 20).expect_err("thirty");
    pipe(&mut driver, "a", 5).expect("fifteen");
    let rows = driver.key_value_rows("sums", Utf8, I64).expect("rows");
    assert_eq!(rows, [("a".to_owned(), 15, Some(7))]);
    assert!(driver.rebuild_and_compare().expect("a restore"));
}

/// A windowed count with final results, and beside it a closure that panics at 13.
fn finals_beside_a_panic() -> Driver {
    let builder = StreamBuilder::new();
    let input = builder.stream_with("in", Consumed::with(Utf8, I64));
    input
        .clone()
        .group_by_key(Grouped::with("by-key", Utf8, I64))
        .windowed_by(TimeWindows::of(Duration::from_millis(10)))
        .count("counts")
        .suppress(Suppressed::until_window_closes_with("final", I64))
        .to_stream()
        .map(|window, count| (window.key, count.unwrap_or(0)))
        .to_with("out", Produced::with(Utf8, I64));
    input.for_each(|_, number| assert!(*number != 13, "thirteen"));
    let policies = ErrorPolicies::all(Policy::Skip);
    let builder = Driver::builder(builder.build().expect("a topology")).policies(policies);
    builder.build().expect("a driver")
}

#[test]
fn a_window_that_an_undone_record_closed_is_closed_by_the_next() {
    let mut driver = finals_beside_a_panic();
    for (number, timestamp_ms) in [(1, 5), (13, 30), (1, 31)] {
        let record = Record::new("a".to_owned(), number, timestamp_ms);
        let input = driver.input_topic_with("in", Utf8, I64);
        assert_eq!(
            numbers(&mut driver),
            [] as [i64; 0],
            "before {timestamp_ms}"
        );
        input.pipe(&mut driver, record).expect("handled");
    }
    assert_eq!(numbers(&mut driver), [1]);
    driver.drain().expect("the end");
    assert_eq!(
        numbers(&mut driver),
        [1],
        "13 left no trace in the window of 31"
    );
}

#[test]
fn a_panic_at_the_end_of_the_input_is_an_error() {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .group_by_key(Grouped::with("by-key", Utf8, I64))
        .windowed_by(TimeWindows::of(Duration::from_millis(10)))
        .count("counts")
        .suppress(Suppressed::until_window_closes_with("final", I64))
        .to_stream()
        .for_each(|_, _| panic!("at the end"));
    let topology = builder.build().expect("a topology");
    let mut driver = Driver::builder(topology).build().expect("a driver");
    pipe(&mut driver, "a", 1).expect("a number");
    let error = driver.drain().expect_err("a panic");
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(error.to_string().contains("at the end"), "{error}");
    let rows = driver.window_rows("counts", Utf8, I64).expect("rows");
    assert_eq!(rows.len(), 1, "what was committed stays");
}

/// Final counts of windows of 10 ms; a closure behind them panics at `refused`.
fn finals_that_panic_at(refused: i64, policy: Policy) -> Driver {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .group_by_key(Grouped::with("by-key", Utf8, I64))
        .windowed_by(TimeWindows::of(Duration::from_millis(10)))
        .count("counts")
        .suppress(Suppressed::until_window_closes_with("final", I64))
        .to_stream()
        .map(move |window, count| {
            assert!(count != Some(refused), "refused");
            (window.key, count.unwrap_or(0))
        })
        .to_with("out", Produced::with(Utf8, I64));
    let policies = ErrorPolicies::all(policy);
    let builder = Driver::builder(builder.build().expect("a topology")).policies(policies);
    builder.dead_letters("dead").build().expect("a driver")
}

#[test]
fn a_held_row_that_fails_is_given_up_alone() {
    for policy in [Policy::Skip, Policy::DeadLetter] {
        let mut driver = finals_that_panic_at(2, policy);
        let input = driver.input_topic_with("in", Utf8, I64);
        for (key, timestamp_ms) in [("a", 1), ("b", 2), ("b", 3), ("c", 4), ("d", 30), ("e", 50)] {
            let record = Record::new(key.to_owned(), 0, timestamp_ms);
            input.pipe(&mut driver, record).expect("handled");
        }
        assert_eq!(
            numbers(&mut driver),
            [1, 1, 1],
            "a, c and d under {policy:?}"
        );
        let rows = driver.window_rows("counts", Utf8, I64).expect("rows");
        let keys: Vec<_> = rows.iter().map(|row| row.0.key.as_str()).collect();
        assert_eq!(
            keys,
            ["e"],
            "which closed the last of the others, and counts"
        );

        let reason = match policy {
            Policy::DeadLetter => DropReason::DeadLetter,
            _ => DropReason::Skipped,
        };
        assert_eq!(driver.drops().of(reason), 1);
        let dead = driver.output_topic_with("dead", Bytes, I64);
        let dead = dead.read(&mut driver).expect("letters");
        if policy == Policy::DeadLetter {
            assert_eq!((dead.len(), dead[0].value), (1, 2));
            let store = dead[0].headers.last("marea.error.store");
            assert_eq!(
                store.and_then(|name| name.value.as_deref()),
                Some(&b"final-store"[..])
            );
        }
        assert!(driver.rebuild_and_compare().expect("a restore"));
    }
}

#[test]
fn the_end_of_time_is_no_timestamp() {
    let mut failing = driver(Policy::Fail);
    let error = pipe_bytes(&mut failing, &1i64.to_be_bytes(), i64::MAX).expect_err("no time");
    assert!(error.to_string().contains("is too large"), "{error}");
    let mut skipping = driver(Policy::Skip);
    pipe_bytes(&mut skipping, &1i64.to_be_bytes(), i64::MAX).expect("skipped");
    pipe_bytes(&mut skipping, &2i64.to_be_bytes(), i64::MAX - 1).expect("handled");
    assert_eq!(numbers(&mut skipping), [4]);
}
