//! Time across a repartition topic with two upstream tasks ([ADR 0010](../../docs/adr/0010-time-as-a-promise.md)).
//! The records are written by hand, as the upstream tasks would write them.

use std::sync::Arc;
use std::time::Duration;

use marea::base::{Record, TaskId, TopicPartition};
use marea::codec::{Codec, I64, Nullable, Utf8, WindowedCodec};
use marea::dsl::{
    Consumed, Grouped, JoinWindows, Produced, Repartitioned, StreamBuilder, StreamJoined,
    Suppressed, TimeWindows,
};
use marea::log::{BatchBuilder, Fetched};
use marea::state::{Identity, MemoryBackend, TaskState};
use marea::task::{CLOCK_HEADER, DropReason, ErrorPolicies, StepLimits, Task};
use marea::topology::TopicLimits;

const REPARTITION: &str = "app-by-key-repartition";

/// A clock, or a record with its origin's clock.
#[derive(Clone, Copy)]
enum Sent {
    Record(u32, &'static str, i64, i64),
    Clock(u32, i64),
}
use Sent::{Clock, Record as Row};

struct Reader {
    task: Task,
    offset: i64,
}

impl Reader {
    /// The task behind the repartition topic, for partition 0 of two.
    fn new(suppressed: bool) -> Self {
        let builder = StreamBuilder::new();
        let counts = builder
            .stream_with("in", Consumed::with(Utf8, I64))
            .group_by(Grouped::with("by-key", Utf8, I64), |key, _| key.clone())
            .windowed_by(TimeWindows::of(Duration::from_millis(10)))
            .count("counts");
        let counts = match suppressed {
            true => counts.suppress(Suppressed::until_window_closes_with("final", I64)),
            false => counts,
        };
        let produced = Produced::with(WindowedCodec::new(Utf8, 10), Nullable(I64));
        counts.to_stream().to_with("out", produced);
        Self::of(builder, "counts")
    }

    /// The task of partition 0 of two that has a store whose name begins like this.
    fn of(builder: StreamBuilder, store: &str) -> Self {
        let topology = builder.build().expect("a topology");
        let partitions =
            topology.resolve_partitions(|topic| Ok(Some(if topic == "out" { 1 } else { 2 })));
        let partitions = partitions.expect("two partitions");
        let parts = topology.subtopologies();
        let part = parts
            .iter()
            .find(|part| part.stores.iter().any(|name| name.starts_with(store)));
        let part = part.expect("the sub-topology");
        let limits = TopicLimits::default();
        let spec = topology.task_spec("app", part, 0, &partitions, &limits, None);
        let origins = |input: &marea::task::InputSpec| input.origins;
        assert_eq!(spec.inputs.iter().find_map(origins), Some(2));
        let id = TaskId::new("counts", 0);
        let identity = Identity {
            application: "app".to_owned(),
            log_incarnation: 1,
        };
        let backend = Box::new(MemoryBackend::new());
        let state = TaskState::open(&id, &spec.stores, backend, &identity).expect("state");
        let task = Task::new(id, Arc::new(spec), state, ErrorPolicies::default());
        let task = task.expect("a task");
        Self { task, offset: 0 }
    }

    fn send(&mut self, sent: Sent) -> marea::Result<()> {
        self.send_on(REPARTITION, sent)
    }

    fn send_on(&mut self, topic: &str, sent: Sent) -> marea::Result<()> {
        let (alone, origin, clock_ms) = match sent {
            Row(origin, _, _, clock_ms) => (0, origin, clock_ms),
            Clock(origin, clock_ms) => (1, origin, clock_ms),
        };
        let mut mark = vec![alone];
        mark.extend(origin.to_be_bytes());
        mark.extend(clock_ms.to_be_bytes());
        let mark = (CLOCK_HEADER, mark.as_slice());
        let mut batch = BatchBuilder::default();
        match sent {
            Row(_, key, timestamp_ms, _) => {
                let value = 1i64.to_be_bytes();
                batch.push_marked(Some(key.as_bytes()), Some(&value), timestamp_ms, &[], mark);
            }
            Clock(..) => batch.push_marked(None, None, 0, &[], mark),
        }
        self.take(topic, batch)
    }

    fn take(&mut self, topic: &str, mut batch: BatchBuilder) -> marea::Result<()> {
        let place = TopicPartition::new(topic, 0);
        self.task.inputs.add(&Fetched {
            partition: place.clone(),
            base_offset: self.offset,
            position: self.offset,
            batch: batch.seal().expect("a record"),
        })?;
        self.offset += 1;
        self.task.inputs.set_end(&place, self.offset, self.offset)?;
        self.task
            .process(StepLimits::records(usize::MAX), 0)
            .map(|_| ())
    }

    /// Commits the state, which removes its dead rows.
    fn commit(&mut self) {
        let state = &mut self.task.state;
        state.seal().expect("a generation");
        let mut ends = Vec::new();
        for store in 0..=state.specs().len() {
            let mut rows = BatchBuilder::default();
            state.changelog(store, &mut rows).expect("rows");
            let batch = rows.seal();
            ends.push(batch.map(|batch| i64::from(batch.record_count())));
        }
        state.applied(&ends).expect("applied");
    }

    /// The results so far, as (key, start of the window, count).
    fn results(&mut self) -> Vec<(String, i64, i64)> {
        let mut results = Vec::new();
        for (_, batch) in self.task.effects().take() {
            let mut cursor = batch.cursor(0);
            while let Some(raw) = cursor.next_record().expect("intact") {
                let window = WindowedCodec::new(Utf8, 10)
                    .decode(raw.key)
                    .expect("a window");
                let count = I64.decode(raw.value).expect("a count");
                let record = Record::new(window, count, raw.timestamp_ms);
                results.push((record.key.key, record.key.start_ms, record.value));
            }
        }
        results
    }
}

fn result(key: &str, start_ms: i64, count: i64) -> (String, i64, i64) {
    (key.to_owned(), start_ms, count)
}

#[test]
fn a_record_is_late_by_the_clock_of_its_own_origin() {
    let mut reader = Reader::new(false);
    for sent in [
        Row(0, "a", 100, 100),
        Row(1, "a", 5, 5),
        Row(0, "a", 5, 100),
    ] {
        reader.send(sent).expect("a record");
    }
    // The second is not late although the first is far ahead; the third is, because its own origin was ahead.
    assert_eq!(reader.results(), [result("a", 100, 1), result("a", 0, 1)]);
    assert_eq!(reader.task.drops().of(DropReason::Late), 1);
    assert_eq!(reader.task.drops().kafka_streams_total(), 1);
}

#[test]
fn windows_close_by_the_least_clock() {
    let mut reader = Reader::new(true);
    for sent in [Row(0, "a", 5, 5), Row(0, "a", 100, 100)] {
        reader.send(sent).expect("a record");
    }
    assert_eq!(
        reader.results(),
        [],
        "origin 1 may still send to the window"
    );
    reader.send(Row(1, "a", 9, 9)).expect("a record");
    assert_eq!(reader.results(), []);
    reader.send(Clock(1, 10)).expect("a clock");
    assert_eq!(reader.results(), [result("a", 0, 2)]);
    reader.send(Clock(1, 300)).expect("a clock");
    assert_eq!(
        reader.results(),
        [],
        "the time is capped by what reached the operator"
    );
    reader.send(Row(1, "b", 300, 300)).expect("a record");
    assert_eq!(reader.results(), [], "origin 0 stands at 100");
    reader.send(Clock(0, 110)).expect("a clock");
    assert_eq!(reader.results(), [result("a", 100, 1)]);
}

#[test]
fn an_origin_that_ended_holds_nothing_back_until_it_speaks_again() {
    let mut reader = Reader::new(true);
    for sent in [Row(0, "a", 5, 5), Row(0, "a", 25, 25), Clock(1, i64::MAX)] {
        reader.send(sent).expect("a record");
    }
    assert_eq!(reader.results(), [result("a", 0, 1)]);
    reader.send(Row(1, "b", 21, 21)).expect("a record");
    reader.send(Row(0, "a", 40, 40)).expect("a record");
    assert_eq!(reader.results(), [], "origin 1 stands at 21");
    for sent in [Clock(0, i64::MAX), Clock(1, i64::MAX)] {
        reader.send(sent).expect("a clock");
    }
    assert!(reader.task.drain(0).expect("the end"));
    let last = [result("a", 20, 1), result("b", 20, 1), result("a", 40, 1)];
    assert_eq!(reader.results(), last);
}

/// After a drain the input continues; the slower of two tasks is not left out because it had ended before.
#[test]
fn origins_that_ended_are_waited_for_once_one_goes_on() {
    let mut reader = Reader::new(true);
    for sent in [
        Row(0, "a", 5, 5),
        Row(1, "a", 6, 6),
        Clock(0, i64::MAX),
        Clock(1, i64::MAX),
    ] {
        reader.send(sent).expect("a record");
    }
    assert!(reader.task.drain(0).expect("the end"));
    assert_eq!(reader.results(), [result("a", 0, 2)]);
    for sent in [Row(0, "a", 105, 105), Row(0, "a", 305, 305)] {
        reader.send(sent).expect("a record");
    }
    assert_eq!(reader.results(), [], "origin 1 may go on too");
    reader.send(Row(1, "a", 107, 107)).expect("a record");
    reader.send(Clock(1, 200)).expect("a clock");
    assert_eq!(reader.results(), [result("a", 100, 2)]);
    assert_eq!(reader.task.drops().kafka_streams_total(), 0);
}

#[test]
fn a_task_does_not_end_before_its_origins() {
    let mut reader = Reader::new(true);
    reader.send(Row(0, "a", 5, 5)).expect("a record");
    reader.send(Clock(0, i64::MAX)).expect("a clock");
    assert!(!reader.task.drain(0).expect("origin 1 is open"));
    assert_eq!(reader.results(), []);
    reader.send(Clock(1, i64::MAX)).expect("a clock");
    assert!(reader.task.drain(0).expect("the end"));
    assert_eq!(reader.results(), [result("a", 0, 1)]);
}

#[test]
fn an_unknown_origin_is_refused_with_the_cure() {
    let mut reader = Reader::new(true);
    let error = reader.send(Row(2, "a", 5, 5)).expect_err("no such task");
    assert_eq!(error.kind(), marea::ErrorKind::Corrupt);
    assert!(
        error.to_string().contains("reset the application"),
        "{error}"
    );
}

#[test]
fn the_pace_of_origins_does_not_show_in_final_results() {
    let first = [
        Row(0, "a", 3, 3),
        Row(0, "a", 14, 14),
        Row(0, "b", 12, 14),
        Row(0, "a", 31, 31),
    ];
    let second = [
        Row(1, "a", 7, 7),
        Row(1, "b", 18, 18),
        Row(1, "a", 11, 18),
        Row(1, "b", 35, 35),
    ];
    let mut all: Option<Vec<_>> = None;
    // Each bit says whose turn it is.
    for turns in (0u32..256).filter(|turns| turns.count_ones() == 4) {
        let mut reader = Reader::new(true);
        let (mut one, mut two) = (first.iter(), second.iter());
        for turn in 0..8 {
            let next = if turns >> turn & 1 == 1 {
                one.next()
            } else {
                two.next()
            };
            reader.send(*next.expect("four each")).expect("a record");
        }
        for origin in 0..2 {
            reader.send(Clock(origin, i64::MAX)).expect("a clock");
        }
        assert!(reader.task.drain(0).expect("the end"));
        let results = reader.results();
        assert_eq!(reader.task.drops().kafka_streams_total(), 0);
        assert_eq!(
            *all.get_or_insert_with(|| results.clone()),
            results,
            "turns {turns:08b}"
        );
    }
    assert_eq!(all.map(|results| results.len()), Some(5));
}

#[test]
fn a_window_that_was_final_does_not_open_again() {
    let mut reader = Reader::new(true);
    for sent in [
        Row(0, "a", 5, 5),
        Row(1, "a", 3, 3),
        Clock(0, i64::MAX),
        Clock(1, i64::MAX),
    ] {
        reader.send(sent).expect("a record");
    }
    assert!(reader.task.drain(0).expect("the end"));
    assert_eq!(reader.results(), [result("a", 0, 2)]);
    // The input continues. By the clock of its own origin neither record is late.
    for sent in [Row(1, "a", 7, 7), Row(0, "b", 8, 8)] {
        reader.send(sent).expect("a record");
    }
    assert_eq!(reader.task.drops().of(DropReason::Late), 2);
    for sent in [Row(1, "a", 12, 12), Clock(0, i64::MAX), Clock(1, i64::MAX)] {
        reader.send(sent).expect("a record");
    }
    assert!(reader.task.drain(0).expect("the end"));
    assert_eq!(reader.results(), [result("a", 10, 1)]);
}

#[test]
fn a_window_that_closed_without_an_origin_stays_closed_for_it() {
    let mut reader = Reader::new(true);
    for sent in [Row(0, "a", 5, 5), Clock(1, i64::MAX), Row(0, "a", 25, 25)] {
        reader.send(sent).expect("a record");
    }
    assert_eq!(reader.results(), [result("a", 0, 1)]);
    reader.send(Row(1, "a", 7, 7)).expect("a record");
    for sent in [Clock(0, i64::MAX), Clock(1, i64::MAX)] {
        reader.send(sent).expect("a clock");
    }
    assert!(reader.task.drain(0).expect("the end"));
    assert_eq!(
        reader.results(),
        [result("a", 20, 1)],
        "no second final result"
    );
    assert_eq!(reader.task.drops().of(DropReason::Late), 1);
}

#[test]
fn a_join_keeps_rows_for_the_slowest_origin_of_either_side() {
    let builder = StreamBuilder::new();
    let by_key = |topic: &str, name: &str| {
        builder
            .stream_with(topic, Consumed::with(Utf8, I64))
            .select_key(|key, _| key.clone())
            .repartition(Repartitioned::with(name, Utf8, I64))
    };
    let (left, right) = (by_key("in", "by-key"), by_key("other", "other-by-key"));
    let windows = JoinWindows::of(Duration::from_millis(10));
    let joined = StreamJoined::with("joined", Utf8, I64, I64);
    left.join(right, |_, left, right| left + right, windows, joined)
        .to_with("out", Produced::with(Utf8, I64));
    let mut reader = Reader::of(builder, "joined");
    let other = "app-other-by-key-repartition";
    let later_ms = 9 * 86_400_000;
    reader.send(Row(1, "z", 1, 1)).expect("a record");
    reader
        .send(Row(0, "z", later_ms, later_ms))
        .expect("a record");
    // Both origins of the other side go far ahead.
    for sent in [
        Row(0, "a", 5, 5),
        Row(1, "z", later_ms, later_ms),
        Row(0, "y", later_ms, later_ms),
    ] {
        reader.send_on(other, sent).expect("a record");
        reader.commit();
    }
    reader.send(Row(1, "a", 6, 6)).expect("a record");
    assert_eq!(reader.task.drops().kafka_streams_total(), 0);
    let paired: usize = reader
        .task
        .effects()
        .take()
        .iter()
        .map(|(_, batch)| batch.record_count() as usize)
        .sum();
    assert_eq!(
        paired, 2,
        "z at the later time, and a at 6, which origin 1 could still send"
    );
}
