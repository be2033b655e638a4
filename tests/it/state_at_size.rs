//! What operators request from the disk, which determines how they perform with much state.

use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use marea::base::{TaskId, TopicPartition};
use marea::codec::{I64, Utf8, WindowedCodec};
use marea::dsl::{
    Consumed, Grouped, JoinWindows, Produced, StreamBuilder, StreamJoined, Suppressed, TimeWindows,
};
use marea::log::{BatchBuilder, Fetched};
use marea::state::{
    Backend, Direction, Identity, MemoryBackend, Rows, Scan, SortedRows, TaskState,
};
use marea::task::{ErrorPolicies, Task};
use marea::topology::Topology;

/// How often each column was read.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    gets: usize,
    scans: usize,
}

/// Rows in memory that count requests which would be expensive for RocksDB.
#[derive(Debug, Default)]
struct Counted {
    rows: MemoryBackend,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Counted {
    fn count(&self, column: usize, add: impl Fn(&mut Asked)) {
        let mut asked = self.asked.lock().expect("no panic");
        let len = asked.len().max(column + 1);
        asked.resize(len, Asked::default());
        add(&mut asked[column]);
    }
}

impl Backend for Counted {
    fn get(&self, column: usize, key: &[u8], into: &mut Vec<u8>) -> marea::Result<bool> {
        self.count(column, |asked| asked.gets += 1);
        self.rows.get(column, key, into)
    }

    fn scan(
        &self,
        column: usize,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> marea::Result<Box<dyn Scan>> {
        self.count(column, |asked| asked.scans += 1);
        self.rows.scan(column, from, to, direction)
    }

    fn snapshots(&self) -> std::sync::Arc<dyn marea::state::Snapshots> {
        self.rows.snapshots()
    }

    fn write(&mut self, batch: &Rows) -> marea::Result<()> {
        self.rows.write(batch)
    }

    fn ingest(&mut self, column: usize, rows: &SortedRows) -> marea::Result<()> {
        self.rows.ingest(column, rows)
    }

    fn flush(&mut self) -> marea::Result<()> {
        self.rows.flush()
    }
}

/// A task over counted rows.
struct Bench {
    task: Task,
    asked: Arc<Mutex<Vec<Asked>>>,
    taken: i64,
    /// Bytes of outputs.
    written: usize,
}

impl Bench {
    fn new(topology: &Topology, cache_bytes: usize) -> Self {
        let spec = Arc::new(topology.single_task_spec("app", None));
        let id = TaskId::new("app", 0);
        let identity = Identity {
            application: "app".into(),
            log_incarnation: 1,
        };
        let backend = Counted::default();
        let asked = Arc::clone(&backend.asked);
        let state = TaskState::open(&id, &spec.stores, Box::new(backend), &identity);
        let state = state.expect("state");
        state.set_cache_bytes(cache_bytes);
        let task = Task::new(id, spec, state, ErrorPolicies::default()).expect("a task");
        asked.lock().expect("no panic").clear();
        Self {
            task,
            asked,
            taken: 0,
            written: 0,
        }
    }

    /// The requests to a store since the last call; part of its name is enough.
    fn asked(&self, store: &str) -> Asked {
        let specs = self.task.state.specs();
        let column = specs.iter().position(|spec| spec.name.starts_with(store));
        let column = column.expect("a store");
        let asked = std::mem::take(&mut *self.asked.lock().expect("no panic"));
        asked.get(column).copied().unwrap_or_default()
    }

    /// Processes these records of each input, and commits.
    fn take(&mut self, inputs: &[&str], records: &[(String, i64, i64)]) {
        let mut builder = BatchBuilder::default();
        for (key, value, time_ms) in records {
            let value = value.to_be_bytes();
            builder.push(Some(key.as_bytes()), Some(&value), *time_ms, &[]);
        }
        let batch = builder.seal().expect("records");
        let end = self.taken + records.len() as i64;
        for topic in inputs {
            let partition = TopicPartition::new(*topic, 0);
            let fetched = Fetched {
                partition: partition.clone(),
                base_offset: self.taken,
                position: self.taken,
                batch: batch.clone(),
            };
            self.task.inputs.add(&fetched).expect("an input");
            let told = self.task.inputs.set_end(&partition, end, end);
            told.expect("an input");
        }
        self.taken = end;
        let progress = self.task.process(usize::MAX, 0).expect("processed");
        assert_eq!(progress.records, inputs.len() * records.len());
        self.task.before_commit().expect("complete");
        self.written += self.task.effects().bytes();
        self.task.effects().take();
        self.task.state.seal().expect("sealed");
        let mut changelog = BatchBuilder::default();
        let mut ends = Vec::new();
        for store in 0..=self.task.state.specs().len() {
            let written = self.task.state.changelog(store, &mut changelog);
            written.expect("a changelog");
            ends.push(changelog.seal().map(|_| end));
        }
        self.task.state.applied(&ends).expect("applied");
    }
}

#[test]
fn suppress_does_not_walk_over_what_has_come_out() {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .group_by_key(Grouped::with("by", Utf8, I64))
        .windowed_by(TimeWindows::of(Duration::from_millis(100)))
        .count("counts")
        .suppress(Suppressed::until_window_closes_with("final", I64))
        .to_stream()
        .present()
        .to_with("out", Produced::with(WindowedCodec::new(Utf8, 100), I64));
    let topology = builder.build().expect("a topology");
    let mut bench = Bench::new(&topology, 1 << 20);
    // A hundred keys per window, ten windows per commit.
    for round in 0..100 {
        let of = |number: i64| (format!("k{}", number % 100), number, round * 1_000 + number);
        let records: Vec<_> = (0..1_000).map(of).collect();
        bench.take(&["in"], &records);
    }
    let scans = bench.asked("final").scans;
    assert!(scans <= 2, "{scans} walks for 1,000 windows that closed");
}

fn join() -> Topology {
    let builder = StreamBuilder::new();
    let right = builder.stream_with("right", Consumed::with(Utf8, I64));
    builder
        .stream_with("left", Consumed::with(Utf8, I64))
        .join(
            right,
            |_, left, right| left + right,
            JoinWindows::of(Duration::from_millis(200)).grace(Duration::from_millis(100)),
            StreamJoined::with("pair", Utf8, I64, I64),
        )
        .to_with("out", Produced::with(Utf8, I64));
    builder.build().expect("a topology")
}

#[test]
fn a_join_looks_for_partners_in_memory_and_beyond_it_on_the_disk() {
    let mut outputs = Vec::new();
    for cache_bytes in [8 << 20, 0] {
        let mut bench = Bench::new(&join(), cache_bytes);
        let mut scans = 0;
        for round in 0..50 {
            let of = |number: i64| (format!("k{}", number % 50), number, round * 500 + number);
            let records: Vec<_> = (0..500).map(of).collect();
            bench.take(&["left", "right"], &records);
            scans += bench.asked("pair").scans;
        }
        match cache_bytes {
            0 => assert!(scans > 1_000, "{scans} walks without memory"),
            _ => assert_eq!(scans, 0),
        }
        outputs.push(bench.written);
    }
    assert!(outputs[0] > 100_000, "{} bytes", outputs[0]);
    assert_eq!(outputs[0], outputs[1]);
}
