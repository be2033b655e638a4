//! Joins of tables with tables, and of streams with tables that have no topic of their own.

use marea::dsl::{StreamBuilder, Table, TimeWindows};

use super::tables::log_groups;
use super::words::*;

/// The topologies of this file.
pub const NAMES: &[&str] = &[
    "table-filter-join",
    "table-table-join",
    "table-table-join-materialized",
    "table-table-left-join",
    "table-table-left-join-materialized",
    "headers-table-join",
    "table-table-outer-join",
    "table-table-outer-join-materialized",
    "table-table-outer-join-group-by",
    "table-table-chain",
    "table-table-outer-chain",
    "table-table-self-join",
    "aggregate-join",
    "tumbling-table-join",
    "stream-join-own-table",
];

fn table(b: &StreamBuilder, topic: &str) -> Table<Text, Text> {
    b.table_with(topic, strings(), kv(&format!("{topic}-table")))
}

fn both(b: &StreamBuilder) -> (Table<Text, Text>, Table<Text, Text>) {
    (table(b, "left"), table(b, "right"))
}

/// A side that may be absent.
fn or_null(side: Option<&Text>) -> Text {
    side.cloned().flatten()
}

fn inner(left: Table<Text, Text>, right: Table<Text, Text>) -> Table<Text, Text> {
    left.join_without_store(right, |_, l, r| plus(l, r))
}

fn left_outer(left: Table<Text, Text>, right: Table<Text, Text>) -> Table<Text, Text> {
    left.left_join_without_store(right, |_, l, r| plus(l, &or_null(r)))
}

fn outer(left: Table<Text, Text>, right: Table<Text, Text>) -> Table<Text, Text> {
    left.outer_join_without_store(right, |_, l, r| plus(&or_null(l), &or_null(r)))
}

fn write(table: Table<Text, Text>) {
    table.to_stream().to_with("out", out_rows());
}

fn counts(b: &StreamBuilder, number: u32) -> Table<WindowedText, i64> {
    b.stream_with(format!("in{number}"), strings())
        .group_by_key(grouped(&format!("by-key-{number}")))
        .windowed_by(TimeWindows::of(ms(10)).grace(ms(5)))
        .count(format!("counts-{number}").as_str())
}

pub fn build(name: &str, b: &StreamBuilder) -> bool {
    match name {
        "table-filter-join" => {
            let (left, right) = both(b);
            let left = left.filter(|_, v| !starts(v, "L1"));
            let right = right.map_values(|_, v| Some(Some(format!("{}!", read(&v)))));
            write(inner(left, right));
        }
        "table-table-join" => {
            let (left, right) = both(b);
            write(inner(left, right));
        }
        "table-table-join-materialized" => {
            let (left, right) = both(b);
            write(inner(left, right).materialized(kv("joined")));
        }
        "table-table-left-join" | "headers-table-join" => {
            let (left, right) = both(b);
            write(left_outer(left, right));
        }
        "table-table-left-join-materialized" => {
            let (left, right) = both(b);
            write(left_outer(left, right).materialized(kv("joined")));
        }
        "table-table-outer-join" => {
            let (left, right) = both(b);
            write(outer(left, right));
        }
        "table-table-outer-join-materialized" => {
            let (left, right) = both(b);
            write(outer(left, right).materialized(kv("joined")));
        }
        "table-table-outer-join-group-by" => {
            let (left, right) = both(b);
            let joined = outer(left, right);
            log_groups(joined, "by-first", |_, v| (first(v), v.clone()), ",");
        }
        "table-table-chain" => {
            let pairs = inner(table(b, "t1"), table(b, "t2"));
            write(left_outer(pairs, table(b, "t3")));
        }
        "table-table-outer-chain" => {
            let pairs = outer(table(b, "t1"), table(b, "t2"));
            write(outer(pairs, table(b, "t3")));
        }
        "table-table-self-join" => {
            let table = b.table_with("in", strings(), kv("table"));
            let copy = table.clone();
            write(inner(
                table,
                copy.map_values(|_, v| Some(Some(format!("{}'", read(&v))))),
            ));
        }
        "aggregate-join" => {
            let count = |number: u32| {
                b.stream_with(format!("in{number}"), strings())
                    .group_by_key(grouped(&format!("by-key-{number}")))
                    .count(format!("counts-{number}").as_str())
            };
            let (one, two) = (count(1), count(2));
            write(one.join_without_store(two, |_, x, y| Some(format!("{x}/{y}"))));
        }
        "tumbling-table-join" => {
            let (one, two) = (counts(b, 1), counts(b, 2));
            one.left_join_without_store(two, |_, x, y| {
                let y = y.map_or("null".to_owned(), |y| y.to_string());
                Some(format!("{x}/{y}"))
            })
            .to_stream()
            .to_with("out", out_windowed_rows(10));
        }
        "stream-join-own-table" => {
            let input = b.stream_with("in", strings());
            let latest = input
                .clone()
                .to_table_with(grouped("to-table"), kv("latest"));
            input
                .join_table(&latest, |_, s, t| plus(&s, &t), joined("join"))
                .to_with("out", out());
        }
        _ => return false,
    }
    true
}
