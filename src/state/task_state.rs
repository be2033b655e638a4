//! All the state of a task, and how it commits. See `commit` for the protocol.

use std::any::type_name;
use std::sync::Arc;

use super::backend::Closed;
use super::key_value::KeyValueStore;
use super::kind::{Opened, StoredRow};
use super::marks::Marks;
use super::meta::{self, Position};
use super::table::SharedBackend;
use super::times::{NamedTimes, StoredTime, Times};
use super::window::WindowStore;
use super::{Rows, Snapshots, StoreFigures, StoreSpec};
use crate::base::{Error, Offset, Result, TaskId};

/// The stores of a task, its times, and its positions on their changelogs. Owned by one thread.
pub struct TaskState {
    pub(super) task: TaskId,
    pub(super) specs: Vec<StoreSpec>,
    pub(super) stores: Vec<Opened>,
    pub(super) backend: SharedBackend,
    pub(super) times: Times,
    /// For each store's changelog, and finally for the task changelog: the offset up to which the backend
    /// has it.
    pub(super) positions: Vec<Option<Position>>,
    /// The wall clock, as last set by the runtime.
    pub(super) wall_ms: i64,
    /// Number of changelog records of each store in the committing generation.
    pub(super) records: Vec<usize>,
    /// Between seal and applied or rollback.
    pub(super) in_flight: bool,
    pub(super) marks: Marks,
    pub(super) rows: Rows,
    pub(super) scratch: Vec<u8>,
}

impl std::fmt::Debug for TaskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskState")
            .field("task", &self.task)
            .field("positions", &self.positions)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

impl TaskState {
    /// Where the store's rows are on its changelog, as committed; `None` is its beginning. The store
    /// after the last is the task changelog.
    pub fn position(&self, store: usize) -> Option<Offset> {
        Some(self.positions.get(store).copied().flatten()?.offset)
    }

    /// As [`StoredState::position_at_ms`], of the last commit.
    pub fn position_at_ms(&self, store: usize) -> Option<i64> {
        Some(self.positions.get(store).copied().flatten()?.at_ms)
    }

    pub(super) fn meta_column(&self) -> usize {
        self.specs.len()
    }

    pub(super) fn position_key(&self, index: usize) -> Vec<u8> {
        meta::position_key(self.specs.get(index).map(|spec| &spec.name[..]))
    }

    /// Sets the wall clock, in milliseconds since 1970. It is stored with the positions, so that a
    /// restore can tell whether the changelog may have dropped deletions since.
    pub fn set_wall_ms(&mut self, wall_ms: i64) {
        self.wall_ms = wall_ms;
    }

    /// The wall clock, as last set.
    pub fn wall_ms(&self) -> i64 {
        self.wall_ms
    }

    /// The task.
    pub fn task(&self) -> &TaskId {
        &self.task
    }

    /// The stores, in order.
    pub fn specs(&self) -> &[StoreSpec] {
        &self.specs
    }

    /// Sets how many bytes of committed rows are cached, over all stores. Rows that are read ahead are
    /// part of it.
    pub fn set_cache_bytes(&self, cache_bytes: usize) {
        let share = cache_bytes / self.stores.len().max(1);
        for store in &self.stores {
            store.overlay.borrow_mut().set_cache_bytes(share);
        }
    }

    /// Sets the largest record that the changelog of each store accepts, in the order of the stores, in
    /// bytes. A put with a larger row is refused.
    pub fn set_changelog_limits(&mut self, max_record_bytes: &[usize]) {
        for ((store, spec), max) in self.stores.iter().zip(&self.specs).zip(max_record_bytes) {
            store.overlay.borrow_mut().set_limit(spec.row_limit(*max));
        }
    }

    /// The store of that name, as a handle of type `S`: a [`KeyValueStore`], a [`WindowStore`], or that
    /// of another kind. Called once, when an operator is wired.
    ///
    /// # Errors
    /// `Internal` if there is none, or its kind has another handle.
    pub fn store<S: Clone + 'static>(&self, name: &str) -> Result<S> {
        let index = self.index(name)?;
        let handle = self.stores[index].store.handle().downcast_ref::<S>();
        handle.cloned().ok_or_else(|| {
            let (kind, wanted) = (self.specs[index].kind.rules().name(), type_name::<S>());
            Error::internal(format!(
                "store {name} of task {} is a {kind}, but was requested as {wanted}",
                self.task
            ))
        })
    }

    /// The key-value store of that name: [`TaskState::store`] of that kind.
    ///
    /// # Errors
    /// As there.
    pub fn key_value(&self, name: &str) -> Result<KeyValueStore> {
        self.store(name)
    }

    /// The window store of that name: [`TaskState::store`] of that kind.
    ///
    /// # Errors
    /// As there.
    pub fn window(&self, name: &str) -> Result<WindowStore> {
        self.store(name)
    }

    /// Calls `visit` with all rows that reading the store of that name returns, of whatever kind it is,
    /// in its order.
    ///
    /// # Errors
    /// `Internal` if there is none of that name; those of the backend and of `visit`.
    pub fn each_row(
        &self,
        name: &str,
        mut visit: impl FnMut(StoredRow<'_>) -> Result<()>,
    ) -> Result<()> {
        self.stores[self.index(name)?].store.each_row(&mut visit)
    }

    fn index(&self, name: &str) -> Result<usize> {
        let index = self.specs.iter().position(|spec| spec.name == name);
        index
            .ok_or_else(|| Error::internal(format!("task {} has no store named {name}", self.task)))
    }

    /// The time of that name; the same name refers to the same slot. Names that begin with `store/`
    /// belong to the stores.
    pub fn time(&self, name: &str) -> StoredTime {
        self.times.slot(name)
    }

    /// All its times by name.
    pub fn named_times(&self) -> NamedTimes {
        NamedTimes::of(&self.times)
    }

    /// Bytes of uncommitted data.
    pub fn dirty_bytes(&self) -> usize {
        let overlays = self.stores.iter().map(|store| &store.overlay);
        overlays.map(|rows| rows.borrow().dirty_bytes()).sum()
    }

    /// Bytes of cached committed rows, plus what those being read ahead may use.
    pub fn cached_bytes(&self) -> usize {
        let overlays = self.stores.iter().map(|store| &store.overlay);
        overlays.map(|rows| rows.borrow().clean_bytes()).sum()
    }

    /// The stores with their sizes. Queries the backend, some microseconds for each store.
    pub fn figures(&self) -> Vec<StoreFigures> {
        let backend = self.backend.borrow();
        let stores = self.specs.iter().zip(&self.stores);
        let figures = stores.map(|(spec, store)| {
            let overlay = store.overlay.borrow();
            StoreFigures {
                store: spec.name.clone(),
                rows: backend.figures(overlay.column()),
                dirty_bytes: overlay.dirty_bytes() as u64,
                cached_bytes: overlay.clean_bytes() as u64,
            }
        });
        figures.collect()
    }

    /// Whether there is an uncommitted change of a time.
    pub fn has_new_times(&self) -> bool {
        self.times.are_new()
    }

    /// A source of snapshots of the committed rows, usable on any thread: [`StoredState::of_snapshot`]
    /// reads one.
    ///
    /// [`StoredState::of_snapshot`]: super::StoredState::of_snapshot
    pub fn snapshots(&self) -> Arc<dyn Snapshots> {
        self.backend.borrow().snapshots()
    }

    /// Waits until everything committed is safely on disk; for a clean close.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn flush(&mut self) -> Result<()> {
        self.backend.borrow_mut().flush()
    }

    /// Whether the backend has found stored bytes to be damaged.
    pub fn is_damaged(&self) -> bool {
        self.backend.borrow().is_damaged()
    }
}

impl Drop for TaskState {
    /// Handles that outlive the state must not keep its directory open.
    fn drop(&mut self) {
        for store in &self.stores {
            store.store.close();
        }
        if let Ok(mut backend) = self.backend.try_borrow_mut() {
            *backend = Box::new(Closed);
        }
    }
}
