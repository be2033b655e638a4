//! An application continues with its repartitions merged, and separated again, once it has read what they hold;
//! not before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use marea::ErrorKind;
use marea::base::TopicPartition;
use marea::codec::{Codec, I64, Utf8};
use marea::dsl::{
    Consumed, Grouped, JoinWindows, Materialized, Optimizations, Produced, StreamBuilder,
    StreamJoined, Table,
};
use marea::log::{BatchBuilder, Commit, Log, TopicSpec};
use marea::runtime::{Application, ApplicationBuilder, Settings, StateBackend};

use crate::counting::{DEADLINE, put, wait};
use crate::pipeline::memory_log;
use crate::renaming::{ends, rows};

const ID: &str = "merging";
/// The source of the second store, whose name is the smaller one, when the repartitions are separate.
const SECOND: &str = "merging-sum-by-repartition";
const PARTITIONS: u32 = 2;

/// Counts and sums by the value's remainder.
fn builder(log: &Arc<dyn Log>, optimizations: Optimizations) -> ApplicationBuilder {
    let builder = StreamBuilder::new();
    let input = builder.stream_with("in", Consumed::with(Utf8, I64));
    let by = input.select_key(|_, value| (value % 3).to_string());
    let grouped = |name| Grouped::with(name, Utf8, I64);
    let write = |table: Table<String, i64>, topic: &str| {
        let rows = table.to_stream().present();
        rows.to_with(topic, Produced::with(Utf8, I64));
    };
    let counts = by.clone().group_by_key(grouped("count-by")).count("rows");
    write(counts, "counts");
    let sums = Materialized::with("all", I64);
    let sums = by
        .group_by_key(grouped("sum-by"))
        .reduce(|value, sum: i64| value + sum, sums);
    write(sums, "sums");
    let topology = builder.build_with(optimizations).expect("a topology");
    Application::builder(topology, ID)
        .log(log.clone())
        .settings(Settings {
            commit_interval_ms: 5,
            state_backend: StateBackend::Memory,
            ..Settings::default()
        })
}

fn new_log() -> Arc<dyn Log> {
    let log = memory_log();
    let topics = [
        TopicSpec::new("in", PARTITIONS),
        TopicSpec::new("counts", 1),
        TopicSpec::new("sums", 1),
    ];
    log.create_topics(&topics).expect("topics");
    log
}

fn is_read(log: &dyn Log, topic: &str) -> bool {
    if log.topic(topic).expect("asked").is_none() {
        return true;
    }
    let (places, ends): (Vec<_>, Vec<_>) = ends(log, topic).into_iter().unzip();
    let committed = log.committed(ID, &places).expect("asked");
    let mut both = committed.iter().zip(ends);
    both.all(|(known, end)| known.as_ref().map_or(0, |known| known.offset) == end)
}

/// Feeds the values 0 to 29 in both partitions and runs until all topics are read.
fn live(log: &Arc<dyn Log>, optimizations: Optimizations) {
    let first = (0..30).map(|value| ("k", value, value));
    let fed: Vec<_> = first.collect();
    for partition in 0..PARTITIONS {
        put(&**log, partition, &fed);
    }
    let mut running = builder(log, optimizations).start().expect("started");
    wait("the input", || is_read(&**log, "in"));
    for topic in ["merging-count-by-repartition", SECOND] {
        wait(topic, || is_read(&**log, topic));
    }
    running.leave(DEADLINE).expect("left");
}

fn last(log: &dyn Log, topic: &str) -> BTreeMap<String, i64> {
    let value = |row: Option<Vec<u8>>| I64.decode(row.as_deref()).expect("a number");
    let rows = rows(log, topic).into_iter();
    rows.map(|((_, key), (row, _))| (key, value(row))).collect()
}

fn merges() -> Optimizations {
    Optimizations::none().merge_repartitions()
}

#[test]
fn an_application_goes_on_with_its_repartitions_merged_and_apart_again() {
    let log = new_log();
    for (life, optimizations) in [Optimizations::none(), merges(), Optimizations::none()]
        .into_iter()
        .enumerate()
    {
        let written = |topic| ends(&*log, topic).iter().map(|(_, end)| end).sum::<i64>();
        let before = (life > 0).then(|| written(SECOND));
        live(&log, optimizations);
        if optimizations == merges() {
            assert_eq!(Some(written(SECOND)), before, "one topic is enough");
        }
        let lives = life as i64 + 1;
        let expected = |of: fn(i64) -> i64| -> BTreeMap<String, i64> {
            let rests = (0..3).map(|rest| {
                let values = (0..30).filter(|value| value % 3 == rest);
                (rest.to_string(), values.map(of).sum::<i64>() * 2 * lives)
            });
            rests.collect()
        };
        assert_eq!(last(&*log, "counts"), expected(|_| 1), "life {life}");
        assert_eq!(last(&*log, "sums"), expected(|value| value), "life {life}");
    }
}

#[test]
fn what_nobody_would_read_is_refused() {
    let log = new_log();
    live(&log, Optimizations::none());
    let mut late = BatchBuilder::default();
    late.push(Some(b"0"), Some(&7_i64.to_be_bytes()), 99, &[]);
    let commit = Commit {
        appends: vec![(
            TopicPartition::new(SECOND, 1),
            late.seal().expect("a record"),
        )],
        group: None,
    };
    let mut writer = log.writer("one more", 1 << 20).expect("a writer");
    writer.submit(commit).expect("submitted");
    assert!(writer.poll(DEADLINE).expect("committed").is_some());
    let error = builder(&log, merges()).start().expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    for part in [
        SECOND,
        "1 unread record",
        "until its lag is 0",
        "delete the topic",
    ] {
        assert!(error.message().contains(part), "{part} in {error}");
    }
    // To continue without it.
    log.delete_topics(&[SECOND.to_owned()]).expect("deleted");
    live(&log, merges());
    assert_eq!(last(&*log, "counts")["0"], 40);
}

/// Writes each pair of values that are close to each other, as a key.
fn pairing(
    log: &Arc<dyn Log>,
    optimizations: Optimizations,
    accepts: &[&str],
) -> ApplicationBuilder {
    let builder = StreamBuilder::new();
    let input = builder.stream_with("in", Consumed::with(Utf8, I64));
    let pairs = input.clone().join(
        input,
        |_, one, other| one * 10 + other,
        JoinWindows::of(Duration::from_millis(10)),
        StreamJoined::with("near", Utf8, I64, I64),
    );
    let by_pair = pairs.map(|_, pair| (pair.to_string(), pair));
    by_pair.to_with("pairs", Produced::with(Utf8, I64));
    let topology = builder.build_with(optimizations).expect("a topology");
    Application::builder(topology, ID)
        .log(log.clone())
        .settings(Settings {
            accept_orphans: accepts.iter().map(ToString::to_string).collect(),
            commit_interval_ms: 5,
            ..Settings::in_memory()
        })
}

#[test]
fn a_self_join_goes_on_in_one_store_once_the_other_is_accepted() {
    let log = memory_log();
    let topics = [TopicSpec::new("in", 1), TopicSpec::new("pairs", 1)];
    log.create_topics(&topics).expect("topics");
    let live = |builder: ApplicationBuilder, value: i64| {
        put(&*log, 0, &[("k", value, value)]);
        let mut running = builder.start().expect("started");
        wait("the input", || is_read(&*log, "in"));
        running.leave(DEADLINE).expect("left");
        let pairs = rows(&*log, "pairs").into_keys();
        pairs.map(|(_, pair)| pair).collect::<BTreeSet<_>>()
    };
    live(pairing(&log, Optimizations::none(), &[]), 1);
    let one_store = Optimizations::none().single_store_self_joins();
    let error = pairing(&log, one_store, &[]).start().expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let cure = "accept_orphans = [\"near-other-join-store\"]";
    assert!(error.message().contains(cure), "{error}");
    let pairs = live(pairing(&log, one_store, &["near-other-join-store"]), 2);
    let all = ["11", "12", "21", "22"].map(str::to_owned);
    assert_eq!(pairs, BTreeSet::from(all));
    // It is asked once.
    assert!(live(pairing(&log, one_store, &[]), 3).contains("13"));
}
