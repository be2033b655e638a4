//! Where committed rows live: sorted bytes in columns, written atomically.

use std::ops::{Bound, Range};
use std::sync::Arc;

use super::{Direction, PointReads, RowFigures, SortedRows};
use crate::base::{Error, ErrorKind, Result};

/// The committed rows of one task: a column per store, in the order of the task's stores, and one more
/// for the task's own rows. Keys are compared as unsigned bytes.
pub trait Backend: Send {
    /// Copies the row of `key` to `into`, replacing its content; `false` if there is none.
    ///
    /// # Errors
    /// `Corrupt` if stored bytes are damaged, `Unavailable` if the disk does not answer.
    fn get(&self, column: usize, key: &[u8], into: &mut Vec<u8>) -> Result<bool>;

    /// The rows between two keys as of now; later writes do not show.
    ///
    /// # Errors
    /// As [`Backend::get`].
    fn scan(
        &self,
        column: usize,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<Box<dyn Scan>>;

    /// As [`Backend::scan`], if at least the first `rows_max` rows are wanted: a backend that would copy
    /// all of them may leave out the rest.
    ///
    /// # Errors
    /// As [`Backend::get`].
    fn scan_some(
        &self,
        column: usize,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
        rows_max: usize,
    ) -> Result<Box<dyn Scan>> {
        let _ = rows_max;
        self.scan(column, from, to, direction)
    }

    /// Calls `visit` with the rows from one key to another, both inclusive, as of now, in order, until it
    /// returns `false`: for the few rows of many short ranges.
    ///
    /// # Errors
    /// As [`Backend::get`].
    fn read_range(
        &self,
        column: usize,
        (from, to): (&[u8], &[u8]),
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        let (from, to) = (Bound::Included(from), Bound::Included(to));
        let mut rows = self.scan(column, from, to, Direction::Forward)?;
        while let Some((key, row)) = rows.next()?
            && visit(key, row)
        {}
        Ok(())
    }

    /// Reads of committed rows by other threads, if reading many at once is faster than one by one;
    /// otherwise `None`.
    fn reads(&self) -> Option<Arc<dyn PointReads>> {
        None
    }

    /// A source of snapshots of the committed rows, usable on any thread.
    fn snapshots(&self) -> Arc<dyn Snapshots>;

    /// Statistics of the rows of a column; empty for a column that does not exist.
    fn figures(&self, column: usize) -> RowFigures {
        let _ = column;
        RowFigures::default()
    }

    /// Whether many rows are faster to write in the order of their keys.
    fn prefers_sorted(&self) -> bool {
        false
    }

    /// Applies all changes in their order, or none.
    ///
    /// # Errors
    /// `Full` if the disk is, `Unavailable` if it does not answer.
    fn write(&mut self, batch: &Rows) -> Result<()>;

    /// Applies many sorted changes of one column. Unlike [`Backend::write`]s, they may reach the disk
    /// before earlier writes: for restores, which write them again after a crash.
    ///
    /// # Errors
    /// As [`Backend::write`].
    fn ingest(&mut self, column: usize, rows: &SortedRows) -> Result<()>;

    /// Waits until everything written survives a crash of the machine.
    ///
    /// # Errors
    /// As [`Backend::write`].
    fn flush(&mut self) -> Result<()>;

    /// Whether stored bytes were found to be damaged since the backend was opened. Those bytes may have been
    /// read by anybody, not just in the call that failed last.
    fn is_damaged(&self) -> bool {
        false
    }
}

/// Makes snapshots of a backend's rows while its owner is working.
pub trait Snapshots: Send + Sync {
    /// The rows as of the last [`Backend::write`]: a separate backend that accepts no writes.
    ///
    /// # Errors
    /// `Closed` once the backend is gone.
    fn snapshot(&self) -> Result<Box<dyn Backend>>;
}

/// A walk over rows that owns everything it needs.
pub trait Scan {
    /// The next key and row, or `None` at the end.
    ///
    /// # Errors
    /// As [`Backend::get`].
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>>;
}

/// One change of a [`Rows`] batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowChange<'a> {
    /// Sets a row.
    Put(&'a [u8], &'a [u8]),
    /// Removes a row.
    Delete(&'a [u8]),
    /// Removes the rows from the first key on, before the second.
    DeleteRange(&'a [u8], &'a [u8]),
    /// Removes all rows of the column.
    Clear,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Put,
    Delete,
    DeleteRange,
    Clear,
}

#[derive(Clone, Debug)]
struct RecordedChange {
    column: usize,
    kind: Kind,
    first: Range<usize>,
    second: Range<usize>,
}

/// Changes of rows, in order, to be applied atomically. Clearing keeps the memory.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    bytes: Vec<u8>,
    changes: Vec<RecordedChange>,
}

impl Rows {
    /// Sets the row of `key`.
    pub fn put(&mut self, column: usize, key: &[u8], row: &[u8]) {
        self.push(column, Kind::Put, &[key], &[row]);
    }

    /// Sets the row of `key` to the concatenated parts.
    pub fn put_parts(&mut self, column: usize, key: &[&[u8]], row: &[&[u8]]) {
        self.push(column, Kind::Put, key, row);
    }

    /// Removes the row of `key`.
    pub fn delete(&mut self, column: usize, key: &[u8]) {
        self.push(column, Kind::Delete, &[key], &[]);
    }

    /// Removes the rows from `from` on, before `to`.
    pub fn delete_range(&mut self, column: usize, from: &[u8], to: &[u8]) {
        self.push(column, Kind::DeleteRange, &[from], &[to]);
    }

    /// Removes all rows of the column.
    pub fn clear_column(&mut self, column: usize) {
        self.push(column, Kind::Clear, &[], &[]);
    }

    /// The changes in their order, each with its column.
    pub fn changes(&self) -> impl Iterator<Item = (usize, RowChange<'_>)> {
        self.changes.iter().map(|change| {
            let first = &self.bytes[change.first.clone()];
            let second = &self.bytes[change.second.clone()];
            let row = match change.kind {
                Kind::Put => RowChange::Put(first, second),
                Kind::Delete => RowChange::Delete(first),
                Kind::DeleteRange => RowChange::DeleteRange(first, second),
                Kind::Clear => RowChange::Clear,
            };
            (change.column, row)
        })
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Sorts the changes from a number on, which must be of one column and of different keys, by their
    /// keys.
    pub(super) fn sort_from(&mut self, first: usize) {
        let bytes = &self.bytes;
        let key = |change: &RecordedChange| &bytes[change.first.clone()];
        self.changes[first..].sort_unstable_by(|one, other| key(one).cmp(key(other)));
    }

    /// Number of bytes in keys and rows.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Its capacity in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.changes.capacity() * size_of::<RecordedChange>()
    }

    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Clears all changes.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.changes.clear();
    }

    fn push(&mut self, column: usize, kind: Kind, first: &[&[u8]], second: &[&[u8]]) {
        let start = self.bytes.len();
        first
            .iter()
            .for_each(|part| self.bytes.extend_from_slice(part));
        let middle = self.bytes.len();
        second
            .iter()
            .for_each(|part| self.bytes.extend_from_slice(part));
        let end = self.bytes.len();
        self.changes.push(RecordedChange {
            column,
            kind,
            first: start..middle,
            second: middle..end,
        });
    }
}

/// The error for handles whose state was dropped.
pub(super) struct Closed;

impl Snapshots for Closed {
    fn snapshot(&self) -> Result<Box<dyn Backend>> {
        Err(Self::error())
    }
}

impl Closed {
    fn error() -> Error {
        let message = "the state of this task was closed; reopen the task";
        Error::new(ErrorKind::Closed, message)
    }
}

impl Backend for Closed {
    fn get(&self, _column: usize, _key: &[u8], _into: &mut Vec<u8>) -> Result<bool> {
        Err(Self::error())
    }

    fn scan(
        &self,
        _column: usize,
        _from: Bound<&[u8]>,
        _to: Bound<&[u8]>,
        _direction: Direction,
    ) -> Result<Box<dyn Scan>> {
        Err(Self::error())
    }

    fn snapshots(&self) -> Arc<dyn Snapshots> {
        Arc::new(Self)
    }

    fn write(&mut self, _batch: &Rows) -> Result<()> {
        Err(Self::error())
    }

    fn ingest(&mut self, _column: usize, _rows: &SortedRows) -> Result<()> {
        Err(Self::error())
    }

    fn flush(&mut self) -> Result<()> {
        Err(Self::error())
    }
}
