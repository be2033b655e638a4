//! Rows that `suppress` held and that fail when their window closes: each fails alone, and affects only itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use marea::base::Record;
use marea::codec::{Bytes, I64, Nullable, Utf8, WindowedCodec};
use marea::dsl::{Consumed, Grouped, Produced, StreamBuilder, Suppressed, TimeWindows};
use marea::task::{DropReason, ErrorPolicies, Policy};
use marea::testing::Driver;

const WINDOW: Duration = Duration::from_millis(10);

fn driver(builder: StreamBuilder, policy: Policy) -> Driver {
    let topology = builder.build().expect("a topology");
    let driver = Driver::builder(topology).policies(ErrorPolicies::all(policy));
    driver.dead_letters("dead").build().expect("a driver")
}

fn pipe(driver: &mut Driver, key: i64, value: i64, timestamp_ms: i64) -> marea::Result<()> {
    let input = driver.input_topic_with("in", I64, I64);
    input.pipe(driver, Record::new(key, value, timestamp_ms))
}

/// Counts the calls of a closure behind `suppress`, instead of the time they take.
#[test]
fn held_rows_that_fail_cost_their_number() {
    const ROWS: i64 = 600;
    for policy in [Policy::Skip, Policy::DeadLetter] {
        let calls = Arc::new(AtomicU64::new(0));
        let counted = calls.clone();
        let builder = StreamBuilder::new();
        builder
            .stream_with("in", Consumed::with(I64, I64))
            .group_by_key(Grouped::with("by-key", I64, I64))
            .windowed_by(TimeWindows::of(WINDOW))
            .count("counts")
            .suppress(Suppressed::until_window_closes_with("final", I64))
            .to_stream()
            .map(move |window, count| {
                counted.fetch_add(1, Ordering::Relaxed);
                if window.key % 2 == 0 {
                    std::panic::resume_unwind(Box::new("an even key"));
                }
                (window.key, count.unwrap_or(0))
            })
            .to_with("out", Produced::with(I64, I64));
        let mut driver = driver(builder, policy);
        for key in 0..ROWS {
            pipe(&mut driver, key, 0, 5).expect("held");
        }
        assert_eq!(calls.load(Ordering::Relaxed), 0, "nothing is closed yet");
        pipe(&mut driver, 1, 0, 500).expect("the rows are given up, not the record");
        let calls = calls.load(Ordering::Relaxed);
        assert_eq!(calls, ROWS as u64, "each row is passed on once: {policy:?}");

        let out = driver.output_topic_with("out", I64, I64);
        let keys = out.read(&mut driver).expect("finals").into_iter();
        let keys: Vec<_> = keys.map(|record| record.key).collect();
        let odd: Vec<_> = (0..ROWS).filter(|key| key % 2 != 0).collect();
        assert_eq!(keys, odd, "the others come out, in their order");
        let reason = match policy {
            Policy::DeadLetter => DropReason::DeadLetter,
            _ => DropReason::Skipped,
        };
        assert_eq!(driver.drops().of(reason), ROWS as u64 / 2);
        assert!(driver.rebuild_and_compare().expect("a restore"));
    }
}

/// Behind `suppress` there are a count, two outputs and a second `suppress`; what fails fails after the first
/// output was written.
#[test]
fn a_held_row_leaves_nothing_of_what_it_did_and_the_others_all() {
    for policy in [Policy::Skip, Policy::DeadLetter] {
        let builder = StreamBuilder::new();
        let input = builder.stream_with("in", Consumed::with(I64, I64));
        let finals = input
            .clone()
            .group_by_key(Grouped::with("by-key", I64, I64))
            .windowed_by(TimeWindows::of(WINDOW))
            .count("counts")
            .suppress(Suppressed::until_window_closes_with("final", I64))
            .to_stream()
            .map(|window, count| (window.key, count.unwrap_or(0)));
        finals.clone().to_with("early", Produced::with(I64, I64));
        finals
            .group_by_key(Grouped::with("again", I64, I64))
            .windowed_by(TimeWindows::of(WINDOW))
            .count("again-counts")
            .suppress(Suppressed::until_window_closes_with("again-final", I64))
            .to_stream()
            .map(|window, count| {
                assert!(window.key != 2, "the second time");
                (window.key, count.unwrap_or(0))
            })
            .to_with("late", Produced::with(I64, I64));
        input.for_each(|_, value| assert!(*value != 13, "thirteen"));
        let mut driver = driver(builder, policy);
        let reason = match policy {
            Policy::DeadLetter => DropReason::DeadLetter,
            _ => DropReason::Skipped,
        };
        for key in [1, 2, 3] {
            pipe(&mut driver, key, 0, 5).expect("held");
        }
        // Closes the first windows; fails afterwards, so that they are not closed.
        pipe(&mut driver, 9, 13, 30).expect("passed over");
        let read = |driver: &mut Driver, topic: &str| -> Vec<i64> {
            let records = driver.output_topic_with(topic, I64, I64).read(driver);
            let records = records.expect("records").into_iter();
            records.map(|record| record.key).collect()
        };
        assert_eq!(read(&mut driver, "early"), [] as [i64; 0]);
        assert_eq!(driver.drops().of(reason), 1, "the record itself");
        pipe(&mut driver, 9, 0, 31).expect("closes the first windows");
        assert_eq!(read(&mut driver, "early"), [1, 2, 3]);
        // 9 is sent first of all; it makes the second windows close. Of these, 2 fails.
        pipe(&mut driver, 8, 0, 90).expect("closes the second windows");
        assert_eq!(read(&mut driver, "early"), [9]);
        assert_eq!(read(&mut driver, "late"), [1, 3]);
        assert_eq!(driver.drops().of(reason), 2, "the record and the row");
        let dead = driver.output_topic_with("dead", Bytes, I64);
        let letters = dead.read(&mut driver).expect("letters");
        if policy == Policy::DeadLetter {
            let stores: Vec<_> = letters
                .iter()
                .map(|letter| letter.headers.last("marea.error.store"))
                .map(|header| header.and_then(|header| header.value.clone()))
                .collect();
            assert_eq!(stores, [None, Some(b"again-final-store".to_vec())]);
        }
        assert!(driver.rebuild_and_compare().expect("a restore"));
    }
}

/// What a failing row has written is undone, in the store and on the topic, where the rows before it have written
/// too.
#[test]
fn what_a_row_that_fails_has_written_is_cut_off_behind_what_the_others_have() {
    let windowed = || WindowedCodec::new(I64, 10);
    let builder = StreamBuilder::new();
    let finals = builder
        .stream_with("in", Consumed::with(I64, I64))
        .group_by_key(Grouped::with("by-key", I64, I64))
        .windowed_by(TimeWindows::of(WINDOW))
        .count("counts")
        .suppress(Suppressed::until_window_closes_with("final", I64))
        .to_stream()
        .present();
    finals
        .clone()
        .to_with("first", Produced::with(windowed(), I64));
    finals
        .group_by_key(Grouped::with("again", windowed(), I64))
        .count("seen")
        .to_stream()
        .filter(|window, _| {
            assert!(window.key != 2, "two");
            true
        })
        .to_with("second", Produced::with(windowed(), Nullable(I64)));
    let mut driver = driver(builder, Policy::Skip);
    for key in [1, 2, 3] {
        pipe(&mut driver, key, 0, 5).expect("held");
    }
    pipe(&mut driver, 4, 0, 50).expect("closes the windows");
    for topic in ["first", "second"] {
        let records = driver.output_topic_with(topic, windowed(), Nullable(I64));
        let records = records.read(&mut driver).expect("records").into_iter();
        let keys: Vec<_> = records.map(|record| record.key.key).collect();
        assert_eq!(keys, [1, 3], "{topic}");
    }
    let rows = driver.key_value_rows("seen", windowed(), I64);
    let keys: Vec<_> = rows.expect("rows").iter().map(|row| row.0.key).collect();
    assert_eq!(keys, [1, 3], "nor does its row remain");
    assert_eq!(driver.drops().of(DropReason::Skipped), 1);
    assert!(driver.rebuild_and_compare().expect("a restore"));
}

/// Time that advances without a record, here at the end of the input, follows the policies too.
#[test]
fn a_row_that_fails_at_the_end_of_the_input_follows_the_policy() {
    for (policy, letters) in [(Policy::Skip, 0), (Policy::DeadLetter, 1)] {
        let builder = StreamBuilder::new();
        builder
            .stream_with("in", Consumed::with(Utf8, I64))
            .group_by_key(Grouped::with("by-key", Utf8, I64))
            .windowed_by(TimeWindows::of(WINDOW))
            .count("counts")
            .suppress(Suppressed::until_window_closes_with("final", I64))
            .to_stream()
            .map_values(|window, count| {
                assert!(window.key != "b", "b");
                count.unwrap_or(0)
            })
            .to_with("out", Produced::with(WindowedCodec::new(Utf8, 10), I64));
        let mut driver = driver(builder, policy);
        for key in ["a", "b", "c"] {
            let input = driver.input_topic_with("in", Utf8, I64);
            let record = Record::new(key.to_owned(), 1, 5);
            input.pipe(&mut driver, record).expect("held");
        }
        driver.drain().expect("the end");
        let out = driver.output_topic_with("out", WindowedCodec::new(Utf8, 10), I64);
        let records = out.read(&mut driver).expect("finals").into_iter();
        let keys: Vec<_> = records.map(|record| record.key.key).collect();
        assert_eq!(keys, ["a", "c"], "{policy:?}");
        let dead = driver.output_topic_with("dead", Bytes, I64);
        assert_eq!(dead.read(&mut driver).expect("letters").len(), letters);
    }
}
