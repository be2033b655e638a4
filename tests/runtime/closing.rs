//! Sessions, sliding windows, results on close and caches over several tasks: nothing depends on the speed of a
//! task, and what is held holds back the time downstream.

use std::time::Duration;

use marea::base::SystemEnv;
use marea::codec::{I64, Nullable, SessionWindowedCodec, Utf8, WindowedCodec};
use marea::dsl::{
    Consumed, Grouped, GroupedStream, Idle, Materialized, Produced, SessionWindows, SlidingWindows,
    StreamBuilder, Suppressed, TimeWindows,
};
use marea::testing::{Compare, InputRecord, Invariance};

use crate::counting::*;
use crate::pipeline::memory_log;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Records out of order by at most 50 ms; those with the same value modulo 23 are about 230 ms apart, with a pause
/// now and then.
fn records(count: i64) -> Vec<InputRecord> {
    let record = |n: i64| InputRecord {
        topic: "in".to_owned(),
        key: Some((n % 11).to_string().into_bytes()),
        value: Some(n.to_be_bytes().to_vec()),
        timestamp_ms: n * 10 + (n * 7_919) % 50 + n / 200 * 500,
    };
    (0..count).map(record).collect()
}

/// Grouped by another key, so that each task gets records from all others.
fn by_value(builder: &StreamBuilder) -> GroupedStream<String, i64> {
    let records = builder.stream_with("in", Consumed::with(Utf8, I64));
    records.group_by(Grouped::with("by-value", Utf8, I64), |_, value| {
        (value % 23).to_string()
    })
}

/// Time waits for the slowest origin; with one origin windows close by what was seen, so this is left out.
fn invariance() -> Invariance {
    Invariance {
        partitions: vec![2, 4],
        batch_sizes: vec![7, 200],
        commit_intervals_ms: vec![2, 20],
        ..Invariance::default()
    }
}

fn sessions() -> SessionWindows {
    SessionWindows::with_gap(ms(240)).grace(ms(60))
}

#[test]
fn sessions_that_are_emitted_on_close_or_held_do_not_depend_on_pace() {
    let topology = || {
        let builder = StreamBuilder::new();
        let out = || Produced::with(SessionWindowedCodec(Utf8), I64);
        let grouped = by_value(&builder);
        let sums = |grouped: GroupedStream<String, i64, SessionWindows>, store: &str| {
            grouped.aggregate(
                || 0,
                |_, value, sum| sum + value,
                |_, one, other| one + other,
                Materialized::with(store, I64),
            )
        };
        let held = sums(grouped.windowed_by(sessions()), "sums");
        held.suppress(Suppressed::until_window_closes_with("final", I64))
            .to_stream()
            .present()
            .to_with("held", out());
        let again = builder.stream_with("in-again", Consumed::with(Utf8, I64));
        let again = again.group_by(Grouped::with("by-value-again", Utf8, I64), |_, value| {
            (value % 23).to_string()
        });
        sums(
            again.windowed_by(sessions()).emit_on_close(),
            "sums-on-close",
        )
        .to_stream()
        .present()
        .to_with("closed", out());
        builder.build()
    };
    let mut input = records(500);
    let again = input.clone().into_iter().map(|record| InputRecord {
        topic: "in-again".to_owned(),
        ..record
    });
    input.extend(again.collect::<Vec<_>>());
    let outputs = [
        ("held", Compare::EveryRecord),
        ("closed", Compare::EveryRecord),
    ];
    invariance()
        .check(topology, &input, &outputs)
        .expect("all alike");
}

/// A closed session has the time of its end: windows behind the next repartition wait for it.
#[test]
fn what_stands_behind_sessions_waits_for_them() {
    let topology = || {
        let builder = StreamBuilder::new();
        let closed = by_value(&builder)
            .windowed_by(sessions())
            .emit_on_close()
            .count(Materialized::with("counts", I64))
            .to_stream()
            .present();
        closed
            .group_by(Grouped::with("by-count", Utf8, I64), |_, count| {
                (count % 3).to_string()
            })
            .windowed_by(TimeWindows::of(ms(300)))
            .count(Materialized::with("windows", I64))
            .suppress(Suppressed::until_window_closes_with("final", I64))
            .to_stream()
            .present()
            .to_with("out", Produced::with(WindowedCodec::new(Utf8, 300), I64));
        builder.build()
    };
    let outputs = [("out", Compare::EveryRecord)];
    invariance()
        .check(topology, &records(500), &outputs)
        .expect("all alike");
}

#[test]
fn sliding_windows_and_those_on_close_do_not_depend_on_pace() {
    let topology = || {
        let builder = StreamBuilder::new();
        let closed = by_value(&builder)
            .windowed_by(SlidingWindows::of(ms(300)).grace(ms(60)))
            .emit_on_close()
            .reduce(|sum, value| sum + value, Materialized::with("sums", I64))
            .to_stream()
            .present();
        closed.clone().to_with(
            "sliding",
            Produced::with(WindowedCodec::new(Utf8, 300), I64),
        );
        closed
            .group_by(Grouped::with("by-parity", Utf8, I64), |_, sum| {
                (sum % 2).to_string()
            })
            .windowed_by(TimeWindows::of(ms(500)))
            .emit_on_close()
            .count(Materialized::with("windows", I64))
            .to_stream()
            .present()
            .to_with("out", Produced::with(WindowedCodec::new(Utf8, 500), I64));
        builder.build()
    };
    let outputs = [
        ("sliding", Compare::EveryRecord),
        ("out", Compare::EveryRecord),
    ];
    invariance()
        .check(topology, &records(400), &outputs)
        .expect("all alike");
}

/// What a cache holds until the commit holds back the windows downstream.
#[test]
fn what_a_cache_holds_holds_back_the_time_behind_it() {
    let builder = StreamBuilder::new();
    let records = builder.stream_with("in", Consumed::with(Utf8, I64).idle_timeout(Idle::Never));
    let rows = records
        .group_by(Grouped::with("by-value", Utf8, I64), |_, value| {
            value.to_string()
        })
        .count(Materialized::with("rows", I64).cached())
        .to_stream()
        .present();
    final_counts(rows.group_by(Grouped::with("second", Utf8, I64), |_, _| "row".to_owned()));
    let log = memory_log();
    let topology = builder.build().expect("a topology");
    let running = start(&log, 2, topology, SystemEnv::shared());
    // Many in one commit, so that the last of them is far behind the first.
    let rows = |start_ms: i64| {
        let row = move |round: i64| ("in", round, round * 25 + start_ms);
        (0..160).map(row).collect::<Vec<_>>()
    };
    put(&*log, 0, &rows(0));
    put(&*log, 1, &rows(12));
    wait("the windows to close", || {
        counts(&*log).contains_key(&("row".to_owned(), 2_800))
    });
    assert_eq!(
        running.snapshot().drops.kafka_streams_total(),
        0,
        "nothing is late"
    );
}

/// The commit interval does not change what a cache has sent in the end.
#[test]
fn what_a_cache_has_sent_does_not_depend_on_pace() {
    let topology = || {
        let builder = StreamBuilder::new();
        let counts = by_value(&builder).count(Materialized::with("counts", I64).cached());
        counts
            .clone()
            .to_stream()
            .to_with("counts-out", Produced::with(Utf8, Nullable(I64)));
        counts
            .group_by(Grouped::with("by-parity", Utf8, I64), |key, count| {
                ((key.len() % 2).to_string(), *count)
            })
            .reduce(
                |sum, count| sum + count,
                |sum, count| sum - count,
                Materialized::with("sums", I64).cached(),
            )
            .to_stream()
            .to_with("sums-out", Produced::with(Utf8, Nullable(I64)));
        builder.build()
    };
    let outputs = [
        ("counts-out", Compare::LastOfEachKey),
        ("sums-out", Compare::LastOfEachKey),
    ];
    Invariance {
        partitions: vec![1, 4],
        ..invariance()
    }
    .check(topology, &records(500), &outputs)
    .expect("all alike");
}

/// Sessions that a record merges are deleted with changes that are older than the record: windows behind the next
/// repartition wait for them.
#[test]
fn deletions_of_merged_sessions_are_not_late_behind_them() {
    let builder = StreamBuilder::new();
    let records = builder.stream_with("in", Consumed::with(Utf8, I64).idle_timeout(Idle::Never));
    let changes = records
        // Each key comes every half second: by then both inputs have passed its last records.
        .group_by(Grouped::with("by-value", Utf8, I64), |_, value| {
            (value % 20).to_string()
        })
        .windowed_by(SessionWindows::with_gap(ms(900)))
        .count(Materialized::with("sessions", I64))
        .to_stream();
    final_counts(
        changes
            .map(|_, count| {
                let what = if count.is_some() { "row" } else { "deletion" };
                (what.to_owned(), 1)
            })
            .group_by(Grouped::with("second", Utf8, I64), |what, _| what.clone()),
    );
    let log = memory_log();
    let topology = builder.build().expect("a topology");
    let running = start(&log, 2, topology, SystemEnv::shared());
    for round in 0..160 {
        put(&*log, 0, &[("left", round, round * 25)]);
        put(&*log, 1, &[("right", round + 1, round * 25 + 12)]);
    }
    wait("the windows to close", || {
        counts(&*log).contains_key(&("deletion".to_owned(), 2_800))
    });
    assert_eq!(
        running.snapshot().drops.kafka_streams_total(),
        0,
        "nothing is late"
    );
}
