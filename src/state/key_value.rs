//! A store of one row per key.

use std::ops::Bound;
use std::sync::Arc;

use super::iter::RowIter;
use super::table::SharedTable;
use super::table::expected::AheadRoom;
use super::{Direction, ReadAhead, WantedKeys};
use crate::base::{Offset, Result};

/// A handle of a key-value store. A clone refers to the same store; it stays on its task's thread.
#[derive(Clone, Debug)]
pub struct KeyValueStore {
    table: SharedTable,
}

impl KeyValueStore {
    pub(super) fn new(table: SharedTable) -> Self {
        Self { table }
    }

    pub(super) fn table(&self) -> &SharedTable {
        &self.table
    }

    /// Calls `read` with the newest row of `key`, including uncommitted ones. `read` must not use the
    /// same store.
    ///
    /// # Errors
    /// Those of the backend: `Corrupt`, `Unavailable`.
    #[inline]
    pub fn get<R>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        Ok(read(self.table.borrow_mut().get(key)?))
    }

    /// Sets the row of `key`; `None` deletes it.
    ///
    /// # Errors
    /// `TooLarge` if the row is too large for its changelog.
    #[inline]
    pub fn put(&self, key: &[u8], row: Option<&[u8]>) -> Result<()> {
        let mut table = self.table.borrow_mut();
        table.limit.check(key, row)?;
        table.put(key, row);
        Ok(())
    }

    /// The rows between two keys as of now: later writes do not show.
    ///
    /// # Errors
    /// Those of the backend: `Corrupt`, `Unavailable`.
    pub fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<RowIter> {
        self.table.borrow_mut().range(from, to, direction)
    }

    /// How much it would read ahead at a time; `None` if it would not do so now.
    pub(crate) fn reads_ahead(&self) -> Option<AheadRoom> {
        self.table.borrow().reads_ahead()
    }

    /// Adds a key whose row will be needed, unless it is in memory.
    pub(crate) fn want(&self, key: &[u8], keys: &mut WantedKeys) {
        if !self.table.borrow().holds(key) {
            keys.push(key);
        }
    }

    /// Has the rows of these keys read ahead, for the records of an input up to `last`.
    pub(crate) fn read_for(
        &self,
        keys: WantedKeys,
        input: usize,
        last: Offset,
    ) -> Option<Arc<ReadAhead>> {
        self.table.borrow_mut().read_for(keys, input, last)
    }

    /// The records of an input before `position` are done. Returns how much is still read ahead for
    /// others.
    pub(crate) fn pass(&self, input: usize, position: Offset) -> usize {
        self.table.borrow_mut().pass(input, position)
    }

    /// Number of rows that were read one by one so far.
    pub(crate) fn loads(&self) -> u64 {
        self.table.borrow().loads()
    }
}
