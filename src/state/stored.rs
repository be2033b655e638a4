//! The content of a task's backend, without the stores over it: it is opened and restored on any thread,
//! and then passed to the worker that owns the task.
//!
//! ```text
//!  any thread                                                  the worker's
//!  StoredState::open --> begin_restore, restore, end_restore --> into_state: TaskState
//! ```
//!
//! A [`TaskState`] stays on its thread, since its stores share data without locks.

mod replay;
mod restore;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use self::restore::Restoring;
use super::kind::{Mapping, Opened, Site};
use super::marks::Marks;
use super::meta::{self, Identity, Position};
use super::table::SharedBackend;
use super::task_state::TaskState;
use super::times::Times;
use super::{Backend, NO_TIME, Rows, SortedRows, StoreSpec};
use crate::base::{Error, Offset, Result, TaskId};

/// Memory for a task's cached committed rows, unless set otherwise.
const CACHE_BYTES: usize = 32 << 20;
/// Restored rows are written to the backend in parts of about this size, unless set otherwise.
const PART_BYTES: usize = 4 << 20;

/// The committed rows of a task, its times and its positions. It can be sent between threads.
pub struct StoredState {
    pub(super) task: TaskId,
    pub(super) specs: Vec<StoreSpec>,
    /// Between the rows of each store and its changelog.
    pub(super) mappings: Vec<Box<dyn Mapping>>,
    pub(super) backend: Box<dyn Backend>,
    pub(super) times: BTreeMap<String, i64>,
    /// Of each store whose rows expire: its segments, with the first offset of each on the changelog.
    pub(super) segments: Vec<BTreeMap<i64, Offset>>,
    pub(super) positions: Vec<Option<Position>>,
    pub(super) wall_ms: i64,
    pub(super) restoring: Restoring,
    pub(super) part_bytes: usize,
    /// Restored rows of the store, and the task's own, that are not written yet.
    pub(super) sorted: SortedRows,
    pub(super) rows: Rows,
}

impl std::fmt::Debug for StoredState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredState")
            .field("task", &self.task)
            .field("positions", &self.positions)
            .finish_non_exhaustive()
    }
}

impl StoredState {
    /// Opens the state of `task` in `backend`, whose columns are the stores in the order of `specs` and
    /// one more. Rows that were made from another log are dropped, to be restored.
    ///
    /// # Errors
    /// `Invalid` if a store was written under other rules, or by another application; `Corrupt` if the
    /// format is newer or the bytes are damaged. The messages say what to do.
    pub fn open(
        task: &TaskId,
        specs: &[StoreSpec],
        backend: Box<dyn Backend>,
        identity: &Identity,
    ) -> Result<Self> {
        let mut stored = Self::new(task, specs, backend);
        stored
            .load(identity)
            .map_err(|error| error.context("its state"))?;
        Ok(stored)
    }

    /// The state of `task` in a snapshot of its backend, for reading only.
    ///
    /// # Errors
    /// `Corrupt` if bytes are damaged.
    pub fn of_snapshot(
        task: &TaskId,
        specs: &[StoreSpec],
        snapshot: Box<dyn Backend>,
    ) -> Result<Self> {
        let mut stored = Self::new(task, specs, snapshot);
        stored.read_meta()?;
        Ok(stored)
    }

    /// The task.
    pub fn task(&self) -> &TaskId {
        &self.task
    }

    /// The name of a store by its place; empty for the task's own rows, which come after all stores.
    pub fn store_name(&self, store: usize) -> &str {
        self.specs.get(store).map_or("", |spec| &spec.name)
    }

    fn new(task: &TaskId, specs: &[StoreSpec], backend: Box<dyn Backend>) -> Self {
        let mapping = |spec: &StoreSpec| spec.kind.rules().mapping(spec.store_type);
        Self {
            task: task.clone(),
            specs: specs.to_vec(),
            mappings: specs.iter().map(mapping).collect(),
            backend,
            times: BTreeMap::new(),
            segments: vec![BTreeMap::new(); specs.len()],
            positions: vec![None; specs.len() + 1],
            wall_ms: 0,
            restoring: Restoring::default(),
            part_bytes: PART_BYTES,
            sorted: SortedRows::default(),
            rows: Rows::default(),
        }
    }

    /// Reads the meta rows, or writes the first ones.
    fn load(&mut self, identity: &Identity) -> Result<()> {
        let column = self.meta_column();
        let mut row = Vec::new();
        let known = self.backend.get(column, meta::TASK, &mut row)?;
        let mut fresh = !known;
        if known {
            let found = meta::decode_identity(&row)?;
            if found.application != identity.application {
                return Err(Error::invalid(format!(
                    "the state on disk belongs to application {}, but this is {}; give each application a \
                     state directory of its own",
                    found.application, identity.application
                )));
            }
            fresh = found.log_incarnation != identity.log_incarnation;
        }
        self.rows.clear();
        if fresh {
            (0..=column).for_each(|column| self.rows.clear_column(column));
            let row = meta::encode_identity(identity);
            self.rows.put(column, meta::TASK, &row);
        }
        for (index, spec) in self.specs.iter().enumerate() {
            let key = meta::descriptor_key(&spec.name);
            if !fresh && self.backend.get(column, &key, &mut row)? {
                meta::check_descriptor(spec, &row)?;
            } else {
                self.rows.clear_column(index);
                self.rows
                    .put(column, &key, meta::descriptor(spec).as_bytes());
            }
        }
        if !self.rows.is_empty() {
            self.backend.write(&self.rows)?;
            self.rows.clear();
        }
        self.read_meta()
    }

    /// Reads positions, times and segments.
    fn read_meta(&mut self) -> Result<()> {
        let column = self.meta_column();
        let mut row = Vec::new();
        for index in 0..=self.specs.len() {
            let key = self.position_key(index);
            if self.backend.get(column, &key, &mut row)? {
                self.positions[index] = Some(Position::decode(&row)?);
            }
        }
        let times = &mut self.times;
        meta::each_number(&*self.backend, column, meta::TIMES, |name, time| {
            times.insert(String::from_utf8_lossy(name).into_owned(), time);
        })?;
        (0..self.specs.len()).try_for_each(|index| self.load_segments(index))
    }

    fn load_segments(&mut self, index: usize) -> Result<()> {
        let prefix = meta::segments_prefix(&self.specs[index].name);
        let column = self.meta_column();
        let segments = &mut self.segments[index];
        meta::each_number(&*self.backend, column, &prefix, |segment, first| {
            if let Ok(segment) = segment.try_into() {
                segments.insert(i64::from_be_bytes(segment), first);
            }
        })
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

    /// Sets how many bytes of restored rows wait in memory until they are written.
    pub fn set_part_bytes(&mut self, part_bytes: usize) {
        self.part_bytes = part_bytes;
    }

    /// From where the store's changelog must be read; `None` is its beginning. The store after the last
    /// is the task changelog.
    pub fn position(&self, store: usize) -> Option<Offset> {
        Some(self.positions.get(store).copied().flatten()?.offset)
    }

    /// When the rows were at [`StoredState::position`], by the wall clock, in milliseconds since 1970.
    /// Deletions that were older than the topic's `delete_retention_ms` by then cannot be missing; later
    /// ones can, once that time has passed.
    pub fn position_at_ms(&self, store: usize) -> Option<i64> {
        Some(self.positions.get(store).copied().flatten()?.at_ms)
    }

    /// Waits until everything restored is safely on disk.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn flush(&mut self) -> Result<()> {
        self.backend.flush()
    }

    /// The stores over these rows, for the calling thread.
    pub fn into_state(self) -> TaskState {
        let backend: SharedBackend = Rc::new(RefCell::new(self.backend));
        let times = Times::default();
        for (name, time) in &self.times {
            if *time != NO_TIME {
                times.slot(name).restore(*time);
            }
        }
        let cache_bytes = CACHE_BYTES / self.specs.len().max(1);
        let store = |(column, spec): (usize, &StoreSpec)| {
            let segments = self.segments[column].iter();
            let site = Site {
                name: &spec.name,
                column,
                backend: Rc::clone(&backend),
                cache_bytes,
                store_type: spec.store_type,
                times: &times,
                segments: segments.map(|(at, first)| (*at, Some(*first))).collect(),
            };
            Opened::new(&spec.kind, site)
        };
        let stores: Vec<Opened> = self.specs.iter().enumerate().map(store).collect();
        let overlays = stores.iter().map(Opened::overlay);
        let marks = Marks::new(overlays.collect(), times.clone());
        TaskState {
            records: vec![0; self.specs.len() + 1],
            task: self.task,
            specs: self.specs,
            stores,
            backend,
            times,
            positions: self.positions,
            wall_ms: self.wall_ms,
            in_flight: false,
            marks,
            rows: self.rows,
            scratch: Vec::new(),
        }
    }
}

impl TaskState {
    /// Opens the state of `task` in `backend`: [`StoredState::open`] and [`StoredState::into_state`] in one.
    ///
    /// # Errors
    /// As [`StoredState::open`].
    pub fn open(
        task: &TaskId,
        specs: &[StoreSpec],
        backend: Box<dyn Backend>,
        identity: &Identity,
    ) -> Result<Self> {
        Ok(StoredState::open(task, specs, backend, identity)?.into_state())
    }
}
