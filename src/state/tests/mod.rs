//! One suite for both backends and both types of store, and a model of the overlay.

mod kind_models;
mod kind_vectors;
mod kinds;
mod model;
mod read_ahead;
mod refusals;
mod restoring;
mod semantics;
mod time_ordered;
mod vectors;
mod version_models;
mod watched;
mod windows;

use std::ops::Bound;

use super::*;
use crate::base::TaskId;
use crate::batch::{Batch, BatchBuilder};
use crate::disk::Budget;

pub(super) type Line = Vec<(Vec<u8>, Vec<u8>)>;

pub(super) fn identity() -> Identity {
    Identity {
        application: "app".into(),
        log_incarnation: 7,
    }
}

pub(super) fn task() -> TaskId {
    TaskId::new("stores", 0)
}

pub(super) fn key_value(name: &str, timestamped: bool) -> StoreSpec {
    StoreSpec {
        name: name.into(),
        kind: StoreKind::key_value(),
        store_type: StoreType::Persistent,
        row: match timestamped {
            true => RowForm::Timestamped,
            false => RowForm::Plain,
        },
        changelog: Changelog::Own,
        codecs: ("bytes".into(), "bytes".into()),
    }
}

pub(super) fn of_kind(name: &str, kind: StoreKind) -> StoreSpec {
    StoreSpec {
        kind,
        ..key_value(name, false)
    }
}

pub(super) fn window(name: &str, store_type: StoreType, duplicates: bool) -> StoreSpec {
    StoreSpec {
        kind: StoreKind::window(WindowRules {
            window_size_ms: 10,
            retention_ms: 100,
            duplicates,
        }),
        store_type,
        ..key_value(name, false)
    }
}

/// A state on either backend.
pub(super) struct Bench {
    pub(super) state: TaskState,
    place: Option<tempfile::TempDir>,
}

impl Bench {
    pub(super) fn on_both(specs: &[StoreSpec], check: impl Fn(&mut Self)) {
        check(&mut Self::memory(specs));
        check(&mut Self::rocks(specs));
    }

    pub(super) fn memory(specs: &[StoreSpec]) -> Self {
        let backend = Box::new(MemoryBackend::new());
        Self {
            state: TaskState::open(&task(), specs, backend, &identity()).expect("opens"),
            place: None,
        }
    }

    pub(super) fn rocks(specs: &[StoreSpec]) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        Self {
            state: open_rocks(place.path(), specs, &identity()).expect("opens"),
            place: Some(place),
        }
    }

    /// Closes and opens again, where the backend outlives that.
    pub(super) fn reopen(&mut self) {
        let Some(place) = &self.place else { return };
        let specs = self.state.specs().to_vec();
        self.state.flush().expect("flushes");
        // The old one must be gone before the new one can lock the directory.
        self.state = Self::memory(&specs).state;
        self.state = open_rocks(place.path(), &specs, &identity()).expect("opens");
    }

    /// Seals, and gives the changelogs' batches.
    pub(super) fn seal(&mut self) -> Vec<Option<Batch>> {
        self.state.seal().expect("seals");
        (0..=self.state.specs().len())
            .map(|store| {
                let mut builder = BatchBuilder::default();
                self.state.changelog(store, &mut builder).expect("encodes");
                builder.seal()
            })
            .collect()
    }
}

pub(super) fn open_rocks(
    path: &std::path::Path,
    specs: &[StoreSpec],
    identity: &Identity,
) -> crate::Result<TaskState> {
    let backend = RocksBackend::open(path, specs, &Budget::new(16 << 20))?;
    TaskState::open(&task(), specs, Box::new(backend), identity)
}

/// The stores are gone, the rows stay.
pub(super) fn into_stored(state: TaskState) -> StoredState {
    let closed = Box::new(MemoryBackend::new());
    let backend = state.backend.replace(closed);
    let mut stored = StoredState::open(&state.task, &state.specs, backend, &identity());
    if let Ok(stored) = &mut stored {
        stored.set_wall_ms(state.wall_ms);
    }
    stored.expect("opens")
}

/// Changelogs of a task, kept as a log would.
#[derive(Default)]
pub(super) struct Changelogs(Vec<Vec<(i64, Batch)>>);

impl Changelogs {
    fn end(&self, store: usize) -> i64 {
        self.0
            .get(store)
            .and_then(|log| log.last())
            .map_or(0, |(base, batch)| base + i64::from(batch.record_count()))
    }

    /// Commits what is written.
    pub(super) fn commit(&mut self, bench: &mut Bench) {
        let batches = bench.seal();
        let ends = self.append(batches);
        bench.state.applied(&ends).expect("applies");
    }

    pub(super) fn append(&mut self, batches: Vec<Option<Batch>>) -> Vec<Option<i64>> {
        self.0.resize_with(batches.len(), Vec::new);
        let place = |(store, batch): (usize, Option<Batch>)| {
            let batch = batch?;
            let base = self.end(store);
            self.0[store].push((base, batch));
            Some(self.end(store))
        };
        batches.into_iter().enumerate().map(place).collect()
    }

    /// Restores every store from its position on, the task changelog last or first.
    pub(super) fn restore(&self, state: &mut TaskState, from_scratch: bool, stores: &[usize]) {
        let other = Bench::memory(&[]).state;
        let mut stored = into_stored(std::mem::replace(state, other));
        for store in stores.iter().copied() {
            stored.begin_restore(store, from_scratch).expect("begins");
            let position = stored.position(store).unwrap_or(0);
            for (base, batch) in self.0.get(store).into_iter().flatten() {
                let mut cursor = batch.cursor(*base);
                while let Some(record) = cursor.next_record().expect("intact") {
                    if record.offset >= position {
                        stored.restore(store, &record).expect("restores");
                    }
                }
            }
            stored.end_restore(store, self.end(store)).expect("ends");
        }
        *state = stored.into_state();
    }
}

pub(super) fn read(store: &KeyValueStore, key: &str) -> Option<String> {
    let text = |row: Option<&[u8]>| row.map(|row| String::from_utf8_lossy(row).into_owned());
    store.get(key.as_bytes(), text).expect("reads")
}

pub(super) fn write(store: &KeyValueStore, key: &str, row: &str) {
    store
        .put(key.as_bytes(), Some(row.as_bytes()))
        .expect("writes");
}

pub(super) fn drain(mut rows: RowIter) -> Line {
    let mut all = Vec::new();
    while let Some((key, row)) = rows.next().expect("reads") {
        all.push((key.to_vec(), row.to_vec()));
    }
    all
}

pub(super) fn everything(store: &KeyValueStore) -> Line {
    let rows = store.range(Bound::Unbounded, Bound::Unbounded, Direction::Forward);
    drain(rows.expect("reads"))
}

/// Rows as `key@start=row`, blank between.
pub(super) fn show(mut rows: WindowIter) -> String {
    let mut all = Vec::new();
    while let Some(row) = rows.next().expect("reads") {
        let text = String::from_utf8_lossy;
        all.push(format!(
            "{}@{}={}",
            text(row.key),
            row.start_ms,
            text(row.row)
        ));
    }
    all.join(" ")
}
