//! The cost of state for a task: lookups and writes that hit, commits, ranges.
//!
//! Run with `cargo bench --bench state`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test or a bench fails by panicking"
)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use marea::base::TaskId;
use marea::codec::{I64, Utf8};
use marea::disk::Budget;
use marea::log::BatchBuilder;
use marea::state::typed::TimestampedWindow;
use marea::state::{
    Backend, Changelog, Identity, MemoryBackend, RocksBackend, RowForm, StoreKind, StoreSpec,
    StoreType, TaskState, WindowRules,
};

const KEYS: usize = 10_000;
const PER_COMMIT: usize = 70_000;

fn specs() -> Vec<StoreSpec> {
    let store = |name: &str, kind| StoreSpec {
        name: name.to_owned(),
        kind,
        store_type: StoreType::Persistent,
        row: RowForm::Timestamped,
        changelog: Changelog::Own,
        codecs: ("utf8".to_owned(), "i64".to_owned()),
    };
    let rules = WindowRules {
        window_size_ms: 60_000,
        retention_ms: 120_000,
        duplicates: false,
    };
    vec![
        store("plain", StoreKind::key_value()),
        store("windows", StoreKind::window(rules)),
    ]
}

fn open(backend: Box<dyn Backend>) -> TaskState {
    let identity = Identity {
        application: "bench".to_owned(),
        log_incarnation: 1,
    };
    TaskState::open(&TaskId::new("bench", 0), &specs(), backend, &identity).expect("opens")
}

fn keys() -> Vec<String> {
    (0..KEYS).map(|key| format!("sensor-{key:06}")).collect()
}

/// A walk over all keys, in an order that is hard to predict. It visits each key, because the factor minus one is
/// divisible by 4 and by 5, as a full period over 10,000 requires (Hull and Dobell).
fn next(at: &mut usize) -> usize {
    *at = (*at * 7921 + 1) % KEYS;
    *at
}

fn commit(state: &mut TaskState, end: &mut i64) {
    state.seal().expect("seals");
    let mut ends = Vec::new();
    for store in 0..3 {
        let mut batch = BatchBuilder::default();
        state.changelog(store, &mut batch).expect("encodes");
        *end += batch.len() as i64;
        ends.push((!batch.is_empty()).then_some(*end));
        black_box(batch.seal());
    }
    state.applied(&ends).expect("applies");
}

fn lookups(criterion: &mut Criterion) {
    let state = open(Box::new(MemoryBackend::new()));
    let (plain, windows) = (state.key_value("plain"), state.window("windows"));
    let (plain, windows) = (plain.expect("is there"), windows.expect("is there"));
    let keys = keys();
    let row = [1u8; 16];
    for key in &keys {
        plain.put(key.as_bytes(), Some(&row)).expect("writes");
        windows
            .put(key.as_bytes(), 60_000, Some(&row))
            .expect("puts");
    }
    let mut at = 0;
    criterion.bench_function("key-value get + put, 10k keys", |bench| {
        bench.iter(|| {
            let key = keys[next(&mut at)].as_bytes();
            let mut row = [0; 16];
            let read = |found: Option<&[u8]>| {
                if let Some(found) = found {
                    row.copy_from_slice(found);
                }
            };
            plain.get(key, read).expect("reads");
            row[0] = row[0].wrapping_add(1);
            plain.put(key, Some(&row)).expect("writes");
        });
    });
    criterion.bench_function("window fetch + put, 10k keys", |bench| {
        bench.iter(|| {
            let key = keys[next(&mut at)].as_bytes();
            let mut row = [0; 16];
            let read = |found: Option<&[u8]>| {
                if let Some(found) = found {
                    row.copy_from_slice(found);
                }
            };
            windows.fetch(key, 60_000, read).expect("reads");
            row[0] = row[0].wrapping_add(1);
            windows.put(key, 60_000, Some(&row)).expect("puts");
        });
    });
    let mut view: TimestampedWindow<String, i64> =
        TimestampedWindow::new(windows, Arc::new(Utf8), Arc::new(I64));
    criterion.bench_function("typed window entry fetch + put, 10k keys", |bench| {
        bench.iter(|| {
            let mut entry = view.entry(&keys[next(&mut at)]).expect("encodes");
            let (count, time_ms) = entry.fetch(60_000).expect("reads").unwrap_or((0, 0));
            let count = count.wrapping_add(1);
            entry.put(60_000, Some((&count, time_ms))).expect("puts");
        });
    });
    state.marks().set();
    state.marks().clear();
}

/// 70,000 counted records (a tenth of a second's worth) over 10,000 keys, and one commit.
fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("70k windowed counts and a commit");
    group.throughput(Throughput::Elements(PER_COMMIT as u64));
    group.sample_size(20);
    let place = tempfile::tempdir().expect("a directory");
    let rocks = RocksBackend::open(place.path(), &specs(), &Budget::new(256 << 20));
    let backends: [(&str, Box<dyn Backend>); 2] = [
        ("memory", Box::new(MemoryBackend::new())),
        ("rocks", Box::new(rocks.expect("opens"))),
    ];
    for (name, backend) in backends {
        let mut state = open(backend);
        let store = state.window("windows").expect("is there");
        let mut view: TimestampedWindow<String, i64> =
            TimestampedWindow::new(store, Arc::new(Utf8), Arc::new(I64));
        let keys = keys();
        let (mut at, mut end, mut time_ms) = (0, 0, 0);
        group.bench_function(name, |bench| {
            bench.iter(|| {
                for _ in 0..PER_COMMIT {
                    let mut entry = view.entry(&keys[next(&mut at)]).expect("encodes");
                    let start_ms = time_ms / 60_000 * 60_000;
                    let (count, _) = entry.fetch(start_ms).expect("reads").unwrap_or((0, 0));
                    entry
                        .put(start_ms, Some((&(count + 1), time_ms)))
                        .expect("puts");
                }
                // A new window every sixth commit.
                time_ms += 10_000;
                commit(&mut state, &mut end);
            });
        });
    }
    group.finish();
}

fn ranges(criterion: &mut Criterion) {
    let place = tempfile::tempdir().expect("a directory");
    let rocks = RocksBackend::open(place.path(), &specs(), &Budget::new(256 << 20));
    let backends: [(&str, Box<dyn Backend>); 2] = [
        ("memory", Box::new(MemoryBackend::new())),
        ("rocks", Box::new(rocks.expect("opens"))),
    ];
    let keys = keys();
    for (name, backend) in backends {
        let mut state = open(backend);
        let store = state.window("windows").expect("is there");
        for (number, key) in keys.iter().enumerate() {
            for start_ms in 0..10 {
                let start_ms = start_ms * 1000 + number as i64 % 7;
                store
                    .put(key.as_bytes(), start_ms, Some(&[1; 16]))
                    .expect("puts");
            }
        }
        commit(&mut state, &mut 0);
        let mut at = 0;
        let name = format!("fetch_range of 4 committed rows, {name}");
        criterion.bench_function(&name, |bench| {
            bench.iter_batched(
                || keys[next(&mut at)].as_bytes(),
                |key| {
                    let mut rows = store.fetch_range(key, 3000, 6900).expect("reads");
                    while let Some(row) = rows.next().expect("reads") {
                        black_box(row.row);
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, lookups, commits, ranges);
criterion_main!(benches);
