//! Rows of waiting records are read before their turn, many at once.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use marea::base::{TaskId, TopicPartition};
use marea::codec::{I64, Utf8};
use marea::disk::Budget;
use marea::dsl::{Consumed, Grouped, Produced, StreamBuilder};
use marea::log::{BatchBuilder, Fetched};
use marea::state::{
    Backend, Direction, Identity, PointReads, RocksBackend, Rows, Scan, SortedRows, TaskState,
};
use marea::task::{ErrorPolicies, Task};
use marea::topology::Topology;

const KEYS: i64 = 20_000;

/// Counts the reads of single rows, and the rows that are read many at once.
struct Counted {
    rows: RocksBackend,
    alone: Arc<AtomicUsize>,
    together: Arc<AtomicUsize>,
}

struct Together {
    reads: Arc<dyn PointReads>,
    rows: Arc<AtomicUsize>,
}

impl PointReads for Together {
    fn get_sorted(
        &self,
        column: usize,
        keys: &[&[u8]],
        visit: &mut dyn FnMut(Option<&[u8]>),
    ) -> marea::Result<()> {
        assert!(keys.is_sorted(), "the keys of a part are in order");
        self.rows.fetch_add(keys.len(), Ordering::Relaxed);
        self.reads.get_sorted(column, keys, visit)
    }
}

impl Backend for Counted {
    fn get(&self, column: usize, key: &[u8], into: &mut Vec<u8>) -> marea::Result<bool> {
        self.alone
            .fetch_add(usize::from(column == 0), Ordering::Relaxed);
        self.rows.get(column, key, into)
    }

    fn reads(&self) -> Option<Arc<dyn PointReads>> {
        Some(Arc::new(Together {
            reads: self.rows.reads()?,
            rows: Arc::clone(&self.together),
        }))
    }

    fn scan(
        &self,
        column: usize,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> marea::Result<Box<dyn Scan>> {
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

/// A topology that counts, by the key of the record or by another, and its reads so far.
struct Bench {
    task: Task,
    alone: Arc<AtomicUsize>,
    together: Arc<AtomicUsize>,
    _place: tempfile::TempDir,
}

impl Bench {
    fn new(topology: &Topology) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let spec = Arc::new(topology.single_task_spec("app", None));
        let id = TaskId::new("app", 0);
        let identity = Identity {
            application: "app".into(),
            log_incarnation: 1,
        };
        let rows = RocksBackend::open(place.path(), &spec.stores, &Budget::new(16 << 20));
        let (alone, together) = (Arc::default(), Arc::default());
        let backend = Counted {
            rows: rows.expect("opens"),
            alone: Arc::clone(&alone),
            together: Arc::clone(&together),
        };
        let state = TaskState::open(&id, &spec.stores, Box::new(backend), &identity);
        let state = state.expect("state");
        state.set_cache_bytes(1 << 20);
        Self {
            task: Task::new(id, spec, state, ErrorPolicies::default()).expect("a task"),
            alone,
            together,
            _place: place,
        }
    }

    /// Processes these records in steps of 500, with a commit after every sixth.
    fn take(&mut self, keys: &[i64]) {
        let partition = TopicPartition::new("in", 0);
        for (number, keys) in keys.chunks(5_000).enumerate() {
            let mut builder = BatchBuilder::default();
            for key in keys {
                let key = format!("sensor-{key:08}");
                builder.push(Some(key.as_bytes()), Some(&1i64.to_be_bytes()), 0, &[]);
            }
            let base_offset = number as i64 * 5_000;
            let fetched = Fetched {
                partition: partition.clone(),
                base_offset,
                position: base_offset,
                batch: builder.seal().expect("records"),
            };
            self.task.inputs.add(&fetched).expect("an input");
        }
        let mut steps = 0;
        while self.task.process(500, 0).expect("processed").records > 0 {
            steps += 1;
            if steps % 6 == 0 {
                self.commit(steps);
            }
        }
        self.commit(steps + 1);
    }

    fn commit(&mut self, steps: i64) {
        self.task.effects().take();
        self.task.state.seal().expect("sealed");
        let mut changelog = BatchBuilder::default();
        let mut ends = Vec::new();
        for store in 0..=self.task.state.specs().len() {
            let written = self.task.state.changelog(store, &mut changelog);
            written.expect("a changelog");
            ends.push(changelog.seal().map(|_| steps));
        }
        self.task.state.applied(&ends).expect("applied");
    }

    fn counts_of(&self, key: i64) -> Option<i64> {
        let store = self.task.state.key_value("counts").expect("a store");
        let count = |row: Option<&[u8]>| {
            let count = row?.last_chunk::<8>().expect("a number");
            Some(i64::from_be_bytes(*count))
        };
        let key = format!("sensor-{key:08}");
        store.get(key.as_bytes(), count).expect("a row")
    }
}

fn counting(by_other_key: bool) -> Topology {
    let builder = StreamBuilder::new();
    let readings = builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .filter(|_, value| *value > 0)
        .map_values(|_, value| value + 1);
    let readings = match by_other_key {
        true => readings.map(|key: String, value| (key.replace("sensor", "buoy"), value)),
        false => readings,
    };
    readings
        .group_by_key(Grouped::with("by-key", Utf8, I64))
        .count("counts")
        .to_stream()
        .present()
        .to_with("out", Produced::with(Utf8, I64));
    builder.build().expect("a topology")
}

/// Each key twice, first so that neighbours come at different times, then in scattered order.
fn keys() -> Vec<i64> {
    let walk = |number: i64| number * 12_343 % KEYS;
    let scattered = |number: i64| (number * 7_919 + number * number) % KEYS;
    (0..2 * KEYS)
        .map(walk)
        .chain((0..KEYS).map(scattered))
        .collect()
}

#[test]
fn rows_of_records_that_wait_are_read_many_at_once() {
    let mut bench = Bench::new(&counting(false));
    let keys = keys();
    bench.take(&keys);
    let alone = bench.alone.load(Ordering::Relaxed);
    let together = bench.together.load(Ordering::Relaxed);
    assert!(
        together > keys.len() / 2 && alone < keys.len() / 5,
        "of {} rows {alone} were read alone and {together} together",
        keys.len()
    );
    for key in 0..KEYS {
        let expected = keys.iter().filter(|other| **other == key).count() as i64;
        assert_eq!(bench.counts_of(key), Some(expected), "key {key}");
    }
}

#[test]
fn where_records_get_other_keys_nothing_is_read_for_them() {
    let mut bench = Bench::new(&counting(true));
    bench.take(&keys());
    assert_eq!(bench.together.load(Ordering::Relaxed), 0);
}
