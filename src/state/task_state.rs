//! All the state of a task, and how it commits.
//!
//! The runtime calls, in this order:
//! 1. [`TaskState::seal`]: what was written becomes the committing generation; the task goes on.
//! 2. [`TaskState::changelog`] for each store and the task changelog: the records of that generation,
//!    which go to the log in one transaction with outputs and input offsets.
//! 3. [`TaskState::applied`] once the commit is definite: rows, positions and times go to the backend
//!    in one write. Or [`TaskState::rollback`] when it was aborted.

use std::cell::RefCell;
use std::rc::Rc;

use super::backend::Closed;
use super::key_value::KeyValueStore;
use super::meta::{self, Identity};
use super::restore::Restoring;
use super::table::{SharedBackend, SharedTable, Table};
use super::times::{TASK_TIME, TimeSlot, Times};
use super::window::{WindowStore, too_short};
use super::{Backend, NO_TIME, Rows, StoreKind, StoreSpec};
use crate::base::{Error, Offset, Result, TaskId};
use crate::log::BatchBuilder;

/// Memory for committed rows that a task keeps at hand, unless told otherwise.
const CACHE_BYTES: usize = 32 << 20;

#[derive(Debug)]
pub(super) enum Store {
    KeyValue(KeyValueStore),
    Window(WindowStore),
}

impl Store {
    pub(super) fn table(&self) -> &SharedTable {
        match self {
            Self::KeyValue(store) => store.table(),
            Self::Window(store) => store.table(),
        }
    }
}

/// The stores of a task, its times, and its positions on their changelogs. Owned by one thread.
pub struct TaskState {
    pub(super) task: TaskId,
    pub(super) specs: Vec<StoreSpec>,
    pub(super) stores: Vec<Store>,
    pub(super) backend: SharedBackend,
    pub(super) times: Times,
    /// Of each store's changelog, and last of the task changelog: the offset up to which the backend
    /// has it.
    pub(super) positions: Vec<Option<Offset>>,
    /// Number of changelog records of each store in the committing generation.
    records: Vec<usize>,
    /// Between seal and applied or rollback.
    in_flight: bool,
    marked: bool,
    pub(super) restoring: Restoring,
    pub(super) rows: Rows,
    scratch: Vec<u8>,
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
    /// Opens the state of `task` in `backend`, whose columns are the stores in the order of `specs`
    /// and one more. Rows that were made from another log are dropped, to be restored.
    ///
    /// # Errors
    /// `Invalid` if a store was written under other rules, or by another application; `Corrupt` if
    /// the format is newer or the bytes are damaged. The messages say what to do.
    pub fn open(
        task: &TaskId,
        specs: &[StoreSpec],
        backend: Box<dyn Backend>,
        identity: &Identity,
    ) -> Result<Self> {
        let backend: SharedBackend = Rc::new(RefCell::new(backend));
        let times = Times::default();
        let cache_bytes = CACHE_BYTES / specs.len().max(1);
        let open_store = |(column, spec): (usize, &StoreSpec)| {
            let table = Table::new(column, Rc::clone(&backend), cache_bytes);
            let table = Rc::new(RefCell::new(table));
            match &spec.kind {
                StoreKind::KeyValue => Store::KeyValue(KeyValueStore::new(table)),
                StoreKind::Window(rules) => Store::Window(WindowStore::new(
                    &spec.name,
                    table,
                    rules,
                    spec.medium,
                    &times,
                )),
            }
        };
        let stores = specs.iter().enumerate().map(open_store).collect();
        let mut state = Self {
            task: task.clone(),
            specs: specs.to_vec(),
            stores,
            backend,
            times,
            positions: vec![None; specs.len() + 1],
            records: vec![0; specs.len() + 1],
            in_flight: false,
            marked: false,
            restoring: Restoring::default(),
            rows: Rows::default(),
            scratch: Vec::new(),
        };
        state
            .load(identity)
            .map_err(|error| error.context(format!("state of task {task}")))?;
        Ok(state)
    }

    /// Reads the meta rows, or writes the first ones.
    fn load(&mut self, identity: &Identity) -> Result<()> {
        let column = self.meta_column();
        let mut row = Vec::new();
        let known = self.backend.borrow().get(column, meta::TASK, &mut row)?;
        let mut fresh = !known;
        if known {
            let found = meta::decode_identity(&row)?;
            if found.application != identity.application {
                return Err(Error::invalid(format!(
                    "the state on the disk belongs to application {}, and this is {}; give each \
                     application a state directory of its own",
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
            if !fresh && self.backend.borrow().get(column, &key, &mut row)? {
                meta::check_descriptor(spec, &row)?;
            } else {
                self.rows.clear_column(index);
                self.rows
                    .put(column, &key, meta::descriptor(spec).as_bytes());
            }
        }
        if !self.rows.is_empty() {
            self.backend.borrow_mut().write(&self.rows)?;
            self.rows.clear();
        }
        for index in 0..=self.specs.len() {
            let key = self.position_key(index);
            if self.backend.borrow().get(column, &key, &mut row)? {
                self.positions[index] = Some(meta::number(&row)?);
            }
        }
        self.load_times()?;
        (0..self.specs.len()).try_for_each(|index| self.load_segments(index))
    }

    fn load_times(&self) -> Result<()> {
        let backend = self.backend.borrow();
        meta::each_number(&**backend, self.meta_column(), meta::TIMES, |name, time| {
            self.times
                .slot(&String::from_utf8_lossy(name))
                .restore(time);
        })
    }

    fn load_segments(&self, index: usize) -> Result<()> {
        let Store::Window(store) = &self.stores[index] else {
            return Ok(());
        };
        let mut segments = std::collections::BTreeMap::new();
        let prefix = meta::segments_prefix(&self.specs[index].name);
        let backend = self.backend.borrow();
        meta::each_number(&**backend, self.meta_column(), &prefix, |segment, first| {
            if let Ok(segment) = segment.try_into() {
                segments.insert(i64::from_be_bytes(segment), Some(first));
            }
        })?;
        store.set_segments(segments);
        Ok(())
    }

    pub(super) fn meta_column(&self) -> usize {
        self.specs.len()
    }

    pub(super) fn position_key(&self, index: usize) -> Vec<u8> {
        meta::position_key(self.specs.get(index).map(|spec| &spec.name[..]))
    }

    /// The task.
    pub fn task(&self) -> &TaskId {
        &self.task
    }

    /// The stores, in order.
    pub fn specs(&self) -> &[StoreSpec] {
        &self.specs
    }

    /// Sets how many bytes of committed rows are kept at hand, over all stores.
    pub fn set_cache_bytes(&mut self, cache_bytes: usize) {
        let share = cache_bytes / self.stores.len().max(1);
        for store in &self.stores {
            store.table().borrow_mut().set_cache_bytes(share);
        }
    }

    /// The key-value store of that name.
    ///
    /// # Errors
    /// `Internal` if there is none, or it is of another kind.
    pub fn key_value(&self, name: &str) -> Result<KeyValueStore> {
        match self.store(name)? {
            Store::KeyValue(store) => Ok(store.clone()),
            Store::Window(_) => Err(Error::internal(format!(
                "store {name} of task {} is a window store, not a key-value store",
                self.task
            ))),
        }
    }

    /// The window store of that name.
    ///
    /// # Errors
    /// `Internal` if there is none, or it is of another kind.
    pub fn window(&self, name: &str) -> Result<WindowStore> {
        match self.store(name)? {
            Store::Window(store) => Ok(store.clone()),
            Store::KeyValue(_) => Err(Error::internal(format!(
                "store {name} of task {} is a key-value store, not a window store",
                self.task
            ))),
        }
    }

    fn store(&self, name: &str) -> Result<&Store> {
        let index = self.specs.iter().position(|spec| spec.name == name);
        index
            .map(|index| &self.stores[index])
            .ok_or_else(|| Error::internal(format!("task {} has no store named {name}", self.task)))
    }

    /// The time of that name; the same name is the same slot. Names that begin with `store/` are the
    /// stores' own.
    pub fn time(&self, name: &str) -> TimeSlot {
        self.times.slot(name)
    }

    /// Bytes held by what is not committed yet.
    pub fn dirty_bytes(&self) -> usize {
        let tables = self.stores.iter().map(Store::table);
        tables.map(|table| table.borrow().dirty_bytes()).sum()
    }

    /// Makes what was written since the last call the committing generation.
    ///
    /// # Errors
    /// `Internal` if one is in flight, or a mark is set.
    pub fn seal(&mut self) -> Result<()> {
        if self.in_flight || self.marked {
            return Err(Error::internal(format!(
                "task {} commits while a commit is in flight or a record is half done",
                self.task
            )));
        }
        for store in &self.stores {
            store.table().borrow_mut().seal();
        }
        self.times.seal();
        self.records.fill(0);
        self.in_flight = true;
        Ok(())
    }

    /// Appends the changelog records of the committing generation to `out`: one for each row of the
    /// store that changed, none if it is not logged. The store after the last is the task changelog.
    ///
    /// # Errors
    /// `Internal` if no commit is in flight or there is no such store; `Corrupt` if a row is not laid
    /// out as its store says.
    pub fn changelog(&mut self, store: usize, out: &mut BatchBuilder) -> Result<()> {
        if !self.in_flight || store > self.specs.len() {
            return Err(Error::internal(format!(
                "task {} has no changelog {store} to commit",
                self.task
            )));
        }
        let before = out.len();
        let task_time_ms = self.times.slot(TASK_TIME).sealed().max(0);
        if store == self.specs.len() {
            self.times.changes(|name, time| {
                let value = (time != NO_TIME).then(|| time.to_be_bytes());
                let value = value.as_ref().map(<[u8; 8]>::as_slice);
                out.push(Some(name.as_bytes()), value, task_time_ms, &[]);
            });
        } else if self.specs[store].logged {
            self.store_changelog(store, task_time_ms, out)?;
        }
        self.records[store] = out.len() - before;
        Ok(())
    }

    fn store_changelog(
        &mut self,
        index: usize,
        task_time_ms: i64,
        out: &mut BatchBuilder,
    ) -> Result<()> {
        let spec = &self.specs[index];
        let store = &self.stores[index];
        let key_scratch = &mut self.scratch;
        for (row_key, row) in store.table().borrow().committing() {
            let (key, mut timestamp_ms) = match store {
                Store::KeyValue(_) => (row_key, task_time_ms),
                Store::Window(window) => {
                    let parts = window.layout().parts(row_key);
                    let parts = parts.ok_or_else(|| too_short(row_key))?;
                    parts.changelog_key(key_scratch);
                    (&key_scratch[..], parts.start_ms)
                }
            };
            let mut value = row;
            if spec.timestamped
                && let Some(row) = row
            {
                let Some((prefix, rest)) = row.split_first_chunk::<8>() else {
                    return Err(Error::corrupt(format!(
                        "a row of store {} of task {} has no timestamp",
                        spec.name, self.task
                    )));
                };
                timestamp_ms = i64::from_be_bytes(*prefix);
                value = Some(rest);
            }
            out.push(Some(key), value, timestamp_ms, &[]);
        }
        Ok(())
    }

    /// The commit is definite: writes the committing generation, the positions and the times to the
    /// backend, in one write. `ends` has the offset after the last record for each store's changelog
    /// and last for the task changelog; `None` where nothing was appended.
    ///
    /// # Errors
    /// Those of the backend. The state is then of no further use: drop it and open it again.
    /// `Internal` if no commit is in flight, or a mark is set.
    pub fn applied(&mut self, ends: &[Option<Offset>]) -> Result<()> {
        if !self.in_flight || self.marked || ends.len() != self.positions.len() {
            return Err(Error::internal(format!(
                "task {} applies a commit that is not in flight, or in the middle of a record, or \
                 with {} ends instead of {}",
                self.task,
                ends.len(),
                self.positions.len()
            )));
        }
        let meta_column = self.meta_column();
        let mut rows = std::mem::take(&mut self.rows);
        rows.clear();
        for (index, store) in self.stores.iter().enumerate() {
            let table = store.table().borrow();
            for (key, row) in table.committing() {
                match row {
                    Some(row) => rows.put(table.column(), key, row),
                    None => rows.delete(table.column(), key),
                }
            }
            if let Store::Window(window) = store
                && table.committing_len() > 0
            {
                let records = self.records[index] as Offset;
                let first = ends[index].map_or(0, |end| end - records);
                self.expire(index, window, first, &mut rows);
            }
        }
        for (index, end) in ends.iter().enumerate() {
            if let Some(end) = end {
                rows.put(meta_column, &self.position_key(index), &end.to_be_bytes());
            }
        }
        self.times.changes(|name, time| {
            let key = [meta::TIMES, name.as_bytes()];
            match time {
                NO_TIME => rows.delete(meta_column, &key.concat()),
                time => rows.put_parts(meta_column, &key, &[&time.to_be_bytes()]),
            }
        });
        let written = match rows.is_empty() {
            true => Ok(()),
            false => self.backend.borrow_mut().write(&rows),
        };
        rows.clear();
        self.rows = rows;
        written.map_err(|error| error.context(format!("state of task {}", self.task)))?;
        for (position, end) in self.positions.iter_mut().zip(ends) {
            *position = end.or(*position);
        }
        for store in &self.stores {
            store.table().borrow_mut().committed();
        }
        self.times.committed();
        self.in_flight = false;
        Ok(())
    }

    /// Records the segments that are new, the first of their records at `first` or later, and removes
    /// those without live rows.
    fn expire(&self, index: usize, window: &WindowStore, first: Offset, rows: &mut Rows) {
        let meta_column = self.meta_column();
        let prefix = meta::segments_prefix(&self.specs[index].name);
        for (segment, known) in window.segments().borrow_mut().iter_mut() {
            if known.is_none() {
                *known = Some(first);
                let key = [&prefix[..], &segment.to_be_bytes()];
                rows.put_parts(meta_column, &key, &[&first.to_be_bytes()]);
            }
        }
        let first_live = window.first_live_segment_sealed();
        let dead = window.drop_segments_below(first_live);
        if let Some(first_dead) = dead.first() {
            let column = window.table().borrow().column();
            rows.delete_range(column, &first_dead.to_be_bytes(), &first_live.to_be_bytes());
        }
        for segment in dead {
            rows.delete(meta_column, &[&prefix[..], &segment.to_be_bytes()].concat());
        }
    }

    /// The commit was aborted: forgets everything that is not committed.
    ///
    /// # Errors
    /// None at present.
    pub fn rollback(&mut self) -> Result<()> {
        for store in &self.stores {
            store.table().borrow_mut().rollback();
        }
        self.times.rollback();
        self.in_flight = false;
        self.marked = false;
        Ok(())
    }

    /// Remembers this point, to which [`TaskState::undo_to_mark`] goes back. Another mark replaces it.
    pub fn mark(&mut self) {
        for store in &self.stores {
            store.table().borrow_mut().mark();
        }
        self.times.mark();
        self.marked = true;
    }

    /// Takes back all writes and times since the mark, and clears it.
    ///
    /// # Errors
    /// `Internal` if no mark is set.
    pub fn undo_to_mark(&mut self) -> Result<()> {
        if !self.marked {
            return Err(Error::internal(format!(
                "task {} undoes a record without a mark",
                self.task
            )));
        }
        for store in &self.stores {
            store.table().borrow_mut().undo_to_mark();
        }
        self.times.undo_to_mark();
        self.clear_mark();
        Ok(())
    }

    /// Forgets the mark: what was written since stays.
    pub fn clear_mark(&mut self) {
        for store in &self.stores {
            store.table().borrow_mut().clear_mark();
        }
        self.marked = false;
    }

    /// Waits until everything committed is on the disk for good; for a clean close.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn flush(&mut self) -> Result<()> {
        self.backend.borrow_mut().flush()
    }
}

impl Drop for TaskState {
    /// Handles that outlive the state must not keep its directory open.
    fn drop(&mut self) {
        if let Ok(mut backend) = self.backend.try_borrow_mut() {
            *backend = Box::new(Closed);
        }
    }
}
