//! Tables: computed from streams, filtered, mapped, grouped by another key.

use marea::codec::I64;
use marea::dsl::{
    CogroupedStream, Grouped, Materialized, StreamBuilder, Suppressed, Table, TimeWindows,
    UntilTimeLimit,
};

use super::words::*;

/// The topologies of this file.
pub const NAMES: &[&str] = &[
    "to-table",
    "to-table-rekeyed",
    "table-filter-materialized",
    "table-filter-not-materialized",
    "table-filter-group-by",
    "table-map-values-materialized",
    "table-transform-values",
    "table-filter-map-filter",
    "count-of-counts",
    "table-group-by-count",
    "table-group-by-reduce",
    "table-group-by-aggregate",
    "table-group-by-null-value",
    "table-group-by-same-key",
    "table-group-by-subtract-to-null",
    "tumbling-count-regrouped",
    "tumbling-aggregate-regrouped",
    "cogroup",
    "cogroup-tumbling",
    "suppress-time-limit",
    "suppress-time-limit-unmaterialized",
    "suppress-max-records",
    "suppress-time-limit-zero",
    "suppress-count-time-limit",
    "suppress-windowed-time-limit",
    "suppress-then-group-by",
    "suppress-then-join",
];

fn table(b: &StreamBuilder) -> Table<Text, Text> {
    b.table_with("in", strings(), kv("table"))
}

/// The part of "p:x" after the colon, or all of it if there is no colon.
pub fn after(value: &Text) -> Text {
    let value = value.as_ref()?;
    Some(
        value
            .split_once(':')
            .map_or(value.as_str(), |(_, after)| after)
            .to_owned(),
    )
}

/// Logs what enters each group as "+x" and what leaves it as "-x".
pub fn log_groups(
    table: Table<Text, Text>,
    name: &str,
    select: impl Fn(&Text, &Text) -> (Text, Text) + Send + Sync + 'static,
    entered: &'static str,
) {
    table
        .group_by(grouped(name), select)
        .aggregate(
            || Some("^".to_owned()),
            move |_, v, log| append(&log, &format!("{entered}{}", read(&v))),
            |_, v, log| append(&log, &format!("-{}", read(&v))),
            kv("logs"),
        )
        .to_stream()
        .to_with("out", out_rows());
}

fn write(table: Table<Text, Text>) {
    table.to_stream().to_with("out", out_rows());
}

fn held(limit_ms: u64) -> UntilTimeLimit<Text> {
    Suppressed::until_time_limit_with("suppress", ms(limit_ms), TEXT)
}

pub fn cogrouped(b: &StreamBuilder) -> CogroupedStream<Text, Text> {
    let grouped = |number: u32| {
        let records = b.stream_with(format!("in{number}"), strings());
        records.group_by_key(grouped(&format!("by-key-{number}")))
    };
    let (first, second) = (grouped(1), grouped(2));
    first
        .cogroup(|_, v, so_far| append(&so_far, &format!("<{}", read(&v))))
        .cogroup(second, |_, v, so_far| {
            append(&so_far, &format!(">{}", read(&v)))
        })
}

pub fn build(name: &str, b: &StreamBuilder) -> bool {
    match name {
        "to-table" => b
            .stream_with("in", strings())
            .to_table_with(grouped("to-table"), kv("table"))
            .to_stream()
            .to_with("out", out_rows()),
        "to-table-rekeyed" => b
            .stream_with("in", strings())
            .map(|_, v| (before(&v), after(&v)))
            .to_table_with(grouped("to-table"), kv("table"))
            .to_stream()
            .to_with("out", out_rows()),
        "table-filter-materialized" => table(b)
            .filter(|_, v| !starts(v, "x"))
            .materialized(kv("filtered"))
            .to_stream()
            .to_with("out", out_rows()),
        "table-filter-not-materialized" => b
            .table_without_store("in", strings())
            .filter_not(|_, v| starts(v, "y"))
            .materialized(kv("filtered"))
            .to_stream()
            .to_with("out", out_rows()),
        "table-filter-group-by" => table(b)
            .filter(|_, v| !starts(v, "x"))
            .group_by(grouped("by-value"), |_, v| (v.clone(), v.clone()))
            .count("counts")
            .to_stream()
            .to_with("out", out_longs()),
        "table-map-values-materialized" => b
            .table_without_store("in", strings())
            .map_values(|_, v| (!is(&v, "z")).then(|| Some(format!("{}!", read(&v)))))
            .materialized(kv("mapped"))
            .to_stream()
            .to_with("out", out_rows()),
        "table-transform-values" => b
            .table_without_store("in", strings())
            .transform_values(|k, v| Some(Some(format!("{}/{}", read(k), read(&v.flatten())))))
            .materialized(kv("transformed"))
            .to_stream()
            .to_with("out", out_rows()),
        "table-filter-map-filter" => b
            .table_without_store("in", strings())
            .filter(|_, v| !starts(v, "x"))
            .map_values(|_, v| Some(Some(format!("{}!", read(&v)))))
            .filter(|_, v| !starts(v, "y"))
            .materialized(kv("kept"))
            .to_stream()
            .to_with("out", out_rows()),
        "count-of-counts" => b
            .stream_with("in", strings())
            .group_by_key(grouped("by-key"))
            .count("counts")
            .group_by(grouped("by-count"), |k, n| {
                (Some(format!("n{n}")), k.clone())
            })
            .count("keys-per-count")
            .to_stream()
            .to_with("out", out_longs()),
        "table-group-by-count" => table(b)
            .group_by(grouped("by-value"), |_, v| (v.clone(), v.clone()))
            .count("counts")
            .to_stream()
            .to_with("out", out_longs()),
        "table-group-by-reduce" => b
            .table_with("in", longs(), Materialized::with("table", LONG))
            .group_by(Grouped::with("by-sign", TEXT, LONG), |_, v| {
                let sign = if *v < Some(0) { "negative" } else { "positive" };
                (Some(sign.to_owned()), *v)
            })
            .reduce(
                |sum, v| Some(sum.unwrap_or(0).wrapping_add(v.unwrap_or(0))),
                |sum, v| Some(sum.unwrap_or(0).wrapping_sub(v.unwrap_or(0))),
                Materialized::with("sums", LONG),
            )
            .to_stream()
            .map_values(|_, v| v.flatten())
            .to_with("out", out_longs()),
        "table-group-by-aggregate" => {
            log_groups(table(b), "by-group", |_, v| (before(v), after(v)), "+");
        }
        "table-group-by-null-value" => log_groups(
            table(b),
            "by-group",
            |_, v| (before(v), after(v).filter(|after| after != "z")),
            "+",
        ),
        "table-group-by-same-key" => {
            log_groups(table(b), "by-key", |k, v| (k.clone(), v.clone()), "+");
        }
        "table-group-by-subtract-to-null" => table(b)
            .group_by(grouped("by-value"), |_, v| (v.clone(), v.clone()))
            .aggregate(
                || 0,
                |_, _, n| n + 1,
                |_, _, n| (n != 1).then(|| n - 1),
                Materialized::with("counts", I64),
            )
            .to_stream()
            .to_with("out", out_longs()),
        "tumbling-count-regrouped" => b
            .stream_with("in", strings())
            .group_by_key(grouped("by-key"))
            .windowed_by(TimeWindows::of(ms(10)).grace(ms(5)))
            .count("counts")
            .group_by(Grouped::with("by-window", TEXT, I64), |w, n| {
                (Some(format!("w{}", w.start_ms)), *n)
            })
            .reduce(
                |sum, n| sum + n,
                |sum, n| sum - n,
                Materialized::with("totals", I64),
            )
            .to_stream()
            .to_with("out", out_longs()),
        "tumbling-aggregate-regrouped" => b
            .stream_with("in", strings())
            .group_by_key(grouped("by-key"))
            .windowed_by(TimeWindows::of(ms(10)).grace(ms(5)))
            .aggregate(
                || Some("^".to_owned()),
                |_, v, so_far| append(&so_far, read(&v)),
                kv("aggregates"),
            )
            .group_by(grouped("by-plain-key"), |w, v| (w.key.clone(), v.clone()))
            .aggregate(
                || Some(String::new()),
                |_, v, log| append(&log, &format!("+{}", read(&v))),
                |_, v, log| append(&log, &format!("-{}", read(&v))),
                kv("logs"),
            )
            .to_stream()
            .to_with("out", out_rows()),
        "cogroup" => cogrouped(b)
            .aggregate(|| Some("^".to_owned()), kv("cogroup"))
            .to_stream()
            .to_with("out", out_rows()),
        "cogroup-tumbling" => cogrouped(b)
            .windowed_by(TimeWindows::of(ms(10)).grace(ms(3)))
            .aggregate(|| Some("^".to_owned()), kv("cogroup"))
            .to_stream()
            .to_with("out", out_windowed_rows(10)),
        "suppress-time-limit" => write(table(b).suppress(held(20))),
        "suppress-time-limit-unmaterialized" => {
            write(b.table_without_store("in", strings()).suppress(held(20)));
        }
        "suppress-max-records" => write(table(b).suppress(held(20).max_rows(2))),
        "suppress-time-limit-zero" => write(table(b).suppress(held(0))),
        "suppress-count-time-limit" => b
            .stream_with("in", strings())
            .group_by_key(grouped("by-key"))
            .count("counts")
            .suppress(Suppressed::until_time_limit("suppress", ms(10)).max_rows(3))
            .to_stream()
            .to_with("out", out_longs()),
        "suppress-windowed-time-limit" => b
            .stream_with("in", strings())
            .group_by_key(grouped("by-key"))
            .windowed_by(TimeWindows::of(ms(10)).grace(ms(30)))
            .count("counts")
            .suppress(Suppressed::until_time_limit("suppress", ms(15)))
            .to_stream()
            .to_with("out", out_windowed_longs(10)),
        "suppress-then-group-by" => table(b)
            .suppress(held(20))
            .group_by(grouped("by-value"), |_, v| (v.clone(), v.clone()))
            .count("counts")
            .to_stream()
            .to_with("out", out_longs()),
        "suppress-then-join" => {
            let left = b
                .table_with("left", strings(), kv("left-table"))
                .suppress(held(20));
            let right = b.table_with("right", strings(), kv("right-table"));
            write(left.join_without_store(right, |_, l, r| plus(l, r)));
        }
        _ => return false,
    }
    true
}
