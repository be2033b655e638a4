//! Windows and sessions that close, and the record cache, through the driver: what the vectors do not cover, above
//! all with our defaults, which lose nothing where those of Kafka Streams do.

use std::collections::BTreeMap;
use std::time::Duration;

use marea::base::Record;
use marea::codec::{Codec, I64, Nullable, SessionWindowedCodec, Utf8, Windowed, WindowedCodec};
use marea::dsl::{
    Consumed, Grouped, GroupedStream, Grouping, Materialized, Produced, SessionWindows,
    SlidingWindows, StreamBuilder, Suppressed, TimeWindows,
};
use marea::task::{DropReason, ErrorPolicies, Policy};
use marea::testing::Driver;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn by_key(builder: &StreamBuilder) -> GroupedStream<String, i64> {
    let records = builder.stream_with("in", Consumed::with(Utf8, I64));
    records.group_by_key(Grouped::with("by-key", Utf8, I64))
}

fn driver(builder: StreamBuilder) -> Driver {
    Driver::new(builder.build().expect("a topology")).expect("a driver")
}

fn pipe(driver: &mut Driver, key: &str, value: i64, timestamp_ms: i64) -> marea::Result<()> {
    let input = driver.input_topic_with("in", Utf8, I64);
    input.pipe(driver, Record::new(key.to_owned(), value, timestamp_ms))
}

/// Key, start, end, value.
type Row = (String, i64, i64, i64);

fn rows(driver: &mut Driver, topic: &str, key: impl Codec<Windowed<String>> + Copy) -> Vec<Row> {
    let records = driver.output_topic_with(topic, key, I64).read(driver);
    let records = records.expect("rows").into_iter();
    let row = |r: Record<Windowed<String>, i64>| (r.key.key, r.key.start_ms, r.key.end_ms, r.value);
    records.map(row).collect()
}

/// Times that jump by anything from nothing to days, out of order by up to 5 ms.
fn jumpy() -> Vec<(String, i64)> {
    let mut time_ms = 20i64;
    let mut state = 7u64;
    let mut next = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as i64
    };
    let steps = (0..400).map(|_| {
        time_ms += match next() % 12 {
            0 => 90_000_000,
            1 => 70_000,
            2 | 3 => 200,
            n => n,
        };
        let key = ["a", "b", "c"][next() as usize % 3];
        (key.to_owned(), time_ms - next() % 5)
    });
    steps.collect()
}

/// Runs the same windows with results on close and behind `suppress`; both must match a map of all updates.
fn finals_are_complete<W>(windows: impl Fn() -> W, key: impl Codec<Windowed<String>> + Copy)
where
    W: Grouping<String, i64, Key = Windowed<String>> + marea::dsl::ClosingWindows,
{
    let builder = StreamBuilder::new();
    let count = |store: &str| Materialized::with(store, I64);
    let out = |topic: &str, table: marea::dsl::Table<Windowed<String>, i64>| {
        table
            .to_stream()
            .to_with(topic, Produced::with(key, Nullable(I64)));
    };
    let grouped = |topic: &str| {
        let records = builder.stream_with(topic, Consumed::with(Utf8, I64));
        records.group_by_key(Grouped::with(format!("{topic}-by-key"), Utf8, I64))
    };
    let updates = grouped("in").windowed_by(windows()).count(count("counts"));
    out("updates", updates.clone());
    let held = Suppressed::until_window_closes_with("final", I64);
    out("held", updates.suppress(held));
    let on_close = grouped("in-again").windowed_by(windows()).emit_on_close();
    out("closed", on_close.count(count("counts-on-close")));
    let mut driver = driver(builder);
    for (key, timestamp_ms) in jumpy() {
        for topic in ["in", "in-again"] {
            let input = driver.input_topic_with(topic, Utf8, I64);
            let record = Record::new(key.clone(), 1, timestamp_ms);
            input.pipe(&mut driver, record).expect("taken");
        }
    }
    driver.drain().expect("the end");
    assert_eq!(driver.drops().kafka_streams_total(), 0, "nothing is late");
    let updates = driver.output_topic_with("updates", key, Nullable(I64));
    let mut expected = BTreeMap::new();
    for update in updates.read(&mut driver).expect("updates") {
        let Windowed {
            key,
            start_ms,
            end_ms,
        } = update.key;
        match update.value {
            Some(count) => expected.insert((key, start_ms, end_ms), count),
            None => expected.remove(&(key, start_ms, end_ms)),
        };
    }
    assert!(expected.len() > 50, "{} windows", expected.len());
    for topic in ["held", "closed"] {
        let finals = rows(&mut driver, topic, key);
        let (number, mut found) = (finals.len(), BTreeMap::new());
        for (key, start_ms, end_ms, count) in finals {
            found.insert((key, start_ms, end_ms), count);
        }
        assert_eq!(found, expected, "{topic}");
        assert_eq!(number, found.len(), "{topic}: each once");
    }
    assert!(driver.rebuild_and_compare().expect("a restore"));
}

#[test]
fn no_window_is_lost_however_far_time_jumps() {
    let key = |size_ms| WindowedCodec::new(Utf8, size_ms);
    finals_are_complete(|| TimeWindows::of(ms(10)).grace(ms(5)), key(10));
    finals_are_complete(
        || TimeWindows::of(ms(10)).grace(ms(5)).advance_by(ms(3)),
        key(10),
    );
    finals_are_complete(|| SlidingWindows::of(ms(10)).grace(ms(5)), key(10));
    finals_are_complete(
        || SessionWindows::with_gap(ms(6)).grace(ms(5)),
        SessionWindowedCodec(Utf8),
    );
}

/// A session takes records until time is past its end, gap and grace; in Kafka Streams its row is gone, or its
/// result sent, a millisecond earlier.
#[test]
fn a_session_is_open_to_the_last_millisecond_and_final_once() {
    let builder = StreamBuilder::new();
    let counts = by_key(&builder)
        .windowed_by(SessionWindows::with_gap(ms(5)))
        .count(Materialized::with("counts", I64));
    counts
        .suppress(Suppressed::until_window_closes_with("final", I64))
        .to_stream()
        .to_with(
            "out",
            Produced::with(SessionWindowedCodec(Utf8), Nullable(I64)),
        );
    let mut driver = driver(builder);
    for (key, timestamp_ms) in [("a", 0), ("b", 5), ("a", 0), ("b", 6), ("a", 0)] {
        pipe(&mut driver, key, 1, timestamp_ms).expect("taken");
    }
    let key = SessionWindowedCodec(Utf8);
    let a = |end_ms, count| ("a".to_owned(), 0, end_ms, count);
    assert_eq!(rows(&mut driver, "out", key), [a(0, 2)]);
    assert_eq!(driver.drops().of(DropReason::Late), 1, "at 6 it is closed");
}

/// A drain closes sessions for good: later records begin a new one.
#[test]
fn a_session_that_a_drain_has_closed_does_not_open_again() {
    let builder = StreamBuilder::new();
    by_key(&builder)
        .windowed_by(SessionWindows::with_gap(ms(5)))
        .emit_on_close()
        .count(Materialized::with("counts", I64))
        .to_stream()
        .to_with(
            "out",
            Produced::with(SessionWindowedCodec(Utf8), Nullable(I64)),
        );
    let mut driver = driver(builder);
    pipe(&mut driver, "a", 1, 0).expect("taken");
    driver.drain().expect("the end");
    pipe(&mut driver, "a", 1, 3).expect("taken");
    driver.drain().expect("the end, once more");
    let a = |start_ms| ("a".to_owned(), start_ms, start_ms, 1);
    let found = rows(&mut driver, "out", SessionWindowedCodec(Utf8));
    assert_eq!(found, [a(0), a(3)]);
}

#[test]
fn a_closed_row_that_fails_fails_alone() {
    for (policy, letters) in [(Policy::Skip, 0), (Policy::DeadLetter, 1)] {
        let builder = StreamBuilder::new();
        by_key(&builder)
            .windowed_by(SessionWindows::with_gap(ms(5)))
            .emit_on_close()
            .count(Materialized::with("counts", I64))
            .to_stream()
            .filter(|session, _| {
                assert!(session.key != "b", "b");
                true
            })
            .to_with(
                "out",
                Produced::with(SessionWindowedCodec(Utf8), Nullable(I64)),
            );
        let topology = builder.build().expect("a topology");
        let driver = Driver::builder(topology).policies(ErrorPolicies::all(policy));
        let mut driver = driver.dead_letters("dead").build().expect("a driver");
        for key in ["a", "b", "c"] {
            pipe(&mut driver, key, 1, 0).expect("taken");
        }
        pipe(&mut driver, "d", 1, 100).expect("closes the others");
        let found = rows(&mut driver, "out", SessionWindowedCodec(Utf8));
        let keys: Vec<_> = found.iter().map(|row| row.0.as_str()).collect();
        assert_eq!(keys, ["a", "c"], "{policy:?}");
        let dead = driver.output_topic_with("dead", marea::codec::Bytes, Nullable(I64));
        let dead = dead.read(&mut driver).expect("letters");
        assert_eq!(dead.len(), letters);
        let windowed = [&b"b"[..], &[0; 16]].concat();
        assert!(dead.iter().all(|letter| letter.key == windowed));
    }
}

/// The effect of a record on the cache is undone with the record, and the commit sends what was there before.
#[test]
fn a_cache_forgets_what_a_skipped_record_did() {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .flat_map_values(|_, value| [value, value])
        .group_by_key(Grouped::with("by-key", Utf8, I64))
        .reduce(
            |sum, value| {
                assert!(value != 13, "thirteen");
                sum + value
            },
            Materialized::with("sums", I64).cached(),
        )
        .to_stream()
        .to_with("out", Produced::with(Utf8, Nullable(I64)));
    let topology = builder.build().expect("a topology");
    let driver = Driver::builder(topology).policies(ErrorPolicies::all(Policy::Skip));
    let mut driver = driver.build().expect("a driver");
    for value in [1, 13, 2] {
        pipe(&mut driver, "a", value, value).expect("taken or skipped");
    }
    let out = driver.output_topic_with("out", Utf8, I64);
    let records = out.read(&mut driver).expect("sums").into_iter();
    let sums: Vec<_> = records.map(|record| record.value).collect();
    assert_eq!(sums, [2, 6], "one a commit");
    assert!(driver.rebuild_and_compare().expect("a restore"));
}

/// A row that fails behind the cache is discarded alone, and none stays in the cache beyond a commit.
#[test]
fn a_row_that_fails_behind_a_cache_fails_alone() {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .flat_map(|key: String, value| [(key.clone() + "1", value), (key + "2", value)])
        .group_by_key(Grouped::with("by-key", Utf8, I64))
        .count(Materialized::with("counts", I64).cached())
        .to_stream()
        .filter(|key, _| {
            assert!(key != "b1", "b1");
            true
        })
        .to_with("out", Produced::with(Utf8, Nullable(I64)));
    let topology = builder.build().expect("a topology");
    let driver = Driver::builder(topology).policies(ErrorPolicies::all(Policy::Skip));
    let mut driver = driver.build().expect("a driver");
    for key in ["a", "b", "c"] {
        pipe(&mut driver, key, 1, 1).expect("taken");
    }
    let out = driver.output_topic_with("out", Utf8, I64);
    let records = out.read(&mut driver).expect("counts").into_iter();
    let keys: Vec<_> = records.map(|record| record.key).collect();
    assert_eq!(keys, ["a1", "a2", "b2", "c1", "c2"]);
    assert_eq!(driver.drops().of(DropReason::Skipped), 1);
}

/// The old row that is sent along is the one that was sent before, so that groups add up.
#[test]
fn what_is_grouped_behind_a_cache_adds_up() {
    let builder = StreamBuilder::new();
    let counts = builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .flat_map_values(|_, value| vec![value; 3])
        .group_by_key(Grouped::with("by-key", Utf8, I64))
        .count(Materialized::with("counts", I64).cached());
    counts
        .group_by(Grouped::with("all", Utf8, I64), |_, count| {
            ("all".to_owned(), *count)
        })
        .reduce(
            |sum, count| sum + count,
            |sum, count| sum - count,
            Materialized::with("sum", I64),
        )
        .to_stream()
        .to_with("out", Produced::with(Utf8, Nullable(I64)));
    let mut driver = driver(builder);
    for (number, key) in ["a", "b", "a", "c", "b"].into_iter().enumerate() {
        pipe(&mut driver, key, 1, number as i64).expect("taken");
    }
    let rows = driver.key_value_rows("sum", Utf8, I64).expect("rows");
    assert_eq!(rows, [("all".to_owned(), 15, Some(4))]);
}
