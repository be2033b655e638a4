use marea::dsl::{Grouped, Materialized, StreamBuilder};

use super::words::*;

/// The topologies of this file.
pub const NAMES: &[&str] = &[
    "group-by-key-count",
    "headers-count",
    "group-by-count",
    "reduce",
    "reduce-to-null",
    "aggregate",
    "aggregate-to-null",
    "aggregate-sum",
    "reduce-max-rekeyed",
    "word-count",
];

pub fn build(name: &str, b: &StreamBuilder) -> bool {
    match name {
        "group-by-key-count" | "headers-count" => b
            .stream_with("in", strings())
            .group_by_key(grouped("by-key"))
            .count("counts")
            .to_stream()
            .to_with("out", out_longs()),
        "group-by-count" => b
            .stream_with("in", strings())
            .group_by(grouped("by-value"), |_, v| v.clone())
            .count("counts")
            .to_stream()
            .to_with("out", out_longs()),
        "reduce" => b
            .stream_with("in", strings())
            .group_by_key(grouped("by-key"))
            .reduce(|so_far, v| append(&so_far, read(&v)), kv("reduced"))
            .to_stream()
            .to_with("out", out_rows()),
        "reduce-to-null" => b
            .stream_with("in", strings())
            .group_by_key(grouped("by-key"))
            .reduce(
                |so_far, v| (!is(&v, "z")).then(|| append(&so_far, read(&v))),
                kv("reduced"),
            )
            .to_stream()
            .to_with("out", out_rows()),
        "aggregate" => b
            .stream_with("in", strings())
            .group_by_key(grouped("by-key"))
            .aggregate(
                || Some("^".to_owned()),
                |k, v, so_far| append(&so_far, &format!("{}{}", read(k), read(&v))),
                kv("aggregates"),
            )
            .to_stream()
            .to_with("out", out_rows()),
        "aggregate-to-null" => b
            .stream_with("in", strings())
            .group_by_key(grouped("by-key"))
            .aggregate(
                || Some("^".to_owned()),
                |_, v, so_far| (!is(&v, "z")).then(|| append(&so_far, read(&v))),
                kv("aggregates"),
            )
            .to_stream()
            .to_with("out", out_rows()),
        "aggregate-sum" => b
            .stream_with("in", longs())
            .group_by_key(Grouped::with("by-key", TEXT, LONG))
            .aggregate(
                || 0,
                |_, v: Option<i64>, sum: i64| sum.wrapping_add(v.unwrap_or_default()),
                Materialized::with("sums", marea::codec::I64),
            )
            .to_stream()
            .to_with("out", out_longs()),
        "reduce-max-rekeyed" => b
            .stream_with("in", longs())
            .group_by(Grouped::with("by-parity", TEXT, LONG), |_, v| {
                v.map(|v| if v % 2 == 0 { "even" } else { "odd" }.to_owned())
            })
            .reduce(
                |largest, v| largest.max(v),
                Materialized::with("largest", LONG),
            )
            .to_stream()
            .map_values(|_, v| v.flatten())
            .to_with("out", out_longs()),
        "word-count" => b
            .stream_with("lines", strings())
            .flat_map_values(|_, line| split(&line).into_iter().map(Some).collect::<Vec<_>>())
            .group_by(grouped("by-word"), |_, word| word.clone())
            .count("words")
            .to_stream()
            .to_with("counts", out_longs()),
        _ => return false,
    }
    true
}
