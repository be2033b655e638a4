use marea::dsl::{StreamBuilder, TimeWindows};

use super::words::*;

/// The topologies of this file.
pub const NAMES: &[&str] = &[
    "filter",
    "filter-not",
    "filter-map-values",
    "map",
    "map-values",
    "map-values-to-long",
    "flat-map",
    "flat-map-values",
    "select-key",
    "branch-with-default",
    "branch-no-default",
    "branch-with-function",
    "merge",
    "merge-with-itself",
    "source-of-two-topics",
    "peek",
    "fan-out",
    "repartition",
    "headers-stateless",
    "deserialization-continue",
    "processing-continue",
    "table-unmaterialized",
    "table-to-stream",
    "table-in-memory",
    "table-to-stream-rekeyed",
    "table-map-values",
    "table-filter",
    "table-filter-of-materialized",
    "to-dynamic",
    "to-dynamic-by-context",
    "timestamp-extractor",
    "timestamp-extractor-partition-time",
];

pub fn build(name: &str, b: &StreamBuilder) -> bool {
    match name {
        "filter" => b
            .stream_with("in", strings())
            .filter(|_, v| v.is_some() && !starts(v, "x"))
            .to_with("out", out()),
        "filter-not" => b
            .stream_with("in", strings())
            .filter_not(|k, v| k.is_none() || is(v, "y"))
            .to_with("out", out()),
        "filter-map-values" => b
            .stream_with("in", strings())
            .filter_map_values(|k, v| {
                let passes = v.is_some() && !starts(&v, "x");
                passes.then(|| Some(format!("{}={}", read(k), read(&v))))
            })
            .to_with("out", out()),
        "map" => b
            .stream_with("in", strings())
            .map(|k, v| (v, k))
            .to_with("out", out()),
        "map-values" => b
            .stream_with("in", strings())
            .map_values(|k, v| Some(format!("{}={}", read(k), read(&v))))
            .to_with("out", out()),
        "map-values-to-long" => b
            .stream_with("in", strings())
            .map_values(|_, v| v.map(|v| v.encode_utf16().count() as i64))
            .to_with("out", out_longs()),
        "flat-map" => b
            .stream_with("in", strings())
            .flat_map(|k: Text, v| {
                let parts = split(&v).into_iter().enumerate();
                let pair = move |(i, part)| (Some(part), Some(format!("{}#{i}", read(&k))));
                parts.map(pair).collect::<Vec<(Text, Text)>>()
            })
            .to_with("out", out()),
        "flat-map-values" => b
            .stream_with("in", strings())
            .flat_map_values(|_, v| split(&v).into_iter().map(Some).collect::<Vec<_>>())
            .to_with("out", out()),
        "select-key" => b
            .stream_with("in", strings())
            .select_key(|_, v| first(v))
            .to_with("out", out()),
        "branch-with-default" => {
            let mut split = b.stream_with("in", strings()).split();
            split.branch(|_, v| starts(v, "x")).to_with("out-x", out());
            let x_or_y = |_: &Text, v: &Text| starts(v, "x") || starts(v, "y");
            split.branch(x_or_y).to_with("out-y", out());
            split.default_branch().to_with("out-rest", out());
        }
        "branch-no-default" => {
            let mut split = b.stream_with("in", strings()).split();
            split.branch(|_, v| starts(v, "x")).to_with("out-x", out());
            split.branch(|_, v| v.is_none()).to_with("out-null", out());
        }
        "branch-with-function" => {
            let mut split = b.stream_with("in", strings()).split();
            let x = split
                .branch(|_, v| starts(v, "x"))
                .map_values(|_, v| Some(format!("{}!", read(&v))));
            split.branch(|_, v| starts(v, "y")).to_with("out-y", out());
            x.merge(split.default_branch()).to_with("out", out());
        }
        "merge" => b
            .stream_with("in1", strings())
            .merge(b.stream_with("in2", strings()))
            .to_with("out", out()),
        "merge-with-itself" => {
            let input = b.stream_with("in", strings());
            let labelled = input
                .clone()
                .map_values(|_, v| Some(format!("{}'", read(&v))));
            input.merge(labelled).to_with("out", out());
        }
        "source-of-two-topics" => b
            .streams_with(["in1", "in2"], strings())
            .map_values(|_, v| Some(format!("{}!", read(&v))))
            .to_with("out", out()),
        "peek" => b
            .stream_with("in", strings())
            .peek(|_, _| {})
            .to_with("out", out()),
        "fan-out" => {
            let input = b.stream_with("in", strings());
            let present = input.clone().filter(|_, v| v.is_some());
            present
                .clone()
                .map_values(|_, v| v.map(|v| v.to_uppercase()))
                .to_with("out1", out());
            present
                .flat_map_values(|_, v| [v.clone(), v])
                .to_with("out2", out());
            input.clone().to_with("out1", out());
            input.to_with("out2", out());
        }
        "repartition" => b
            .stream_with("in", strings())
            .select_key(|_, v| v.clone())
            .repartition(repartitioned("by-value"))
            .map_values(|k, v| Some(format!("{}={}", read(k), read(&v))))
            .to_with("out", out()),
        "headers-stateless" => {
            let input = b.stream_with("in", strings()).filter(|_, v| !is(v, "x"));
            input
                .clone()
                .select_key(|_, v| v.clone())
                .repartition(repartitioned("by-value"))
                .merge(input)
                .to_with("out", out());
        }
        "deserialization-continue" => b
            .stream_with("in", longs())
            .map_values(|_, v| v.map(|v| v % 1000))
            .to_with("out", out_longs()),
        "processing-continue" => {
            let input = b.stream_with("in", strings());
            input.clone().to_with("out1", out());
            input
                .clone()
                .map_values(|_, v| {
                    assert!(!starts(&v, "x"), "{}", read(&v));
                    Some(format!("{}!", read(&v)))
                })
                .to_with("out2", out());
            input.to_with("out3", out());
        }
        "table-unmaterialized" => b
            .table_without_store("in", strings())
            .to_stream()
            .to_with("out", out_rows()),
        "table-to-stream" => b
            .table_with("in", strings(), kv("table"))
            .to_stream()
            .to_with("out", out_rows()),
        "table-in-memory" => b
            .table_with("in", strings(), kv("table").in_memory())
            .to_stream()
            .to_with("out", out_rows()),
        "table-to-stream-rekeyed" => b
            .table_with("in", strings(), kv("table"))
            .to_stream()
            .select_key(|_, v| v.clone().flatten())
            .to_with("out", out_rows()),
        "table-map-values" => b
            .table_without_store("in", strings())
            .map_values(|k, v| Some(Some(format!("{}={}", read(k), read(&v)))))
            .to_stream()
            .to_with("out", out_rows()),
        "table-filter" => b
            .table_without_store("in", strings())
            .filter(|_, v| !starts(v, "x"))
            .to_stream()
            .to_with("out", out_rows()),
        "table-filter-of-materialized" => b
            .table_with("in", strings(), kv("table"))
            .filter(|_, v| !starts(v, "x"))
            .to_stream()
            .to_with("out", out_rows()),
        "to-dynamic" => b.stream_with("in", strings()).to_dynamic_with(
            |_, v, _| match first(v) {
                Some(first) if matches!(&*first, "x" | "y" | "z") => format!("out-{first}"),
                _ => "out-rest".to_owned(),
            },
            out(),
        ),
        "to-dynamic-by-context" => b
            .stream_with("in1", strings())
            .merge(b.stream_with("in2", strings()))
            .to_dynamic_with(
                |_, _, record| {
                    let (topic, offset) =
                        record.map_or(("", 0), |record| (record.topic, record.offset));
                    let parity = if offset % 2 == 0 { "even" } else { "odd" };
                    format!("{topic}-{parity}")
                },
                out(),
            ),
        "timestamp-extractor" => b
            .stream_with(
                "in",
                strings().timestamps(|record, _| written(&record.value)),
            )
            .group_by_key(grouped("by-key"))
            .windowed_by(TimeWindows::of(ms(10)).grace(ms(5)))
            .count("counts")
            .to_stream()
            .to_with("out", out_windowed_longs(10)),
        "timestamp-extractor-partition-time" => {
            let extract = |v: &Text, partition_ms| written(v).or(Some(partition_ms));
            let consumed = strings()
                .timestamps(move |record, partition_ms| extract(&record.value, partition_ms));
            b.stream_with("in", consumed).to_with("out", out());
        }
        _ => return false,
    }
    true
}

/// The time before the colon of a value such as "17:x".
fn written(value: &Text) -> Option<i64> {
    let digits = before(value)?;
    let is_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    ((1..=9).contains(&digits.len()) && is_digits).then(|| digits.parse().ok())?
}
