//! A record passes through the graph without heap allocations.

#![allow(
    clippy::expect_used,
    unsafe_code,
    reason = "a test fails by panicking, and an allocator is unsafe by its nature"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use marea::base::{TaskId, TopicPartition};
use marea::codec::{I64, Nullable, WindowedCodec};
use marea::dsl::{
    Consumed, Grouped, JoinWindows, Materialized, Produced, StreamBuilder, StreamJoined,
    TimeWindows,
};
use marea::log::{Batch, BatchBuilder, Fetched};
use marea::state::{Identity, MemoryBackend, StoreType, TaskState};
use marea::task::{ErrorPolicies, Policy, StepLimits, Task};
use marea::topology::Topology;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is shutting down no longer counts.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const RECORDS: i64 = 10_000;
const KEYS: i64 = 100;

#[derive(Clone, Copy)]
enum Counts {
    ByKey,
    ByWindow(StoreType),
}

fn task(counts: Counts, policies: ErrorPolicies) -> Task {
    let builder = StreamBuilder::new();
    let doubled = builder
        .stream_with("in", Consumed::with(I64, I64))
        .filter(|_, value| *value != 1)
        .map_values(|_, value| value * 2);
    doubled.clone().to_with("doubled", Produced::with(I64, I64));
    let grouped = doubled.group_by_key(Grouped::with("by-key", I64, I64));
    let store = Materialized::with("counts", I64);
    match counts {
        Counts::ByKey => grouped
            .count(store.in_memory())
            .to_stream()
            .to_with("counts-out", Produced::with(I64, Nullable(I64))),
        Counts::ByWindow(store_type) => {
            // With this grace every round updates the windows that the first one opened.
            let windows =
                TimeWindows::of(Duration::from_millis(1_000)).grace(Duration::from_secs(86_400));
            let store = match store_type {
                StoreType::InMemory => store.in_memory(),
                StoreType::Persistent => store,
            };
            let counts = grouped.windowed_by(windows).count(store);
            let produced = Produced::with(WindowedCodec::new(I64, 1_000), Nullable(I64));
            counts.to_stream().to_with("counts-out", produced);
        }
    }
    open(&builder.build().expect("a topology"), policies)
}

fn open(topology: &Topology, policies: ErrorPolicies) -> Task {
    let spec = topology.single_task_spec("app", Some("dead"));
    let id = TaskId::new("app", 0);
    let identity = Identity {
        application: "app".to_owned(),
        log_incarnation: 1,
    };
    let backend = Box::new(MemoryBackend::new());
    let state = TaskState::open(&id, &spec.stores, backend, &identity).expect("state");
    Task::new(id, Arc::new(spec), state, policies).expect("a task")
}

fn batch() -> Batch {
    let mut builder = BatchBuilder::default();
    for number in 0..RECORDS {
        let (key, value) = ((number % KEYS).to_be_bytes(), number.to_be_bytes());
        builder.push(Some(&key), Some(&value), number, &[]);
    }
    builder.seal().expect("records")
}

/// Allocations while a batch is processed, and while its effects are committed afterwards.
fn run(task: &mut Task, round: i64, batch: &Batch) -> (u64, u64) {
    let partition = TopicPartition::new("in", 0);
    let base_offset = round * RECORDS;
    let fetched = Fetched {
        partition: partition.clone(),
        base_offset,
        position: base_offset,
        batch: batch.clone(),
    };
    task.inputs.add(&fetched).expect("an input");
    let end = base_offset + RECORDS;
    task.inputs.set_end(&partition, end, 0).expect("an input");
    let start = COUNT.get();
    let progress = task
        .process(StepLimits::records(usize::MAX), 0)
        .expect("processed");
    let processed = COUNT.get();
    assert_eq!(progress.records as i64, RECORDS);
    task.before_commit().expect("complete");
    let written = task.effects().take();
    assert_eq!(written.len(), 2);
    task.state.seal().expect("sealed");
    let mut changelog = BatchBuilder::default();
    let mut ends = Vec::new();
    for store in 0..=task.state.specs().len() {
        task.state
            .changelog(store, &mut changelog)
            .expect("a changelog");
        ends.push(changelog.seal().map(|_| end));
    }
    task.state.applied(&ends).expect("applied");
    (processed - start, COUNT.get() - processed)
}

/// Processes batches until every buffer is large enough, and checks the next one.
fn check(counts: Counts, policies: ErrorPolicies) {
    let mut task = task(counts, policies);
    let batch = batch();
    for round in 0..3 {
        run(&mut task, round, &batch);
    }
    let (processing, committing) = run(&mut task, 3, &batch);
    assert_eq!(task.drops().kafka_streams_total(), 0);
    assert!(
        processing <= 4,
        "{processing} allocations in {RECORDS} records"
    );
    // A commit writes a row for each key (and window); its allocations depend on those and not on the records.
    let rows = task.state.checksum().expect("rows")[0].1;
    assert!(
        committing <= 10 * rows,
        "{committing} allocations in a commit of {rows} rows"
    );
}

#[test]
fn processing_allocates_nothing_per_record() {
    check(Counts::ByKey, ErrorPolicies::default());
}

#[test]
fn windows_allocate_nothing_per_record() {
    for store_type in [StoreType::Persistent, StoreType::InMemory] {
        check(Counts::ByWindow(store_type), ErrorPolicies::default());
    }
}

#[test]
fn marks_for_dead_letters_allocate_nothing_per_record() {
    let policies = ErrorPolicies::all(Policy::DeadLetter);
    check(Counts::ByKey, policies);
    check(Counts::ByWindow(StoreType::Persistent), policies);
}

/// Two streams of the same records, a millisecond apart, each joined with those of its key within 100 ms: two on
/// average. Growth of memory, and buffers of the rows that stay, are far fewer than probes.
#[test]
fn a_join_allocates_nothing_per_probe() {
    let builder = StreamBuilder::new();
    let right = builder.stream_with("right", Consumed::with(I64, I64));
    builder
        .stream_with("left", Consumed::with(I64, I64))
        .join(
            right,
            |_, left, right| left + right,
            JoinWindows::of(Duration::from_millis(100)).grace(Duration::from_millis(1)),
            StreamJoined::with("pair", I64, I64, I64),
        )
        .to_with("out", Produced::with(I64, I64));
    let topology = builder.build().expect("a topology");
    let mut task = open(&topology, ErrorPolicies::default());
    let mut fewest = u64::MAX;
    for round in 0..20 {
        let mut builder = BatchBuilder::default();
        for number in round * RECORDS..(round + 1) * RECORDS {
            let (key, value) = ((number % KEYS).to_be_bytes(), number.to_be_bytes());
            builder.push(Some(&key), Some(&value), number, &[]);
        }
        let batch = builder.seal().expect("records");
        let end = (round + 1) * RECORDS;
        for topic in ["left", "right"] {
            let partition = TopicPartition::new(topic, 0);
            let fetched = Fetched {
                partition: partition.clone(),
                base_offset: round * RECORDS,
                position: round * RECORDS,
                batch: batch.clone(),
            };
            task.inputs.add(&fetched).expect("an input");
            task.inputs.set_end(&partition, end, end).expect("an input");
        }
        let start = COUNT.get();
        let progress = task
            .process(StepLimits::records(usize::MAX), 0)
            .expect("processed");
        fewest = fewest.min(COUNT.get() - start);
        assert_eq!(progress.records as i64, 2 * RECORDS);
        task.before_commit().expect("ready");
        assert!(!task.effects().take().is_empty());
        task.state.seal().expect("sealed");
        let mut changelog = BatchBuilder::default();
        let mut ends = Vec::new();
        for store in 0..=task.state.specs().len() {
            let written = task.state.changelog(store, &mut changelog);
            written.expect("a changelog");
            ends.push(changelog.seal().map(|_| end));
        }
        task.state.applied(&ends).expect("applied");
    }
    assert!(
        fewest <= 100,
        "{fewest} allocations in {RECORDS} records of each side"
    );
}
