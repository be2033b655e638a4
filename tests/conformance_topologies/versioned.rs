//! Tables with a history, and operators over them.

use marea::dsl::{ForeignJoined, Joined, Materialized, StreamBuilder, Table};

use super::tables::log_groups;
use super::words::*;

/// The topologies of this file.
pub const NAMES: &[&str] = &[
    "table-versioned",
    "table-versioned-filter",
    "table-versioned-group-by",
    "table-table-versioned-join",
    "fk-join-versioned",
    "stream-versioned-table-join",
    "stream-versioned-table-left-join",
    "stream-versioned-table-join-grace",
    "stream-versioned-table-left-join-grace",
    "headers-join-grace",
];

fn versioned(store: &str) -> Materialized<Text> {
    kv(store).versioned(ms(50))
}

fn table(b: &StreamBuilder, topic: &str, store: &str) -> Table<Text, Text> {
    b.table_with(topic, strings(), versioned(store))
}

fn inner(b: &StreamBuilder, joined: Joined<Text, Text>) {
    let table = table(b, "table", "table-store");
    b.stream_with("stream", strings())
        .join_table(&table, |_, s, t| plus(&s, &t), joined)
        .to_with("out", out());
}

fn left(b: &StreamBuilder, joined: Joined<Text, Text>) {
    let table = table(b, "table", "table-store");
    b.stream_with("stream", strings())
        .left_join_table(&table, |_, s, t| plus(&s, &t.flatten()), joined)
        .to_with("out", out());
}

pub fn build(name: &str, b: &StreamBuilder) -> bool {
    match name {
        "table-versioned" => table(b, "in", "table")
            .to_stream()
            .to_with("out", out_rows()),
        "table-versioned-filter" => table(b, "in", "table")
            .filter(|_, v| !starts(v, "x"))
            .materialized(kv("filtered"))
            .to_stream()
            .to_with("out", out_rows()),
        "table-versioned-group-by" => log_groups(
            table(b, "in", "table"),
            "by-group",
            |_, v| (before(v), super::tables::after(v)),
            "+",
        ),
        "table-table-versioned-join" => {
            let right = table(b, "right", "right-table");
            table(b, "left", "left-table")
                .join_without_store(right, |_, l, r| plus(l, r))
                .to_stream()
                .to_with("out", out_rows());
        }
        "fk-join-versioned" => {
            let parents = table(b, "parents", "parents-table");
            table(b, "children", "children-table")
                .join_foreign(
                    parents,
                    |_, v| before(v),
                    |_, c, p| plus(c, p),
                    ForeignJoined::with("fk", TEXT, TEXT),
                )
                .to_stream()
                .to_with("out", out_rows());
        }
        "stream-versioned-table-join" => inner(b, joined("join")),
        "stream-versioned-table-left-join" => left(b, joined("join")),
        "stream-versioned-table-join-grace" => inner(b, joined("join").grace(ms(10))),
        "stream-versioned-table-left-join-grace" | "headers-join-grace" => {
            left(b, joined("join").grace(ms(10)));
        }
        _ => return false,
    }
    true
}
