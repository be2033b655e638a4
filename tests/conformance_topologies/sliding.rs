use marea::codec::I64;
use marea::dsl::{
    Grouped, Materialized, SlidingWindows, StreamBuilder, Suppressed, UnlimitedWindows,
};

use super::tables::cogrouped;
use super::words::*;

pub const NAMES: &[&str] = &[
    "sliding-count",
    "sliding-count-grace-20",
    "sliding-aggregate",
    "sliding-aggregate-regrouped",
    "sliding-reduce",
    "sliding-early",
    "suppress-sliding",
    "cogroup-sliding",
    "unlimited-count",
    "unlimited-count-from-20",
];

fn counts(retention: u64) -> Materialized<i64> {
    Materialized::with("counts", I64).retention(ms(retention))
}

fn texts(store: &str, retention: u64) -> Materialized<Text> {
    kv(store).retention(ms(retention))
}

fn fold(_: &Text, v: Text, so_far: Text) -> Text {
    append(&so_far, read(&v))
}

// The stores have the default retention of Kafka Streams: twice the difference plus the grace.
pub fn build(name: &str, b: &StreamBuilder) -> bool {
    let by_key = || {
        b.stream_with("in", strings())
            .group_by_key(grouped("by-key"))
    };
    let ten = |grace| SlidingWindows::of(ms(10)).grace(ms(grace));
    match name {
        "sliding-count" => by_key()
            .windowed_by(SlidingWindows::of(ms(10)))
            .count(counts(20))
            .to_stream()
            .to_with("out", out_windowed_longs(10)),
        "sliding-count-grace-20" => by_key()
            .windowed_by(ten(20))
            .count(counts(40))
            .to_stream()
            .to_with("out", out_windowed_longs(10)),
        "sliding-aggregate" => by_key()
            .windowed_by(ten(15))
            .aggregate(|| Some("^".to_owned()), fold, texts("aggregates", 35))
            .to_stream()
            .to_with("out", out_windowed_rows(10)),
        "sliding-reduce" => by_key()
            .windowed_by(ten(15))
            .reduce(|so_far, v| append(&so_far, read(&v)), texts("reduced", 35))
            .to_stream()
            .to_with("out", out_windowed_rows(10)),
        "sliding-aggregate-regrouped" => by_key()
            .windowed_by(ten(15))
            .aggregate(|| Some("^".to_owned()), fold, texts("aggregates", 35))
            .group_by(Grouped::with("by-plain-key", TEXT, TEXT), |w, row| {
                (w.key.clone(), row.clone())
            })
            .aggregate(
                || Some(String::new()),
                |_, v, log| append(&log, &format!("+{}", read(&v))),
                |_, v, log| append(&log, &format!("-{}", read(&v))),
                kv("logs"),
            )
            .to_stream()
            .to_with("out", out_rows()),
        "sliding-early" => by_key()
            .windowed_by(SlidingWindows::of(ms(1000)).grace(ms(500)))
            .aggregate(|| Some("^".to_owned()), fold, texts("aggregates", 2500))
            .to_stream()
            .to_with("out", out_windowed_rows(1000)),
        "suppress-sliding" => by_key()
            .windowed_by(ten(5))
            .count(counts(25))
            .suppress(Suppressed::until_window_closes_with("suppress", I64))
            .to_stream()
            .to_with("out", out_windowed_longs(10)),
        "cogroup-sliding" => cogrouped(b)
            .windowed_by(ten(5))
            .aggregate(|| Some("^".to_owned()), texts("cogroup", 25))
            .to_stream()
            .to_with("out", out_windowed_rows(10)),
        "unlimited-count" | "unlimited-count-from-20" => by_key()
            .windowed_by(UnlimitedWindows::from(match name {
                "unlimited-count" => 0,
                _ => 20,
            }))
            .count("counts")
            .to_stream()
            .to_with("out", out_windowed_longs(i64::MAX)),
        _ => return false,
    }
    true
}
