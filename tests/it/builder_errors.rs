//! An invalid topology is an error when it is built, with a name and a remedy.

use std::time::Duration;

use marea::codec::{I64, Utf8};
use marea::dsl::{
    Consumed, Grouped, JoinWindows, Joined, Materialized, Produced, Repartitioned, Stream,
    StreamBuilder, StreamJoined, Suppressed, TimeWindows,
};

fn input(builder: &StreamBuilder) -> Stream<String, String> {
    builder.stream_with("in", Consumed::with(Utf8, Utf8))
}

fn grouped(name: &str) -> Grouped<String, String> {
    Grouped::with(name, Utf8, Utf8)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Builds what `write` describes and expects an error that contains all of `parts`.
fn refuses(parts: &[&str], write: impl FnOnce(&StreamBuilder)) {
    let builder = StreamBuilder::new();
    write(&builder);
    let error = builder.build().expect_err("a wrong topology");
    assert_eq!(error.kind(), marea::ErrorKind::Invalid);
    let said = error.to_string();
    for part in parts {
        assert!(said.contains(part), "{part:?} in {said:?}");
    }
}

#[test]
fn nothing_is_read() {
    refuses(&["reads nothing", "StreamBuilder::stream"], |_| {});
}

#[test]
fn a_topic_is_read_twice() {
    refuses(&["topic in", "two sources", "clone"], |b| {
        input(b).to_with("a", Produced::with(Utf8, Utf8));
        input(b).to_with("b", Produced::with(Utf8, Utf8));
    });
}

#[test]
fn two_stores_have_one_name() {
    refuses(
        &["two stores", "\"counts\"", "a store name of its own"],
        |b| {
            let records = input(b);
            let _one = records.clone().group_by_key(grouped("one")).count("counts");
            let _two = records.group_by_key(grouped("two")).count("counts");
        },
    );
}

#[test]
fn a_stores_changelog_would_be_that_of_a_task() {
    let parts = [
        "store \"counts-task\"",
        "sub-topology \"counts\"",
        "<application>-counts-task-changelog",
        "does not end in",
    ];
    refuses(&parts, |b| {
        let records = input(b);
        let _one = records.clone().group_by_key(grouped("one")).count("counts");
        let _two = records.group_by_key(grouped("two")).count("counts-task");
    });
    // Alone it is the sub-topology's name, and nothing clashes.
    let builder = StreamBuilder::new();
    let _one = input(&builder)
        .group_by_key(grouped("one"))
        .count("counts-task");
    builder.build().expect("two topics");
}

#[test]
fn two_repartitions_have_one_name() {
    refuses(&["two repartitions", "\"by\"", "its own name"], |b| {
        let records = input(b);
        let by = || Repartitioned::with("by", Utf8, Utf8);
        records
            .clone()
            .repartition(by())
            .to_with("a", Produced::with(Utf8, Utf8));
        records
            .repartition(by())
            .to_with("b", Produced::with(Utf8, Utf8));
    });
}

#[test]
fn two_operators_have_one_name() {
    refuses(&["two operators", "\"same\""], |b| {
        let records = input(b).filter(|_, _| true).named("same");
        records
            .filter(|_, _| true)
            .named("same")
            .to_with("a", Produced::with(Utf8, Utf8));
    });
}

#[test]
fn a_name_is_no_topic_name() {
    refuses(&["topic \"\"", "not a legal"], |b| {
        input(b).to("");
    });
    refuses(&["topic \"a/b\"", "not a legal", "249"], |b| {
        b.stream::<String, String>("a/b").to("out");
    });
    refuses(&["\"a b\"", "not a legal"], |b| {
        let _counts = input(b).group_by_key(grouped("by")).count("a b");
    });
}

#[test]
fn a_join_looks_into_a_table_without_a_store() {
    refuses(&["\"join\"", "with a store", "StreamBuilder::table"], |b| {
        let table = b.table_without_store("table", Consumed::with(Utf8, Utf8));
        input(b)
            .join_table(
                &table,
                |_, v, row| v + &row,
                Joined::with("join", Utf8, Utf8),
            )
            .to_with("out", Produced::with(Utf8, Utf8));
    });
}

#[test]
fn a_store_forgets_windows_before_they_close() {
    refuses(&["counts", "retains 12 ms", "15 ms"], |b| {
        let windows = TimeWindows::of(ms(10)).grace(ms(5));
        let _counts = input(b)
            .group_by_key(grouped("by"))
            .windowed_by(windows)
            .count(Materialized::with("counts", I64).retention(ms(12)));
    });
}

#[test]
fn windows_advance_by_more_than_their_size() {
    refuses(
        &["counts", "10 ms", "11 ms", "between 1 ms and the size"],
        |b| {
            let windows = TimeWindows::of(ms(10)).advance_by(ms(11));
            let _counts = input(b)
                .group_by_key(grouped("by"))
                .windowed_by(windows)
                .count("counts");
        },
    );
}

#[test]
fn windows_have_no_size() {
    refuses(&["0 ms", "at least 1 ms"], |b| {
        let windows = TimeWindows::of(ms(0));
        let _counts = input(b)
            .group_by_key(grouped("by"))
            .windowed_by(windows)
            .count("counts");
    });
}

#[test]
fn a_join_window_is_empty() {
    refuses(&["join", "`before` plus `after`"], |b| {
        let windows = JoinWindows::of(ms(5)).at_least_after(ms(6));
        let right = b.stream_with("right", Consumed::with(Utf8, Utf8));
        let joined = StreamJoined::with("join", Utf8, Utf8, Utf8);
        input(b)
            .join(right, |_, l, r| format!("{l}{r}"), windows, joined)
            .to_with("out", Produced::with(Utf8, Utf8));
    });
}

#[test]
fn suppressed_rows_need_windows_that_close() {
    refuses(&["two stores", "\"final-store\""], |b| {
        let windows = TimeWindows::of(ms(10));
        let counts = input(b)
            .group_by_key(grouped("by"))
            .windowed_by(windows)
            .count("counts");
        let suppressed = || Suppressed::until_window_closes_with("final", I64);
        let _twice = counts.suppress(suppressed()).suppress(suppressed());
    });
}

#[test]
fn a_repartition_has_no_partitions() {
    refuses(&["at least one partition"], |b| {
        let by = Repartitioned::with("by", Utf8, Utf8).partitions(0);
        input(b)
            .repartition(by)
            .to_with("out", Produced::with(Utf8, Utf8));
    });
}

#[test]
fn a_table_without_a_store_is_grouped() {
    refuses(
        &["\"by\"", "without a store", "StreamBuilder::table"],
        |b| {
            let _counts = b
                .table_without_store("in", Consumed::with(Utf8, Utf8))
                .group_by(grouped("by"), |key, row| (row.clone(), key.clone()))
                .count("counts");
        },
    );
}

#[test]
fn a_table_without_a_store_is_joined_with_a_table() {
    refuses(&["table_left_join", "with a store", "materialized"], |b| {
        let rows = Materialized::with("rows", Utf8);
        let left = b.table_with("left", Consumed::with(Utf8, Utf8), rows);
        let right = b.table_without_store("right", Consumed::with(Utf8, Utf8));
        let _joined = left.left_join_without_store(right, |_, left, _| left.clone());
    });
}

#[test]
fn a_table_without_a_store_is_joined_by_a_foreign_key() {
    refuses(&["\"by\"", "with a store", "materialized"], |b| {
        let orders = b.table_without_store("orders", Consumed::<String, String>::own());
        let customers = b.table::<String, String>("customers", "customers-rows");
        let key = |_: &String, order: &String| order.clone();
        let _joined = orders.join_foreign(customers, key, |_, _, name| name.clone(), "by");
    });
}

#[test]
fn two_joins_by_a_foreign_key_have_one_name() {
    refuses(&["\"by-", "two"], |b| {
        let orders = b.table::<String, String>("orders", "orders-rows");
        let customers = b.table::<String, String>("customers", "customers-rows");
        let key = |_: &String, order: &String| order.clone();
        for orders in [orders.clone(), orders] {
            let customers = customers.clone();
            let _joined = orders.join_foreign(customers, key, |_, _, name| name.clone(), "by");
        }
    });
}
