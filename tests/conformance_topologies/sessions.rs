use marea::codec::{I64, SessionWindowedCodec};
use marea::dsl::{Grouped, Materialized, Produced, SessionWindows, StreamBuilder, Suppressed};

use super::tables::cogrouped;
use super::words::*;

pub const NAMES: &[&str] = &[
    "session-count",
    "session-count-grace-20",
    "session-count-in-memory",
    "session-count-regrouped",
    "session-reduce",
    "session-aggregate",
    "session-aggregate-to-null",
    "headers-session-count",
    "suppress-session",
    "cogroup-session",
    "emit-final-session",
];

fn out_session_longs() -> Produced<WindowedText, Option<i64>> {
    Produced::with(SessionWindowedCodec(TEXT), LONG)
}

fn out_session_rows() -> Produced<WindowedText, Option<Text>> {
    Produced::with(SessionWindowedCodec(TEXT), marea::codec::Nullable(TEXT))
}

fn counts(retention: u64) -> Materialized<i64> {
    Materialized::with("counts", I64).retention(ms(retention))
}

fn texts(store: &str, retention: u64) -> Materialized<Text> {
    kv(store).retention(ms(retention))
}

// The stores have the default retention of Kafka Streams: the gap plus the grace.
pub fn build(name: &str, b: &StreamBuilder) -> bool {
    let by_key = || {
        b.stream_with("in", strings())
            .group_by_key(grouped("by-key"))
    };
    let five = |grace| SessionWindows::with_gap(ms(5)).grace(ms(grace));
    match name {
        "session-count" => by_key()
            .windowed_by(SessionWindows::with_gap(ms(5)))
            .count(counts(5))
            .to_stream()
            .to_with("out", out_session_longs()),
        "session-count-grace-20" | "headers-session-count" => by_key()
            .windowed_by(five(20))
            .count(counts(25))
            .to_stream()
            .to_with("out", out_session_longs()),
        "session-count-in-memory" => by_key()
            .windowed_by(five(5))
            .count(counts(40).in_memory())
            .to_stream()
            .to_with("out", out_session_longs()),
        "session-count-regrouped" => by_key()
            .windowed_by(five(20))
            .count(counts(25))
            .group_by(Grouped::with("by-length", TEXT, I64), |w, n| {
                (Some(format!("len{}", w.end_ms - w.start_ms)), *n)
            })
            .count("lengths")
            .to_stream()
            .to_with("out", out_longs()),
        "session-reduce" => by_key()
            .windowed_by(five(20))
            .reduce(
                |one, other: Text| match &other {
                    None => one,
                    Some(other) => append(&one, other),
                },
                texts("reduced", 25),
            )
            .to_stream()
            .to_with("out", out_session_rows()),
        "session-aggregate" => by_key()
            .windowed_by(five(10))
            .aggregate(
                || Some("^".to_owned()),
                |_, v, so_far| append(&so_far, read(&v)),
                |_, one, other| append(&one, &format!("|{}", read(&other))),
                texts("aggregates", 15),
            )
            .to_stream()
            .to_with("out", out_session_rows()),
        "session-aggregate-to-null" => by_key()
            .windowed_by(five(10))
            .aggregate(
                || Some(String::new()),
                |_, v, so_far| (!is(&v, "z")).then(|| append(&so_far, ".")),
                |_, one, other| append(&one, read(&other)),
                texts("aggregates", 15),
            )
            .to_stream()
            .to_with("out", out_session_rows()),
        "suppress-session" => by_key()
            .windowed_by(five(5))
            .count(counts(10))
            .suppress(Suppressed::until_window_closes_with("suppress", I64))
            .to_stream()
            .to_with("out", out_session_longs()),
        "cogroup-session" => cogrouped(b)
            .windowed_by(five(5))
            .aggregate(
                || Some("^".to_owned()),
                |_, one, other| append(&one, &format!("|{}", read(&other))),
                texts("cogroup", 10),
            )
            .to_stream()
            .to_with("out", out_session_rows()),
        "emit-final-session" => by_key()
            .windowed_by(five(5))
            .emit_on_close()
            .count(counts(10))
            .to_stream()
            .to_with("out", out_session_longs()),
        _ => return false,
    }
    true
}
