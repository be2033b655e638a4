//! Optimizations: the results stay the same, with fewer topics and stores.

use std::time::Duration;

use marea::base::Record;
use marea::codec::{I64, Nullable, Utf8};
use marea::dsl::{
    Consumed, Grouped, JoinWindows, Joined, Materialized, Optimizations, Produced, Repartitioned,
    Stream, StreamBuilder, StreamJoined,
};
use marea::task::DropReason;
use marea::testing::Driver;
use marea::topology::Topology;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn input(builder: &StreamBuilder) -> Stream<String, String> {
    builder.stream_with("in", Consumed::with(Utf8, Utf8))
}

fn grouped(name: &str) -> Grouped<String, String> {
    Grouped::with(name, Utf8, Utf8)
}

fn produced() -> Produced<String, String> {
    Produced::with(Utf8, Utf8)
}

fn pair(_key: &String, one: &String, other: &String) -> String {
    format!("{one}+{other}")
}

fn pairs() -> StreamJoined<String, String, String> {
    StreamJoined::with("pair", Utf8, Utf8, Utf8)
}

fn self_joins() -> Optimizations {
    Optimizations::none().single_store_self_joins()
}

fn merges() -> Optimizations {
    Optimizations::none().merge_repartitions()
}

fn built(optimizations: Optimizations, write: impl FnOnce(&StreamBuilder)) -> Topology {
    let builder = StreamBuilder::new();
    write(&builder);
    builder.build_with(optimizations).expect("a topology")
}

fn stores(topology: &Topology) -> Vec<&str> {
    let stores = topology.stores().iter();
    stores.map(|store| store.name.as_str()).collect()
}

fn repartitions(topology: &Topology) -> Vec<String> {
    let topics = topology.repartitions().iter();
    topics.map(|(topic, _)| topic.resolve("app")).collect()
}

/// Records of two keys, close to each other in time and out of order by up to 7 ms.
fn script() -> Vec<Record<String, String>> {
    let record = |number: i64| {
        let key = ["a", "b"][(number * number % 5 % 2) as usize];
        let timestamp_ms = number * 3 + 7 - number * 5 % 8;
        Record::new(key.to_owned(), format!("v{number}"), timestamp_ms)
    };
    (0..60).map(record).collect()
}

/// Runs the script and returns the records of `topic`, in order; rebuilt state must be equal.
fn run(topology: Topology, topic: &str) -> Vec<(String, Option<String>, i64)> {
    let mut driver = Driver::new(topology).expect("a driver");
    let input = driver.input_topic_with("in", Utf8, Utf8);
    for record in script() {
        input.pipe(&mut driver, record).expect("a record");
    }
    assert!(
        driver.rebuild_and_compare().expect("rebuilt"),
        "the same state"
    );
    let output = driver.output_topic_with(topic, Utf8, Nullable(Utf8));
    let records = output.read(&mut driver).expect("results").into_iter();
    records
        .map(|record| (record.key, record.value, record.timestamp_ms))
        .collect()
}

/// A join of a stream with itself.
fn self_join(stream: Stream<String, String>, windows: JoinWindows) -> Stream<String, String> {
    stream.clone().join(stream, pair, windows, pairs())
}

#[test]
fn a_self_join_in_one_store_gives_what_two_stores_give() {
    let near = || JoinWindows::of(ms(10)).grace(ms(20));
    let uneven = || {
        JoinWindows::of(ms(0))
            .before(ms(4))
            .after(ms(9))
            .grace(ms(20))
    };
    let later = || JoinWindows::of(ms(12)).grace(ms(20)).at_least_after(ms(3));
    for windows in [near(), uneven(), later()] {
        let write = |b: &StreamBuilder| self_join(input(b), windows).to_with("out", produced());
        let two = built(Optimizations::none(), write);
        assert_eq!(
            stores(&two),
            ["pair-this-join-store", "pair-other-join-store"]
        );
        let one = built(self_joins(), write);
        assert_eq!(stores(&one), ["pair-this-join-store"]);
        let asked = built(Optimizations::none(), |b| {
            let joined = input(b).join_self(pair, windows, grouped("pair"));
            joined.to_with("out", produced());
        });
        let expected = run(two, "out");
        assert!(expected.len() > 60, "many pairs");
        assert_eq!(run(one, "out"), expected, "{windows:?}");
        assert_eq!(run(asked, "out"), expected, "{windows:?}, asked for");
    }
}

#[test]
fn what_is_behind_a_self_join_stays_there() {
    let topology = built(self_joins(), |b| {
        let pairs = self_join(input(b), JoinWindows::of(ms(10))).named("near");
        pairs.clone().to_with("out", produced());
        pairs
            .filter(|_, pair| pair.starts_with("v1"))
            .to_with("filtered", produced());
    });
    assert!(topology.describe().contains("join_self(near)"));
    let all = run(topology.clone(), "out");
    let some = run(topology, "filtered");
    assert!(!some.is_empty() && some.len() < all.len());
}

#[test]
fn two_streams_keep_a_store_each() {
    let both = |topology: Topology| stores(&topology).len();
    let filtered = built(self_joins(), |b| {
        let stream = input(b);
        let other = stream.clone().filter(|_, _| true);
        let joined = stream.join(other, pair, JoinWindows::of(ms(10)), pairs());
        joined.to_with("out", produced());
    });
    assert_eq!(both(filtered), 2, "other records, for all that is known");
    let of_another_type = built(self_joins(), |b| {
        let stream = input(b);
        let lengths = stream.clone().map_values(|_, value| value.len() as i64);
        let windows = JoinWindows::of(ms(10));
        let joined = StreamJoined::with("pair", Utf8, Utf8, I64);
        let joined = stream.join(
            lengths,
            |_, one, other| format!("{one}{other}"),
            windows,
            joined,
        );
        joined.to_with("out", produced());
    });
    assert_eq!(both(of_another_type), 2);
    let outer = built(self_joins(), |b| {
        let stream = input(b);
        let one = |_: &String, one: &String, other: Option<&String>| format!("{one}{other:?}");
        let joined = stream
            .clone()
            .left_join(stream, one, JoinWindows::of(ms(10)), pairs());
        joined.to_with("out", produced());
    });
    assert_eq!(both(outer), 3, "an inner join alone needs one");
}

/// By the last digit of the value.
fn by_digit(builder: &StreamBuilder) -> Stream<String, String> {
    input(builder).select_key(|_, value| value[value.len() - 1..].to_owned())
}

/// Counts, longest values and last values are joined in one table.
fn several(builder: &StreamBuilder) {
    let stream = by_digit(builder);
    let _counts = (stream.clone().group_by_key(grouped("by-digit"))).count("counts");
    let seen = stream
        .clone()
        .to_table_with(grouped("seen-by"), Materialized::with("seen", Utf8));
    stream
        .clone()
        .join_table(
            &seen,
            |_, one, row| format!("{one}/{row}"),
            Joined::with("met", Utf8, Utf8),
        )
        .to_with("met", produced());
    stream
        .group_by_key(grouped("joined-by"))
        .reduce(
            |value, row: String| format!("{row}{value}"),
            Materialized::with("rows", Utf8),
        )
        .to_stream()
        .to_with("out", Produced::with(Utf8, Nullable(Utf8)));
}

#[test]
fn what_one_operator_rekeys_goes_through_one_topic() {
    let apart = built(Optimizations::none(), several);
    let merged = built(merges(), several);
    let all =
        ["by-digit", "seen-by", "met", "joined-by"].map(|name| format!("app-{name}-repartition"));
    assert_eq!(repartitions(&apart), all);
    assert_eq!(repartitions(&merged), all[..1], "the first one's");
    assert_eq!(stores(&merged), stores(&apart));
    assert_eq!(merged.subtopologies().len(), 2);
    let expected = run(apart, "out");
    assert_eq!(expected.len(), 60);
    assert_eq!(run(merged.clone(), "out"), expected);
    // The table has the row of its record before the join looks it up, as in the program.
    let met = run(merged, "met");
    assert_eq!(met.len(), 60);
    assert!(met.iter().all(|(_, met, _)| {
        let met = met.as_deref().and_then(|met| met.split_once('/'));
        met.is_some_and(|(one, row)| one == row)
    }));
}

#[test]
fn other_records_and_topics_that_are_asked_for_stay_apart() {
    let topology = built(merges(), |b| {
        let stream = by_digit(b);
        let _one = (stream.clone().group_by_key(grouped("one"))).count("one");
        let _two = (stream.clone().group_by_key(grouped("two"))).count("two");
        let some = stream.clone().filter(|_, value| value.len() > 2);
        let _some = some.group_by_key(grouped("some")).count("some");
        let asked = Repartitioned::with("asked", Utf8, Utf8).partitions(3);
        let _asked = (stream.repartition(asked).group_by_key(grouped("three"))).count("three");
    });
    let expected = ["one", "some", "asked"].map(|name| format!("app-{name}-repartition"));
    assert_eq!(repartitions(&topology), expected);
}

#[test]
fn both_sides_of_a_self_join_are_merged_first() {
    let write = |b: &StreamBuilder| {
        let windows = JoinWindows::of(ms(10)).grace(ms(20));
        self_join(by_digit(b), windows).to_with("out", produced());
    };
    let both = built(merges().single_store_self_joins(), write);
    assert_eq!(repartitions(&both), ["app-pair-left-repartition"]);
    assert_eq!(stores(&both), ["pair-this-join-store"]);
    let unmerged = built(self_joins(), write);
    assert_eq!(stores(&unmerged).len(), 2, "two topics are two inputs");
    let apart = built(Optimizations::none(), write);
    let sorted = |mut records: Vec<_>| {
        records.sort();
        records
    };
    // Through two topics, all records of one side may come before those of the other.
    assert_eq!(sorted(run(both, "out")), sorted(run(apart, "out")));
}

#[test]
fn a_null_key_goes_through_where_one_of_them_has_a_use_for_it() {
    let write = |b: &StreamBuilder| {
        let keys = || Nullable(Utf8);
        let stream = input(b).select_key(|_, value| (value.len() > 2).then(|| value.clone()));
        let _counts = (stream.clone())
            .group_by_key(Grouped::with("count-by", keys(), Utf8))
            .count("counts");
        let right = (b.stream_with("right", Consumed::with(Utf8, Utf8)))
            .select_key(|key, _| Some(key.clone()));
        let join = |_: &Option<String>, one: &String, other: Option<&String>| match other {
            Some(other) => format!("{one}+{other}"),
            None => format!("{one} alone"),
        };
        let joined = StreamJoined::with("pair", keys(), Utf8, Utf8);
        stream
            .left_join(right, join, JoinWindows::of(ms(0)), joined)
            .to_with("out", Produced::with(keys(), Utf8));
    };
    for (optimizations, reason) in [
        (Optimizations::none(), DropReason::NullRepartitionKey),
        (merges(), DropReason::NullKey),
    ] {
        let mut driver = Driver::new(built(optimizations, write)).expect("a driver");
        let input = driver.input_topic_with("in", Utf8, Utf8);
        let record = Record::new("k".to_owned(), "v1".to_owned(), 5);
        input.pipe(&mut driver, record).expect("a record");
        let output = driver.output_topic_with("out", Nullable(Utf8), Utf8);
        let alone = output.read(&mut driver).expect("results");
        assert_eq!(alone.len(), 1, "{optimizations:?}");
        assert_eq!(alone[0].value, "v1 alone");
        assert_eq!(
            driver.drops().of(reason),
            1,
            "{optimizations:?}: the count has no use for it"
        );
    }
}

#[test]
fn what_would_write_other_bytes_is_refused() {
    #[derive(Clone)]
    struct Reversed;
    impl marea::codec::Codec<String> for Reversed {
        fn encode(
            &self,
            value: &String,
            out: &mut Vec<u8>,
        ) -> marea::Result<marea::codec::Encoded> {
            out.extend(value.bytes().rev());
            Ok(marea::codec::Encoded::Bytes)
        }
        fn decode(&self, bytes: Option<&[u8]>) -> marea::Result<String> {
            let bytes = bytes.unwrap_or_default().iter().rev().copied().collect();
            String::from_utf8(bytes).map_err(|error| marea::Error::user(error.to_string()))
        }
        fn name(&self) -> String {
            "reversed".to_owned()
        }
    }
    let write = |b: &StreamBuilder| {
        let stream = by_digit(b);
        let _one = (stream.clone().group_by_key(grouped("one"))).count("one");
        let _two = (stream.group_by_key(Grouped::with("two", Utf8, Reversed))).count("two");
    };
    built(Optimizations::none(), write);
    let builder = StreamBuilder::new();
    write(&builder);
    let error = builder.build_with(merges()).expect_err("two formats");
    assert_eq!(error.kind(), marea::ErrorKind::Invalid);
    for part in [
        "\"one\"",
        "\"two\"",
        "values as reversed",
        "put `repartition` before the second",
    ] {
        assert!(error.message().contains(part), "{part} in {error}");
    }
}

#[test]
fn joins_with_tables_of_several_sizes_need_a_topic_each() {
    let write = |b: &StreamBuilder| {
        let stream = by_digit(b);
        for name in ["small", "large"] {
            let table = Materialized::with(name, Utf8);
            let table = b.table_with(name, Consumed::with(Utf8, Utf8), table);
            let joined = Joined::with(format!("by-{name}"), Utf8, Utf8);
            let stream = stream.clone();
            let joined = stream.join_table(&table, |_, one, row| format!("{one}{row}"), joined);
            joined.to_with(format!("{name}-out"), produced());
        }
    };
    let partitions = |topology: Topology| {
        topology
            .resolve_partitions(|topic| Ok(Some(if topic.starts_with("large") { 8 } else { 4 })))
    };
    partitions(built(Optimizations::none(), write)).expect("each has the number of its table");
    let error = partitions(built(merges(), write)).expect_err("4 and 8");
    for part in [
        "by-small",
        "large (8 partitions)",
        "put `repartition` with that number before the join",
    ] {
        assert!(error.message().contains(part), "{part} in {error}");
    }
}
