//! The rows of a global store: one task writes them, all others in the process read them on any thread.
//!
//! ```text
//!  the task's stores --one write a step--> GlobalBackend --> GlobalRows <-- readers
//!                                               |                |
//!                                               +--> RocksDB <---+ once they do not fit into memory
//! ```
//!
//! Without a disk they are in memory. With one they are on it, and in memory too as long as they fit, since a read
//! there costs a fraction. They are in no commit: readers see the rows of the last write.

use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::iter::is_empty_range;
use super::memory::{Column, copy_range};
use super::{Backend, Direction, PointReads, RowChange, Rows, Scan, Snapshots, SortedRows};
use crate::base::{Error, Result};

/// What a row in memory takes besides its bytes: two vectors, their allocations, and its share of a node.
const ROW_BYTES: usize = 96;

/// The rows of one global store. A clone refers to the same ones.
#[derive(Clone, Debug, Default)]
pub struct GlobalRows(Arc<RwLock<Place>>);

/// Where readers find the rows.
enum Place {
    Memory(InMemory),
    Disk(OnDisk),
}

#[derive(Debug, Default)]
struct InMemory {
    rows: Column,
    bytes: usize,
}

struct OnDisk {
    column: usize,
    reads: Arc<dyn PointReads>,
    snapshots: Arc<dyn Snapshots>,
}

impl Default for Place {
    fn default() -> Self {
        Self::Memory(InMemory::default())
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory(memory) => write!(f, "{} rows in memory", memory.rows.len()),
            Self::Disk(_) => f.write_str("rows on the disk"),
        }
    }
}

impl GlobalRows {
    fn read(&self) -> RwLockReadGuard<'_, Place> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Place> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_on_disk(&self) -> bool {
        matches!(*self.read(), Place::Disk(_))
    }

    /// Calls `read` with the row of `key` as of now.
    ///
    /// # Errors
    /// `Corrupt` if stored bytes are damaged, `Unavailable` if the disk does not answer.
    pub fn get<R>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        match &*self.read() {
            Place::Memory(memory) => Ok(read(memory.rows.get(key).map(Vec::as_slice))),
            Place::Disk(disk) => {
                let (mut read, mut found) = (Some(read), None);
                disk.reads.get_sorted(disk.column, &[key], &mut |row| {
                    found = read.take().map(|read| read(row));
                })?;
                found.ok_or_else(|| Error::internal("a read of a global row had no answer"))
            }
        }
    }

    /// The rows between two keys as of now, in the byte order of the keys; later writes do not show.
    ///
    /// # Errors
    /// As [`GlobalRows::get`].
    pub fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<Box<dyn Scan>> {
        match &*self.read() {
            Place::Memory(memory) => {
                let rows = &memory.rows;
                Ok(Box::new(copy_range(rows, from, to, direction, usize::MAX)))
            }
            Place::Disk(disk) => {
                let snapshot = disk.snapshots.snapshot()?;
                snapshot.scan(disk.column, from, to, direction)
            }
        }
    }

    /// Copies of the first of these rows, each with its key: as many as take `bytes_max`, but at least one. A scan of
    /// rows in memory copies all of them.
    ///
    /// # Errors
    /// As [`GlobalRows::get`].
    pub fn first(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        bytes_max: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let (mut first, mut bytes) = (Vec::new(), 0);
        let mut take = |key: &[u8], row: &[u8]| {
            bytes += size(key, row);
            first.push((key.to_vec(), row.to_vec()));
            bytes < bytes_max
        };
        if let Place::Memory(memory) = &*self.read() {
            if !is_empty_range(from, to) {
                let mut rows = memory.rows.range::<[u8], _>((from, to));
                while rows.next().is_some_and(|(key, row)| take(key, row)) {}
            }
            return Ok(first);
        }
        let mut rows = self.scan(from, to, Direction::Forward)?;
        while let Some((key, row)) = rows.next()?
            && take(key, row)
        {}
        Ok(first)
    }

    /// What the rows take of the memory, in bytes; nothing once they are on the disk alone.
    pub fn memory_bytes(&self) -> usize {
        match &*self.read() {
            Place::Memory(memory) => memory.bytes,
            Place::Disk(_) => 0,
        }
    }
}

impl InMemory {
    fn change(&mut self, change: RowChange<'_>) {
        match change {
            RowChange::Put(key, row) => self.put(key, row),
            RowChange::Delete(key) => self.delete(key),
            RowChange::DeleteRange(from, to) if from < to => {
                let mut middle = self.rows.split_off(from);
                let mut rest = middle.split_off(to);
                self.rows.append(&mut rest);
                let gone = middle.iter();
                self.bytes -= gone.map(|(key, row)| size(key, row)).sum::<usize>();
            }
            RowChange::DeleteRange(..) => {}
            RowChange::Clear => *self = Self::default(),
        }
    }

    fn put(&mut self, key: &[u8], row: &[u8]) {
        match self.rows.get_mut(key) {
            Some(old) => {
                self.bytes = self.bytes - old.len() + row.len();
                // The room of a row that was much larger is given back: it would not be counted.
                match old.capacity() > 2 * row.len() {
                    true => *old = row.to_vec(),
                    false => row.clone_into(old),
                }
            }
            None => {
                self.bytes += size(key, row);
                self.rows.insert(key.to_vec(), row.to_vec());
            }
        }
    }

    fn delete(&mut self, key: &[u8]) {
        if let Some(row) = self.rows.remove(key) {
            self.bytes -= size(key, &row);
        }
    }
}

fn size(key: &[u8], row: &[u8]) -> usize {
    key.len() + row.len() + ROW_BYTES
}

/// The backend of the task that fills global stores: what it writes is what readers see.
pub struct GlobalBackend {
    /// By column; the last one has the task's own rows, which nobody else reads.
    columns: Vec<GlobalRows>,
    /// With everything that was written; `None` for state in memory.
    disk: Option<Box<dyn Backend>>,
    memory_bytes_max: usize,
}

impl std::fmt::Debug for GlobalBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("GlobalBackend").field(&self.columns).finish()
    }
}

impl GlobalBackend {
    /// A backend in memory that publishes the stores' rows in `stores`, given in the order of the task's stores.
    pub fn in_memory(stores: impl IntoIterator<Item = GlobalRows>) -> Self {
        let own = GlobalRows::default();
        Self {
            columns: stores.into_iter().chain([own]).collect(),
            disk: None,
            memory_bytes_max: usize::MAX,
        }
    }

    /// As [`GlobalBackend::in_memory`], over an empty backend on a disk. Once the rows of all stores take more than
    /// `memory_bytes_max`, they stay on the disk alone.
    pub fn on_disk(
        stores: impl IntoIterator<Item = GlobalRows>,
        disk: Box<dyn Backend>,
        memory_bytes_max: usize,
    ) -> Self {
        Self {
            disk: Some(disk),
            memory_bytes_max,
            ..Self::in_memory(stores)
        }
    }

    fn rows(&self, column: usize) -> Result<&GlobalRows> {
        let rows = self.columns.get(column);
        rows.ok_or_else(|| Error::internal(format!("global stores have no column {column}")))
    }

    /// Moves readers to the disk if the rows do not fit into memory.
    fn spill(&self) {
        let in_memory = self.columns.iter().map(GlobalRows::memory_bytes);
        if in_memory.sum::<usize>() <= self.memory_bytes_max {
            return;
        }
        let Some(disk) = &self.disk else { return };
        let Some(reads) = disk.reads() else { return };
        for (column, rows) in self.columns.iter().enumerate() {
            let on_disk = Place::Disk(OnDisk {
                column,
                reads: Arc::clone(&reads),
                snapshots: disk.snapshots(),
            });
            // The rows are freed at the end of the round, when readers can go on.
            let _freed = std::mem::replace(&mut *rows.change(), on_disk);
        }
    }
}

impl Backend for GlobalBackend {
    fn get(&self, column: usize, key: &[u8], into: &mut Vec<u8>) -> Result<bool> {
        into.clear();
        self.rows(column)?.get(key, |row| {
            into.extend_from_slice(row.unwrap_or_default());
            row.is_some()
        })
    }

    fn scan(
        &self,
        column: usize,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<Box<dyn Scan>> {
        self.rows(column)?.scan(from, to, direction)
    }

    fn snapshots(&self) -> Arc<dyn Snapshots> {
        Arc::new(NoSnapshots)
    }

    fn prefers_sorted(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.prefers_sorted())
    }

    fn write(&mut self, batch: &Rows) -> Result<()> {
        if let Some(disk) = &mut self.disk {
            disk.write(batch)?;
        }
        // All move there at once.
        if self.columns.iter().all(GlobalRows::is_on_disk) {
            return Ok(());
        }
        let mut changes = batch.changes().peekable();
        while let Some(&(column, _)) = changes.peek() {
            let mut place = self.rows(column)?.change();
            // Readers see the changes of a run at once.
            while let Some((_, change)) = changes.next_if(|(other, _)| *other == column) {
                if let Place::Memory(memory) = &mut *place {
                    memory.change(change);
                }
            }
        }
        self.spill();
        Ok(())
    }

    fn ingest(&mut self, column: usize, rows: &SortedRows) -> Result<()> {
        let mut batch = Rows::default();
        for (key, row) in rows.iter() {
            match row {
                Some(row) => batch.put(column, key, row),
                None => batch.delete(column, key),
            }
        }
        self.write(&batch)
    }

    fn flush(&mut self) -> Result<()> {
        self.disk.as_mut().map_or(Ok(()), |disk| disk.flush())
    }

    fn is_damaged(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.is_damaged())
    }
}

/// Queries read [`GlobalRows`], since these rows belong to no commit.
struct NoSnapshots;

impl Snapshots for NoSnapshots {
    fn snapshot(&self) -> Result<Box<dyn Backend>> {
        Err(Error::internal("a snapshot of global stores was asked for"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(changes: &[(&[u8], Option<&[u8]>)]) -> (GlobalBackend, GlobalRows) {
        let rows = GlobalRows::default();
        let mut backend = GlobalBackend::in_memory([rows.clone()]);
        let mut batch = Rows::default();
        for (key, row) in changes {
            match row {
                Some(row) => batch.put(0, key, row),
                None => batch.delete(0, key),
            }
        }
        backend.write(&batch).expect("written");
        (backend, rows)
    }

    #[test]
    fn what_rows_take_is_counted_and_given_back() {
        let large = vec![b'x'; 100_000];
        let (mut backend, rows) = written(&[(b"a", Some(&large)), (b"b", Some(b"row"))]);
        assert_eq!(rows.memory_bytes(), 100_001 + 4 + 2 * ROW_BYTES);
        let mut batch = Rows::default();
        batch.put(0, b"a", b"small");
        backend.write(&batch).expect("written");
        assert_eq!(rows.memory_bytes(), 6 + 4 + 2 * ROW_BYTES);
        let room = match &*rows.read() {
            Place::Memory(memory) => memory.rows[&b"a"[..]].capacity(),
            Place::Disk(_) => usize::MAX,
        };
        assert!(room < 100, "{room}");
        let mut batch = Rows::default();
        batch.delete(0, b"b");
        batch.delete_range(0, b"a", b"b");
        backend.write(&batch).expect("written");
        assert_eq!(rows.memory_bytes(), 0);
        assert!(rows.get(b"a", |row| row.is_none()).expect("readable"));
    }

    #[test]
    fn the_first_rows_end_by_bytes_and_are_at_least_one() {
        let (_backend, rows) = written(&[
            (b"a", Some(&[0; 1_000])),
            (b"b", Some(&[0; 1_000])),
            (b"c", Some(&[0; 1_000])),
            (b"d", None),
        ]);
        let first = |from: &[u8], bytes| {
            let first = rows.first(Bound::Excluded(from), Bound::Unbounded, bytes);
            let keys = first.expect("readable").into_iter().map(|(key, _)| key);
            keys.flatten().collect::<Vec<u8>>()
        };
        assert_eq!(first(b"", 1), b"a");
        assert_eq!(first(b"a", 1_500), b"bc");
        assert_eq!(first(b"", usize::MAX), b"abc");
        assert_eq!(first(b"c", 1), b"");
    }
}
