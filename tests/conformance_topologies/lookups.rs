//! Joins by another key than the record's own: with global tables, and of tables by a foreign key.

use marea::dsl::{ForeignJoined, GlobalTable, StreamBuilder, Table};

use super::words::*;

/// The topologies of this file.
pub const NAMES: &[&str] = &[
    "stream-global-table-join",
    "stream-global-table-left-join",
    "fk-join",
    "fk-join-materialized",
    "fk-left-join",
    "fk-left-join-materialized",
    "fk-join-by-key-and-value",
    "fk-join-group-by",
    "fk-self-join",
    "headers-fk-join",
];

type Rows = Table<Text, Text>;

fn both(b: &StreamBuilder) -> (Rows, Rows) {
    let table = |topic: &str| b.table_with(topic, strings(), kv(&format!("{topic}-table")));
    (table("children"), table("parents"))
}

fn fk() -> ForeignJoined<Text, Text> {
    ForeignJoined::with("fk", TEXT, TEXT)
}

fn inner((children, parents): (Rows, Rows)) -> Rows {
    children.join_foreign(parents, |_, v| before(v), |_, c, p| plus(c, p), fk())
}

fn left((children, parents): (Rows, Rows)) -> Rows {
    let join = |_: &Text, c: &Text, p: Option<&Text>| plus(c, &p.cloned().flatten());
    children.left_join_foreign(parents, |_, v| before(v), join, fk())
}

fn write(table: Rows) {
    table.to_stream().to_with("out", out_rows());
}

fn global(b: &StreamBuilder) -> GlobalTable<Text, Text> {
    b.global_table_with("global", strings(), kv("global-store"))
}

pub fn build(name: &str, b: &StreamBuilder) -> bool {
    match name {
        "stream-global-table-join" => b
            .stream_with("stream", strings())
            .join_global(&global(b), |_, v| before(v), |_, v, row| plus(&v, &row))
            .to_with("out", out()),
        "stream-global-table-left-join" => b
            .stream_with("stream", strings())
            .left_join_global(
                &global(b),
                |_, v| before(v),
                |k, s, g| Some(format!("{}={}+{}", read(k), read(&s), read(&g.flatten()))),
            )
            .to_with("out", out()),
        "fk-join" => write(inner(both(b))),
        "fk-join-materialized" => write(inner(both(b)).materialized(kv("joined"))),
        "fk-left-join" | "headers-fk-join" => write(left(both(b))),
        "fk-left-join-materialized" => write(left(both(b)).materialized(kv("joined"))),
        "fk-join-by-key-and-value" => {
            let (children, parents) = both(b);
            let key = |k: &Text, v: &Text| match is(k, "a") {
                true => Some("p".to_owned()),
                false => before(v),
            };
            write(children.join_foreign(parents, key, |_, c, p| plus(c, p), fk()));
        }
        "fk-join-group-by" => left(both(b))
            .materialized(kv("joined"))
            .group_by(grouped("by-parent"), |_, v| {
                let parent = read(v).split_once('+').map(|(_, parent)| parent.to_owned());
                (parent.or_else(|| v.clone()), v.clone())
            })
            .count("counts")
            .to_stream()
            .map_values(|_, n| n.map(|n| format!("n{n}")))
            .to_with("out", out()),
        "fk-self-join" => {
            let table = b.table_with("in", strings(), kv("table"));
            write(inner((table.clone(), table)));
        }
        _ => return false,
    }
    true
}
