//! Only the processing of a task: records decoded, run through operators over state, encoded; no log, no thread.
//! Also restore from a changelog. `cargo bench --bench step`; under `cargo test` each runs once, with few records.

#![allow(clippy::expect_used, reason = "a bench fails by panicking")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use marea::base::{TaskId, TopicPartition};
use marea::codec::{I64, Utf8};
use marea::dsl::{
    Consumed, Grouped, JoinWindows, Materialized, Produced, StreamBuilder, StreamJoined,
    TimeWindows,
};
use marea::log::{Batch, BatchBuilder, Fetched};
use marea::state::{Identity, MemoryBackend, StoredState};
use marea::task::{ErrorPolicies, StepLimits, Task};
use marea::topology::Topology;

const RECORDS: u32 = 10_000;
const KEYS: u32 = 1_000;

/// Records with `KEYS` keys, a millisecond apart.
fn batch() -> Batch {
    let mut builder = BatchBuilder::default();
    for number in 0..RECORDS {
        let key = format!("sensor-{:04}", number.wrapping_mul(7919) % KEYS);
        let value = i64::from(number).to_be_bytes();
        builder.push(Some(key.as_bytes()), Some(&value), i64::from(number), &[]);
    }
    builder.seal().expect("records").stamp(0)
}

fn stored(topology: &Topology) -> StoredState {
    let spec = topology.single_task_spec("bench", None);
    let identity = Identity {
        application: "bench".into(),
        log_incarnation: 1,
    };
    let backend = Box::new(MemoryBackend::new());
    let id = TaskId::new("bench", 0);
    StoredState::open(&id, &spec.stores, backend, &identity).expect("state")
}

fn task(topology: &Topology) -> Task {
    let spec = Arc::new(topology.single_task_spec("bench", None));
    let id = TaskId::new("bench", 0);
    let state = stored(topology).into_state();
    Task::new(id, spec, state, ErrorPolicies::default()).expect("a task")
}

/// Feeds the batch to each input and processes it.
fn step(task: &mut Task, inputs: &[&str], batch: &Batch) {
    for topic in inputs {
        let partition = TopicPartition::new(*topic, 0);
        task.inputs.set_end(&partition, 0, 0).expect("an input");
        let fetched = Fetched {
            partition,
            base_offset: 0,
            position: 0,
            batch: batch.clone(),
        };
        task.inputs.add(&fetched).expect("an input");
    }
    for topic in inputs {
        let partition = TopicPartition::new(*topic, 0);
        let end = i64::from(RECORDS);
        task.inputs.set_end(&partition, end, end).expect("an input");
    }
    let progress = task
        .process(StepLimits::records(usize::MAX), 0)
        .expect("processed");
    assert_eq!(progress.records, inputs.len() * RECORDS as usize);
    black_box(task.effects().take());
}

fn pass() -> Topology {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .to_with("out", Produced::with(Utf8, I64));
    builder.build().expect("a topology")
}

fn stateless() -> Topology {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .filter(|_, value| *value >= 0)
        .map_values(|_, value| value + 1)
        .filter_not(|_, value| *value < 0)
        .to_with("out", Produced::with(Utf8, I64));
    builder.build().expect("a topology")
}

/// Four filters and four maps in turn: subtracting `pass` and dividing by eight gives the cost of a hop between
/// operators.
fn eight_hops() -> Topology {
    let builder = StreamBuilder::new();
    let mut stream = builder.stream_with("in", Consumed::with(Utf8, I64));
    for _ in 0..4 {
        stream = stream
            .filter(|_, value| *value >= 0)
            .map_values(|_, value| value + 1);
    }
    stream.to_with("out", Produced::with(Utf8, I64));
    builder.build().expect("a topology")
}

fn count() -> Topology {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .group_by_key(Grouped::with("by-key", Utf8, I64))
        .count("counts")
        .to_stream()
        .present()
        .to_with("out", Produced::with(Utf8, I64));
    builder.build().expect("a topology")
}

fn windowed_sum() -> Topology {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .group_by_key(Grouped::with("by-key", Utf8, I64))
        .windowed_by(TimeWindows::of(Duration::from_secs(1)).grace(Duration::from_secs(1)))
        .aggregate(
            || 0,
            |_, value, sum| sum + value,
            Materialized::with("sums", I64),
        )
        .to_stream()
        .present()
        .map(|window, sum| (window.key, sum))
        .to_with("out", Produced::with(Utf8, I64));
    builder.build().expect("a topology")
}

fn join() -> Topology {
    let builder = StreamBuilder::new();
    let right = builder.stream_with("right", Consumed::with(Utf8, I64));
    builder
        .stream_with("left", Consumed::with(Utf8, I64))
        .join(
            right,
            |_, left, right| left + right,
            JoinWindows::of(Duration::from_millis(1)),
            StreamJoined::with("pair", Utf8, I64, I64),
        )
        .to_with("out", Produced::with(Utf8, I64));
    builder.build().expect("a topology")
}

fn steps(criterion: &mut Criterion) {
    let batch = batch();
    let mut group = criterion.benchmark_group("step");
    for (name, topology, inputs) in [
        ("pass", pass(), &["in"][..]),
        ("filter, map_values, filter_not", stateless(), &["in"]),
        ("eight hops", eight_hops(), &["in"]),
        ("count", count(), &["in"]),
        ("windowed sum", windowed_sum(), &["in"]),
        ("join", join(), &["left", "right"]),
    ] {
        let records = u64::from(RECORDS) * inputs.len() as u64;
        group.throughput(Throughput::Elements(records));
        group.bench_function(name, |bencher| {
            let fresh = || task(&topology);
            bencher.iter_batched_ref(
                fresh,
                |task| step(task, inputs, &batch),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn restore(criterion: &mut Criterion) {
    let topology = count();
    let batch = batch();
    let mut group = criterion.benchmark_group("restore");
    group.throughput(Throughput::Elements(u64::from(RECORDS)));
    group.bench_function("key-value, memory", |bencher| {
        bencher.iter_batched_ref(
            || stored(&topology),
            |stored| {
                stored.begin_restore(0, true).expect("begun");
                let mut cursor = batch.cursor(0);
                while let Some(record) = cursor.next_record().expect("intact") {
                    stored.restore(0, &record).expect("restored");
                }
                stored.end_restore(0, i64::from(RECORDS)).expect("ended");
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = steps, restore
}
criterion_main!(benches);
