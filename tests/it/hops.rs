//! Time across two repartition topics, one behind the other: the task in the middle receives records of several
//! origins in an order that depends on their speeds ([ADR 0010](../../docs/adr/0010-time-as-a-promise.md)).

use std::sync::Arc;
use std::time::Duration;

use marea::base::{TaskId, TopicPartition};
use marea::codec::{Codec, I64, Nullable, Utf8, WindowedCodec};
use marea::dsl::{
    Consumed, Grouped, Produced, Repartitioned, StreamBuilder, Suppressed, TimeWindows,
};
use marea::log::{BatchBuilder, Fetched};
use marea::state::{Identity, MemoryBackend, TaskState};
use marea::task::{CLOCK_HEADER, DropReason, ErrorPolicies, StepLimits, Task};
use marea::topology::{TopicLimits, Topology};

const FIRST: &str = "app-first-repartition";
const SECOND: &str = "app-second-repartition";

/// Two repartitions; counts in windows of 10 ms behind the second, final ones or all.
fn topology(suppressed: bool) -> Topology {
    let builder = StreamBuilder::new();
    let counts = builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .select_key(|key, _| key.clone())
        .repartition(Repartitioned::with("first", Utf8, I64))
        .select_key(|key, _| key.clone())
        .group_by_key(Grouped::with("second", Utf8, I64))
        .windowed_by(TimeWindows::of(Duration::from_millis(10)))
        .count("counts");
    let counts = match suppressed {
        true => counts.suppress(Suppressed::until_window_closes_with("final", I64)),
        false => counts,
    };
    let produced = Produced::with(WindowedCodec::new(Utf8, 10), Nullable(I64));
    counts.to_stream().to_with("out", produced);
    builder.build().expect("a topology")
}

/// A task of the topology, fed by hand.
struct Hop {
    task: Task,
    reads: &'static str,
    offset: i64,
}

impl Hop {
    /// The task that reads a repartition topic, for partition 0, with `input_partitions` of the input and two of
    /// everything downstream.
    fn new(reads: &'static str, suppressed: bool, input_partitions: u32) -> Self {
        let topology = topology(suppressed);
        let partitions = topology
            .resolve_partitions(|topic| Ok(Some(if topic == "in" { input_partitions } else { 1 })))
            .expect("partitions");
        let spec = topology.subtopologies().iter().find_map(|part| {
            let limits = TopicLimits::default();
            let spec = topology.task_spec("app", part, 0, &partitions, &limits, None);
            (&*spec.inputs[0].topic == reads).then_some(spec)
        });
        let spec = spec.expect("a reader");
        let id = TaskId::new("hop", 0);
        let identity = Identity {
            application: "app".to_owned(),
            log_incarnation: 1,
        };
        let backend = Box::new(MemoryBackend::new());
        let state = TaskState::open(&id, &spec.stores, backend, &identity).expect("state");
        let task = Task::new(id, Arc::new(spec), state, ErrorPolicies::default());
        Self {
            task: task.expect("a task"),
            reads,
            offset: 0,
        }
    }

    fn take(&mut self, batch: marea::log::Batch) {
        let place = TopicPartition::new(self.reads, 0);
        let fetched = Fetched {
            partition: place.clone(),
            base_offset: self.offset,
            position: self.offset,
            batch,
        };
        self.offset += i64::from(fetched.batch.record_count());
        self.task.inputs.add(&fetched).expect("a batch");
        let end = self.offset;
        self.task.inputs.set_end(&place, end, end).expect("an end");
        self.task
            .process(StepLimits::records(usize::MAX), 0)
            .expect("handled");
    }

    /// A record of an origin whose records are in order.
    fn row(&mut self, origin: u32, key: &str, timestamp_ms: i64) {
        let mut batch = BatchBuilder::default();
        let mark = mark(0, origin, timestamp_ms);
        let value = 1i64.to_be_bytes();
        let mark = (CLOCK_HEADER, mark.as_slice());
        batch.push_marked(Some(key.as_bytes()), Some(&value), timestamp_ms, &[], mark);
        self.take(batch.seal().expect("a record"));
    }

    /// A record that only carries a clock.
    fn clock(&mut self, origin: u32, clock_ms: i64) {
        let mut batch = BatchBuilder::default();
        let mark = mark(1, origin, clock_ms);
        batch.push_marked(None, None, 0, &[], (CLOCK_HEADER, mark.as_slice()));
        self.take(batch.seal().expect("a clock"));
    }

    /// Moves what the task wrote to partition 0 of the next topic to its reader.
    fn pass_on(&mut self, next: &mut Hop) {
        self.task.before_commit().expect("complete");
        for (place, batch) in self.task.effects().take() {
            if place.partition == 0 {
                assert_eq!(&*place.topic, next.reads);
                next.take(batch);
            }
        }
    }

    /// The results so far, as (start of the window, count).
    fn results(&mut self) -> Vec<(i64, i64)> {
        let mut results = Vec::new();
        for (_, batch) in self.task.effects().take() {
            let mut cursor = batch.cursor(0);
            while let Some(raw) = cursor.next_record().expect("intact") {
                let window = WindowedCodec::new(Utf8, 10).decode(raw.key);
                let count = I64.decode(raw.value).expect("a count");
                results.push((window.expect("a window").start_ms, count));
            }
        }
        results
    }

    fn late(&self) -> u64 {
        self.task.drops().of(DropReason::Late)
    }
}

fn mark(kind: u8, origin: u32, clock_ms: i64) -> Vec<u8> {
    let mut mark = vec![kind];
    mark.extend(origin.to_be_bytes());
    mark.extend(clock_ms.to_be_bytes());
    mark
}

/// A key of partition 0 of two.
fn key() -> &'static str {
    let keys = ["a", "b", "c", "d", "e"].into_iter();
    let mut at_0 = keys.filter(|key| marea::base::partition_for_key(key.as_bytes(), 2) == 0);
    at_0.next().expect("a key")
}

#[test]
fn a_record_in_order_is_not_late_behind_two_hops() {
    let (mut middle, mut last) = (Hop::new(FIRST, false, 2), Hop::new(SECOND, false, 2));
    middle.row(0, key(), 100_000);
    middle.row(1, key(), 10_000);
    middle.row(1, key(), 10_001);
    middle.pass_on(&mut last);
    assert_eq!(last.late(), 0, "each came in the order of its own origin");
    assert_eq!(last.results(), [(100_000, 1), (10_000, 1), (10_000, 2)]);
}

#[test]
fn lateness_behind_two_hops_does_not_depend_on_the_pace_of_others() {
    for other_ms in [5, 100_000] {
        let (mut middle, mut last) = (Hop::new(FIRST, false, 2), Hop::new(SECOND, false, 2));
        middle.row(0, key(), other_ms);
        middle.row(1, key(), 10_000);
        // Out of order for its own origin, whose clock stays.
        let mut batch = BatchBuilder::default();
        let mark = mark(0, 1, 10_000);
        let value = 1i64.to_be_bytes();
        let mark = (CLOCK_HEADER, mark.as_slice());
        batch.push_marked(Some(key().as_bytes()), Some(&value), 9_000, &[], mark);
        middle.take(batch.seal().expect("a record"));
        middle.pass_on(&mut last);
        assert_eq!(last.late(), 1, "the other origin stands at {other_ms}");
    }
}

#[test]
fn windows_behind_two_hops_close_by_the_least_clock_of_all() {
    let (mut middle, mut last) = (Hop::new(FIRST, true, 2), Hop::new(SECOND, true, 2));
    last.clock(1, 1_000);
    middle.row(0, key(), 5);
    middle.row(0, key(), 100);
    middle.row(1, key(), 7);
    middle.pass_on(&mut last);
    assert_eq!(
        last.results(),
        [],
        "origin 1 of the first topic stands at 7"
    );
    middle.row(1, key(), 30);
    middle.pass_on(&mut last);
    assert_eq!(last.results(), [(0, 2)]);
    middle.clock(1, 60);
    middle.pass_on(&mut last);
    assert_eq!(last.results(), [(30, 1)]);
    assert_eq!(last.late(), 0);
}
