//! Committed rows in RocksDB: one database per task, one column family per store.
//!
//! There is no write-ahead log, since the changelog serves as one; all columns are flushed together, so
//! that the disk always holds some committed prefix.

use std::cell::RefCell;
use std::fmt;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use super::{
    Backend, Direction, PointReads, RowChange, RowFigures, Rows, Scan, Snapshots, SortedRows,
    StoreSpec,
};
use crate::base::{Error, Result};
use crate::disk::{Budget, Column, Database, Durability, Figure, Iter, Options, Range, Snapshot};

/// The column of the task's own rows. No store can have this name: a slash is illegal in topics.
const META_COLUMN: &str = "/task";

/// The rows of one task in a directory.
pub struct RocksBackend {
    database: Database,
    /// By column: a walk over its rows as of the last write. Creating one costs more than reading a few
    /// rows.
    walks: RefCell<Vec<Option<Iter>>>,
}

impl fmt::Debug for RocksBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RocksBackend")
            .field(&self.database.path())
            .finish()
    }
}

impl RocksBackend {
    /// Opens the directory of a task with these stores, creating what is missing. Columns of stores that
    /// the topology no longer has are left unchanged.
    ///
    /// # Errors
    /// `Unavailable` while another process has it open; `Invalid` if it is not writable; `Full` if the
    /// disk is; `Corrupt` if its files are damaged: then delete it, and it will be rebuilt.
    pub fn open(path: &Path, specs: &[StoreSpec], budget: &Budget) -> Result<Self> {
        let stores = specs.iter().map(|spec| spec.name.clone());
        let database = Database::open(&Options {
            path: path.to_owned(),
            columns: stores.chain([META_COLUMN.to_owned()]).collect(),
            budget,
            write_ahead: false,
        })?;
        Ok(Self {
            database,
            walks: RefCell::default(),
        })
    }

    /// Size of files and write buffers, in bytes; approximate.
    pub fn size_bytes(&self) -> u64 {
        self.database.size_bytes()
    }
}

fn range_of(from: Bound<&[u8]>, to: Bound<&[u8]>) -> Range {
    Range {
        from: match from {
            Bound::Included(key) => Some(key.to_vec()),
            Bound::Excluded(key) => Some(after(key)),
            Bound::Unbounded => None,
        },
        to: match to {
            Bound::Included(key) => Some(after(key)),
            Bound::Excluded(key) => Some(key.to_vec()),
            Bound::Unbounded => None,
        },
    }
}

/// The smallest key above `key`.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

impl Backend for RocksBackend {
    fn get(&self, column: usize, key: &[u8], into: &mut Vec<u8>) -> Result<bool> {
        self.database.get(Column(column), key, into)
    }

    fn scan(
        &self,
        column: usize,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<Box<dyn Scan>> {
        let range = range_of(from, to);
        let iter = match direction {
            Direction::Forward => self.database.iter(Column(column), range)?,
            Direction::Backward => self.database.iter_back(Column(column), range)?,
        };
        Ok(Box::new(iter))
    }

    fn read_range(
        &self,
        column: usize,
        (from, to): (&[u8], &[u8]),
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        let mut walks = self.walks.borrow_mut();
        if walks.len() <= column {
            walks.resize_with(column + 1, || None);
        }
        let walk = match &mut walks[column] {
            Some(walk) => walk,
            none => none.insert(self.database.iter(Column(column), Range::all())?),
        };
        walk.seek(from);
        while let Some((key, row)) = walk.next()?
            && key <= to
            && visit(key, row)
        {}
        Ok(())
    }

    fn is_damaged(&self) -> bool {
        self.database.is_damaged()
    }

    fn reads(&self) -> Option<Arc<dyn PointReads>> {
        Some(Arc::new(RocksReads(self.database.clone())))
    }

    fn snapshots(&self) -> Arc<dyn Snapshots> {
        Arc::new(RocksReads(self.database.clone()))
    }

    fn figures(&self, column: usize) -> RowFigures {
        let of = |figure| self.database.figure(Column(column), figure);
        RowFigures {
            rows: of(Figure::Rows),
            bytes: of(Figure::LiveBytes),
            file_bytes: of(Figure::FileBytes),
            buffer_bytes: of(Figure::BufferBytes),
            compaction_bytes: of(Figure::CompactionBytes),
        }
    }

    /// Neighbours are found from one another.
    fn prefers_sorted(&self) -> bool {
        true
    }

    fn write(&mut self, batch: &Rows) -> Result<()> {
        self.walks.get_mut().clear();
        let mut rocks = self.database.batch();
        for (column, change) in batch.changes() {
            let column = Column(column);
            match change {
                RowChange::Put(key, row) => rocks.put(column, key, row),
                RowChange::Delete(key) => rocks.delete(column, key),
                RowChange::DeleteRange(from, to) => rocks.delete_range(column, from, to),
                RowChange::Clear => {
                    // Invariant: within a batch, a column is cleared before anything is put into it, so
                    // the rows in the database are all there are.
                    let mut last = self.database.iter_back(column, Range::all())?;
                    if let Some((key, _)) = last.next()? {
                        rocks.delete_range(column, &[], &after(key));
                    }
                }
            }
        }
        self.database.write(rocks, Durability::Unlogged)
    }

    fn ingest(&mut self, column: usize, rows: &SortedRows) -> Result<()> {
        self.walks.get_mut().clear();
        self.database.ingest(Column(column), rows.iter())
    }

    fn flush(&mut self) -> Result<()> {
        self.database.flush()
    }
}

struct RocksReads(Database);

impl PointReads for RocksReads {
    fn get_sorted(
        &self,
        column: usize,
        keys: &[&[u8]],
        visit: &mut dyn FnMut(Option<&[u8]>),
    ) -> Result<()> {
        self.0.get_sorted(Column(column), keys, visit)
    }
}

impl Snapshots for RocksReads {
    fn snapshot(&self) -> Result<Box<dyn Backend>> {
        Ok(Box::new(RocksSnapshot(self.0.snapshot())))
    }
}

/// The rows as of one moment.
struct RocksSnapshot(Snapshot);

impl Backend for RocksSnapshot {
    fn get(&self, column: usize, key: &[u8], into: &mut Vec<u8>) -> Result<bool> {
        self.0.get(Column(column), key, into)
    }

    fn scan(
        &self,
        column: usize,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<Box<dyn Scan>> {
        let backward = direction == Direction::Backward;
        let rows = self.0.iter(Column(column), range_of(from, to), backward);
        Ok(Box::new(rows))
    }

    fn snapshots(&self) -> Arc<dyn Snapshots> {
        Arc::new(self.0.clone())
    }

    fn write(&mut self, _: &Rows) -> Result<()> {
        Err(read_only())
    }

    fn ingest(&mut self, _: usize, _: &SortedRows) -> Result<()> {
        Err(read_only())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Snapshots for Snapshot {
    fn snapshot(&self) -> Result<Box<dyn Backend>> {
        Ok(Box::new(RocksSnapshot(self.clone())))
    }
}

impl Scan for Iter {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        Self::next(self)
    }
}

/// The error for writing to a snapshot.
fn read_only() -> Error {
    Error::internal("a snapshot of a task's rows was written to")
}
