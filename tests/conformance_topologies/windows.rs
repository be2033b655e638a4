use marea::codec::I64;
use marea::dsl::{Materialized, StreamBuilder, Suppressed, TimeWindows, WindowedStream};

use super::words::*;

/// The topologies of this file.
pub const NAMES: &[&str] = &[
    "tumbling-count",
    "tumbling-count-grace-5",
    "tumbling-count-huge-grace",
    "hopping-count",
    "hopping-count-uneven",
    "tumbling-count-in-memory",
    "tumbling-count-retention",
    "tumbling-reduce",
    "tumbling-aggregate",
    "tumbling-count-rekeyed",
    "tumbling-count-flattened",
    "tumbling-count-filtered",
    "hopping-aggregate",
    "suppress-tumbling",
    "suppress-hopping",
    "headers-suppress",
    "suppress-tumbling-no-grace",
    "suppress-window-deleted",
];

fn by_key(b: &StreamBuilder, windows: TimeWindows) -> WindowedStream<Text, Text> {
    let records = b.stream_with("in", strings());
    records.group_by_key(grouped("by-key")).windowed_by(windows)
}

fn ten() -> TimeWindows {
    TimeWindows::of(ms(10))
}

fn count(b: &StreamBuilder, windows: TimeWindows) {
    let counts = by_key(b, windows).count("counts");
    counts.to_stream().to_with("out", out_windowed_longs(10));
}

pub fn build(name: &str, b: &StreamBuilder) -> bool {
    match name {
        "tumbling-count" => count(b, ten()),
        "tumbling-count-grace-5" => count(b, ten().grace(ms(5))),
        "tumbling-count-huge-grace" => count(b, ten().grace(ms(86_400_000))),
        "hopping-count" => count(b, ten().advance_by(ms(5))),
        "hopping-count-uneven" => count(b, ten().grace(ms(4)).advance_by(ms(3))),
        "tumbling-count-in-memory" => by_key(b, ten().grace(ms(5)))
            .count(
                Materialized::with("counts", I64)
                    .in_memory()
                    .retention(ms(40)),
            )
            .to_stream()
            .to_with("out", out_windowed_longs(10)),
        "tumbling-count-retention" => by_key(b, ten())
            .count(Materialized::with("counts", I64).retention(ms(100)))
            .to_stream()
            .to_with("out", out_windowed_longs(10)),
        "tumbling-reduce" => by_key(b, ten().grace(ms(5)))
            .reduce(|so_far, v| append(&so_far, read(&v)), kv("reduced"))
            .to_stream()
            .to_with("out", out_windowed_rows(10)),
        "tumbling-aggregate" => by_key(b, ten().grace(ms(5)))
            .aggregate(
                || Some("^".to_owned()),
                |_, v, so_far| (!is(&v, "z")).then(|| append(&so_far, read(&v))),
                kv("aggregates"),
            )
            .to_stream()
            .to_with("out", out_windowed_rows(10)),
        "tumbling-count-rekeyed" => b
            .stream_with("in", strings())
            .group_by(grouped("by-value"), |_, v| v.clone())
            .windowed_by(ten().grace(ms(5)))
            .count("counts")
            .to_stream()
            .to_with("out", out_windowed_longs(10)),
        "tumbling-count-flattened" => by_key(b, ten())
            .count("counts")
            .to_stream()
            .select_key(|w, _| Some(format!("{}@{}", read(&w.key), w.start_ms)))
            .map_values(|_, n| {
                let n = n.map_or("null".to_owned(), |n| n.to_string());
                Some(format!("n{n}"))
            })
            .to_with("out", out()),
        "tumbling-count-filtered" => by_key(b, ten().grace(ms(5)))
            .count("counts")
            .filter(|_, n| n % 2 == 1)
            .to_stream()
            .to_with("out", out_windowed_longs(10)),
        "hopping-aggregate" => by_key(b, TimeWindows::of(ms(12)).grace(ms(6)).advance_by(ms(5)))
            .aggregate(
                || Some("^".to_owned()),
                |_, v, so_far| append(&so_far, read(&v)),
                kv("aggregates"),
            )
            .to_stream()
            .to_with("out", out_windowed_rows(12)),
        "suppress-tumbling" => suppressed_count(b, ten().grace(ms(5))),
        "suppress-hopping" => suppressed_count(b, ten().grace(ms(3)).advance_by(ms(4))),
        "headers-suppress" => suppressed_count(b, ten()),
        "suppress-tumbling-no-grace" => by_key(b, ten())
            .aggregate(
                || Some("^".to_owned()),
                |_, v, so_far| append(&so_far, read(&v)),
                kv("aggregates"),
            )
            .suppress(Suppressed::until_window_closes_with("suppress", TEXT))
            .to_stream()
            .to_with("out", out_windowed_rows(10)),
        "suppress-window-deleted" => by_key(b, ten())
            .aggregate(
                || Some("^".to_owned()),
                |_, v, so_far| (!is(&v, "z")).then(|| append(&so_far, read(&v))),
                kv("aggregates"),
            )
            .suppress(Suppressed::until_window_closes_with("suppress", TEXT))
            .to_stream()
            .to_with("out", out_windowed_rows(10)),
        _ => return false,
    }
    true
}

fn suppressed_count(b: &StreamBuilder, windows: TimeWindows) {
    by_key(b, windows)
        .count("counts")
        .suppress(Suppressed::until_window_closes_with("suppress", I64))
        .to_stream()
        .to_with("out", out_windowed_longs(10));
}
