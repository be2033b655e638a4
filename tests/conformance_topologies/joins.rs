use marea::dsl::{JoinWindows, Joined, StreamBuilder, Suppressed, TimeWindows};

use super::words::*;

/// The topologies of this file.
pub const NAMES: &[&str] = &[
    "join-inner",
    "join-inner-grace-20",
    "join-inner-before-only",
    "join-inner-after-only",
    "join-inner-future-only",
    "join-inner-asymmetric",
    "join-rekeyed",
    "join-then-tumbling-count",
    "join-three-inner",
    "stream-table-join",
    "stream-table-left-join",
    "stream-table-join-rekeyed",
    "stream-table-join-filtered",
    "stream-join-aggregate",
    "enrich-and-count",
];

fn join(b: &StreamBuilder, windows: JoinWindows) {
    b.stream_with("left", strings())
        .join(
            b.stream_with("right", strings()),
            |_, l, r| plus(l, r),
            windows,
            stream_joined("join"),
        )
        .to_with("out", out());
}

fn within(difference_ms: u64, grace_ms: u64) -> JoinWindows {
    JoinWindows::of(ms(difference_ms)).grace(ms(grace_ms))
}

pub fn build(name: &str, b: &StreamBuilder) -> bool {
    match name {
        "join-inner" => join(b, within(10, 0)),
        "join-inner-grace-20" => join(b, within(10, 20)),
        "join-inner-before-only" => join(b, within(0, 5).before(ms(10))),
        "join-inner-after-only" => join(b, within(0, 5).after(ms(10))),
        "join-inner-future-only" => join(b, within(12, 5).at_least_after(ms(3))),
        "join-inner-asymmetric" => b
            .stream_with("left", strings())
            .join(
                b.stream_with("right", strings()),
                |k, l, r| Some(format!("{}={}+{}", read(k), read(l), read(r))),
                within(0, 5).before(ms(4)).after(ms(12)),
                stream_joined("join"),
            )
            .to_with("out", out()),
        "join-rekeyed" => b
            .stream_with("left", strings())
            .select_key(|_, v| before(v))
            .join(
                b.stream_with("right", strings())
                    .select_key(|_, v| before(v)),
                |_, l, r| plus(l, r),
                within(10, 5),
                stream_joined("join"),
            )
            .to_with("out", out()),
        "join-then-tumbling-count" => b
            .stream_with("left", strings())
            .join(
                b.stream_with("right", strings()),
                |_, l, r| plus(l, r),
                within(10, 5),
                stream_joined("join"),
            )
            .group_by_key(grouped("by-key"))
            .windowed_by(TimeWindows::of(ms(20)))
            .count("counts")
            .to_stream()
            .to_with("out", out_windowed_longs(20)),
        "join-three-inner" => b
            .stream_with("in1", strings())
            .join(
                b.stream_with("in2", strings()),
                |_, l, r| plus(l, r),
                within(10, 5),
                stream_joined("join-12"),
            )
            .join(
                b.stream_with("in3", strings()),
                |_, l, r| plus(l, r),
                within(15, 5),
                stream_joined("join-123"),
            )
            .to_with("out", out()),
        "stream-table-join" => {
            let table = b.table_with("table", strings(), kv("table-store"));
            b.stream_with("stream", strings())
                .join_table(&table, |_, s, t| plus(&s, &t), joined("join"))
                .to_with("out", out());
        }
        "stream-table-left-join" => {
            let table = b.table_with("table", strings(), kv("table-store"));
            b.stream_with("stream", strings())
                .left_join_table(&table, |_, s, t| plus(&s, &t.flatten()), joined("join"))
                .to_with("out", out());
        }
        "stream-table-join-rekeyed" => {
            let table = b.table_with("table", strings(), kv("table-store"));
            b.stream_with("stream", strings())
                .select_key(|_, v| before(v))
                .left_join_table(
                    &table,
                    |k, s, t| Some(format!("{}={}+{}", read(k), read(&s), read(&t.flatten()))),
                    joined("join"),
                )
                .to_with("out", out());
        }
        "stream-table-join-filtered" => {
            let table = b
                .table_with("table", strings(), kv("table-store"))
                .filter(|_, v| !starts(v, "T1"));
            b.stream_with("stream", strings())
                .join_table(&table, |_, s, t| plus(&s, &t), joined("join"))
                .to_with("out", out());
        }
        "stream-join-aggregate" => {
            let input = b.stream_with("in", strings());
            let counts = input
                .clone()
                .group_by_key(grouped("by-key"))
                .count("counts");
            input
                .left_join_table(
                    &counts,
                    |_, v, n| {
                        let n = n.map_or("null".to_owned(), |n| n.to_string());
                        Some(format!("{}#{n}", read(&v)))
                    },
                    Joined::with("join", TEXT, TEXT),
                )
                .to_with("out", out());
        }
        "enrich-and-count" => {
            let regions = b.table_with("regions", strings(), kv("regions-table"));
            b.stream_with("orders", strings())
                .select_key(|_, v| before(v))
                .left_join_table(
                    &regions,
                    |_, _, region| region.flatten().or(Some("?".to_owned())),
                    joined("enrich"),
                )
                .group_by(grouped("by-region"), |_, region| region.clone())
                .windowed_by(TimeWindows::of(ms(20)).grace(ms(10)))
                .count("counts")
                .suppress(Suppressed::until_window_closes_with(
                    "final",
                    marea::codec::I64,
                ))
                .to_stream()
                .to_with("out", out_windowed_longs(20));
        }
        _ => return false,
    }
    true
}
