//! A topology in two shapes, one of which has two more stores: they give its sub-topologies other names. Its input
//! in two lives, and the expected results.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use marea::Result;
use marea::base::{Record, TopicPartition};
use marea::codec::{Codec, I64, Utf8};
use marea::dsl::{
    Clock, Consumed, Grouped, Idle, Processor, ProcessorContext, Produced, Repartitioned,
    StreamBuilder, Table,
};
use marea::log::{BatchBuilder, Commit, Isolation, Log, TopicSpec};
use marea::runtime::{Application, ApplicationBuilder, Settings, StateBackend};
use marea::topology::Topology;

use crate::committing::commit;
use crate::counting::{DEADLINE, counts, final_counts, wait};
use crate::pipeline::memory_log;

/// The application, whose id is in the names of its internal topics.
pub const ID: &str = "renamed";

type Context<'a> = ProcessorContext<'a, String, i64>;

/// A record sets a timer of its key by stream time, which is due a second later and fires once.
pub struct Alarms;

impl Processor for Alarms {
    type KeyIn = String;
    type ValueIn = i64;
    type KeyOut = String;
    type ValueOut = i64;

    fn process(&mut self, record: Record<String, i64>, context: &mut Context<'_>) -> Result<()> {
        let timer = format!("{}-{}", record.key, record.value);
        let due_ms = record.timestamp_ms + 1_000;
        context.schedule_from(&timer, due_ms, Duration::from_secs(3_600), Clock::Stream)
    }

    fn punctuate(&mut self, timer: &str, time_ms: i64, context: &mut Context<'_>) -> Result<()> {
        context.cancel(timer)?;
        context.forward(Record::new(timer.to_owned(), time_ms, time_ms))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Its sub-topologies are `in`, which has only timers, and `counts`.
    Before,
    /// The same with one more store in each: they are `added` and `also`.
    After,
}

/// Timers of the input, and final counts in windows behind a repartition.
pub fn topology(shape: Shape) -> Topology {
    let builder = StreamBuilder::new();
    let input = builder.stream_with("in", Consumed::with(Utf8, I64).idle_timeout(Idle::Never));
    let alarms = input.clone().process(|| Alarms, "alarms");
    alarms.to_with("alarms", Produced::with(Utf8, I64));
    let by = input
        .clone()
        .select_key(|_, value| (value % 3).to_string())
        .repartition(Repartitioned::with("by", Utf8, I64));
    if shape == Shape::After {
        let totals = |count: Table<String, i64>| {
            let totals = count.to_stream().present();
            totals.to_with("totals", Produced::with(Utf8, I64));
        };
        totals(
            input
                .group_by_key(Grouped::with("unused", Utf8, I64))
                .count("added"),
        );
        let also = by
            .clone()
            .group_by_key(Grouped::with("also-unused", Utf8, I64));
        totals(also.count("also"));
    }
    final_counts(by.group_by_key(Grouped::with("not-needed", Utf8, I64)));
    builder.build().expect("a topology")
}

pub const PARTITIONS: u32 = 2;

pub fn create_topics(log: &dyn Log) {
    let topics = ["in", "out", "alarms", "totals"].map(|name| {
        let partitions = if name == "in" { PARTITIONS } else { 1 };
        TopicSpec::new(name, partitions)
    });
    log.create_topics(&topics).expect("topics");
}

pub fn builder(log: &Arc<dyn Log>, shape: Shape) -> ApplicationBuilder {
    Application::builder(topology(shape), ID)
        .log(log.clone())
        .settings(Settings {
            commit_interval_ms: 5,
            state_backend: StateBackend::Memory,
            ..Settings::default()
        })
}

pub fn put(log: &dyn Log, partition: u32, rows: impl Iterator<Item = (String, i64, i64)>) {
    let mut builder = BatchBuilder::default();
    for (key, value, timestamp_ms) in rows {
        let (key, value) = (key.as_bytes(), value.to_be_bytes());
        builder.push(Some(key), Some(&value), timestamp_ms, &[]);
    }
    let rows = Commit {
        appends: vec![(
            TopicPartition::new("in", partition),
            builder.seal().expect("records"),
        )],
        group: None,
    };
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    commit(&mut *writer, rows);
}

/// Up to 1,500 ms of event time: the first timers have fired, windows have closed.
pub fn feed_first(log: &dyn Log) {
    for partition in 0..PARTITIONS {
        let rows = (0..60).map(|n| (format!("{partition}"), n, n * 25));
        put(log, partition, rows);
    }
}

/// Records that are late, and would not be if time had started over; then time advances.
pub fn feed_second(log: &dyn Log) {
    for partition in 0..PARTITIONS {
        let late = (0..9).map(|n| (format!("late-{partition}"), 100 + n, 300 + n));
        let rows = (61..160).map(|n| (format!("{partition}"), n, n * 25));
        put(log, partition, late.chain(rows));
    }
}

pub fn ends(log: &dyn Log, topic: &str) -> Vec<(TopicPartition, i64)> {
    let spec = log.topic(topic).expect("asked").expect("there");
    let places = (0..spec.partitions).map(|number| TopicPartition::new(topic, number));
    let end = |place: TopicPartition| {
        let end = log.end_offset(&place, Isolation::ReadCommitted);
        (place, end.expect("an end"))
    };
    places.map(end).collect()
}

/// Waits until all input is processed and committed, and so are its results.
pub fn wait_for_all(log: &dyn Log) {
    let is_read = |topic: &str| {
        let (places, ends): (Vec<_>, Vec<_>) = ends(log, topic).into_iter().unzip();
        let committed = log.committed(ID, &places).expect("asked");
        let mut both = committed.iter().zip(ends);
        both.all(|(committed, end)| committed.as_ref().is_some_and(|known| known.offset == end))
    };
    // Offsets of the input are committed together with its results.
    wait("the input", || is_read("in"));
    wait("what was made of it", || {
        is_read(&format!("{ID}-by-repartition"))
    });
}

/// Runs until the input is processed, and stops without an end of time.
pub fn run_first(log: &Arc<dyn Log>, builder: ApplicationBuilder) {
    create_topics(&**log);
    feed_first(&**log);
    let mut running = builder.start().expect("started");
    wait_for_all(&**log);
    running.leave(DEADLINE).expect("left");
}

pub fn run_second(log: &Arc<dyn Log>, builder: ApplicationBuilder) -> u64 {
    feed_second(&**log);
    let mut running = builder.start().expect("started");
    running.drain(DEADLINE).expect("drained");
    let drops = running.snapshot().drops.kafka_streams_total();
    running.leave(DEADLINE).expect("left");
    drops
}

/// The live keys and values of a topic, and how often each key was written.
pub type Rows = BTreeMap<(u32, String), (Option<Vec<u8>>, u32)>;

pub fn rows(log: &dyn Log, topic: &str) -> Rows {
    let mut rows = Rows::new();
    let mut reader = log.reader(1 << 20).expect("a reader");
    for (place, end) in ends(log, topic) {
        reader.assign(&[(place.clone(), 0)]).expect("assigned");
        while reader.position(&place) < Some(end) {
            for fetched in reader.poll(1 << 20, DEADLINE).expect("records") {
                let mut cursor = fetched.batch.cursor(fetched.base_offset);
                while let Some(raw) = cursor.next_record().expect("intact") {
                    let key = String::from_utf8_lossy(raw.key.expect("a key")).into_owned();
                    let row = rows.entry((place.partition, key)).or_default();
                    *row = (raw.value.map(<[u8]>::to_vec), row.1 + 1);
                }
            }
        }
    }
    rows
}

/// The names of the times in a task changelog.
pub fn times(log: &dyn Log, part: &str) -> BTreeSet<String> {
    let rows = rows(log, &format!("{ID}-{part}-task-changelog"));
    let live = rows.into_iter().filter(|(_, (value, _))| value.is_some());
    live.map(|((_, name), _)| name).collect()
}

/// All results: final counts, each once, and fired timers, each once, with the time when they fired.
pub type Results = (BTreeMap<(String, i64), i64>, Vec<(String, i64)>);

pub fn results(log: &dyn Log) -> Results {
    let fired = rows(log, "alarms").into_iter();
    let fired = fired.map(|((_, timer), (time, times))| {
        assert_eq!(times, 1, "timer {timer} has fired once");
        let time = I64.decode(time.as_deref()).expect("a time");
        (timer, time)
    });
    (counts(log), fired.collect())
}

/// The results if nothing is renamed, and how much was dropped in the second life.
pub fn undisturbed() -> (Results, u64) {
    let log = memory_log();
    run_first(&log, builder(&log, Shape::Before));
    let (first, _) = counts_and_timers(&*log);
    let drops = run_second(&log, builder(&log, Shape::Before));
    let (all, fired) = counts_and_timers(&*log);
    assert!(first > 0 && all > first, "windows close in both lives");
    assert_eq!(fired, 2 * 128, "all timers that are due fire");
    assert_eq!(drops, 18, "what came late");
    (results(&*log), drops)
}

pub fn counts_and_timers(log: &dyn Log) -> (usize, usize) {
    let (counts, fired) = results(log);
    (counts.len(), fired.len())
}
