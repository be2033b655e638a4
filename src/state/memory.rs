//! Committed rows in memory: the shortest correct backend, for tests and for state that need not
//! outlive the process.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::iter::{Rowset, is_empty_range};
use super::{Backend, Direction, RowChange, RowFigures, Rows, Scan, SortedRows};
use crate::base::Result;

type Column = BTreeMap<Vec<u8>, Vec<u8>>;

/// A sorted map a column.
#[derive(Clone, Debug, Default)]
pub struct MemoryBackend {
    columns: Vec<Column>,
}

impl MemoryBackend {
    /// A backend without rows; columns come into being as they are written.
    pub fn new() -> Self {
        Self::default()
    }

    fn column(&mut self, column: usize) -> &mut Column {
        if self.columns.len() <= column {
            self.columns.resize_with(column + 1, Column::new);
        }
        &mut self.columns[column]
    }
}

impl Backend for MemoryBackend {
    fn get(&self, column: usize, key: &[u8], into: &mut Vec<u8>) -> Result<bool> {
        into.clear();
        let row = self.columns.get(column).and_then(|rows| rows.get(key));
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
        let mut copy = Rowset::default();
        if let Some(rows) = self.columns.get(column)
            && !is_empty_range(from, to)
        {
            let range = rows.range::<[u8], _>((from, to));
            let mut take = |(key, row): (&Vec<u8>, &Vec<u8>)| copy.push(key, Some(row));
            match direction {
                Direction::Forward => range.take(rows_max).for_each(&mut take),
                Direction::Backward => range.rev().take(rows_max).for_each(&mut take),
            }
        }
        Ok(Box::new(copy))
    }

    /// The bytes would have to be counted one by one.
    fn figures(&self, column: usize) -> RowFigures {
        RowFigures {
            rows: Some(self.columns.get(column).map_or(0, Column::len) as u64),
            ..RowFigures::default()
        }
    }

    fn write(&mut self, batch: &Rows) -> Result<()> {
        for (column, change) in batch.changes() {
            let rows = self.column(column);
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
        let known = self.column(column);
        if known.is_empty() {
            // Sorted rows make a whole map faster than one by one.
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
