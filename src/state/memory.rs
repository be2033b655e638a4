//! Committed rows in memory: the shortest correct backend, for tests and for state that need not
//! outlive the process.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::iter::{Rowset, is_empty_range};
use super::{Backend, Direction, RowChange, RowFigures, Rows, Scan, Snapshots, SortedRows};
use crate::base::Result;

pub(super) type Column = BTreeMap<Vec<u8>, Vec<u8>>;

/// Copies of the first rows between two keys, in that direction.
pub(super) fn copy_range(
    rows: &Column,
    from: Bound<&[u8]>,
    to: Bound<&[u8]>,
    direction: Direction,
    rows_max: usize,
) -> Rowset {
    let mut copy = Rowset::default();
    if !is_empty_range(from, to) {
        let range = rows.range::<[u8], _>((from, to));
        let mut take = |(key, row): (&Vec<u8>, &Vec<u8>)| copy.push(key, Some(row));
        match direction {
            Direction::Forward => range.take(rows_max).for_each(&mut take),
            Direction::Backward => range.rev().take(rows_max).for_each(&mut take),
        }
    }
    copy
}

/// One sorted map per column. A snapshot shares the maps, and a write copies those that are shared.
#[derive(Clone, Debug, Default)]
struct Columns(Vec<Arc<Column>>);

impl Columns {
    fn of(&self, column: usize) -> Option<&Column> {
        self.0.get(column).map(|rows| &**rows)
    }

    fn change(&mut self, column: usize) -> &mut Column {
        if self.0.len() <= column {
            self.0.resize_with(column + 1, Arc::default);
        }
        Arc::make_mut(&mut self.0[column])
    }
}

/// The rows, which are shared only with snapshots of them.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    columns: Arc<RwLock<Columns>>,
}

impl MemoryBackend {
    /// A backend without rows; columns are created when they are written.
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Columns> {
        self.columns.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&mut self) -> RwLockWriteGuard<'_, Columns> {
        self.columns.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for MemoryBackend {
    /// A private copy of the rows.
    fn clone(&self) -> Self {
        Self {
            columns: Arc::new(RwLock::new(self.read().clone())),
        }
    }
}

impl Snapshots for RwLock<Columns> {
    fn snapshot(&self) -> Result<Box<dyn Backend>> {
        let columns = self.read().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Box::new(MemoryBackend {
            columns: Arc::new(Self::new(columns)),
        }))
    }
}

impl Backend for MemoryBackend {
    fn get(&self, column: usize, key: &[u8], into: &mut Vec<u8>) -> Result<bool> {
        into.clear();
        let columns = self.read();
        let row = columns.of(column).and_then(|rows| rows.get(key));
        if let Some(row) = row {
            into.extend_from_slice(row);
        }
        Ok(row.is_some())
    }

    fn scan(
        &self,
        column: usize,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<Box<dyn Scan>> {
        self.scan_some(column, from, to, direction, usize::MAX)
    }

    fn scan_some(
        &self,
        column: usize,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
        rows_max: usize,
    ) -> Result<Box<dyn Scan>> {
        let columns = self.read();
        let rows = columns.of(column);
        let copy = rows.map(|rows| copy_range(rows, from, to, direction, rows_max));
        Ok(Box::new(copy.unwrap_or_default()))
    }

    fn snapshots(&self) -> Arc<dyn Snapshots> {
        self.columns.clone()
    }

    /// The bytes would have to be counted one by one.
    fn figures(&self, column: usize) -> RowFigures {
        RowFigures {
            rows: Some(self.read().of(column).map_or(0, Column::len) as u64),
            ..RowFigures::default()
        }
    }

    fn write(&mut self, batch: &Rows) -> Result<()> {
        let mut columns = self.change();
        for (column, change) in batch.changes() {
            let rows = columns.change(column);
            match change {
                RowChange::Put(key, row) => match rows.get_mut(key) {
                    Some(old) => {
                        old.clear();
                        old.extend_from_slice(row);
                    }
                    None => {
                        rows.insert(key.to_vec(), row.to_vec());
                    }
                },
                RowChange::Delete(key) => {
                    rows.remove(key);
                }
                RowChange::DeleteRange(from, to) if from < to => {
                    let mut middle = rows.split_off(from);
                    let mut rest = middle.split_off(to);
                    rows.append(&mut rest);
                }
                RowChange::DeleteRange(..) => {}
                RowChange::Clear => rows.clear(),
            }
        }
        Ok(())
    }

    fn ingest(&mut self, column: usize, rows: &SortedRows) -> Result<()> {
        let mut columns = self.change();
        let known = columns.change(column);
        if known.is_empty() {
            // Building a whole map from sorted rows is faster than inserting one by one.
            let rows = rows.iter().filter_map(|(key, row)| Some((key, row?)));
            *known = rows
                .map(|(key, row)| (key.to_vec(), row.to_vec()))
                .collect();
            return Ok(());
        }
        for (key, row) in rows.iter() {
            match row {
                Some(row) => known.insert(key.to_vec(), row.to_vec()),
                None => known.remove(key),
            };
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
