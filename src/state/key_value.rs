//! A store of one row a key.

use std::ops::Bound;

use super::Direction;
use super::iter::RowIter;
use super::table::SharedTable;
use crate::base::Result;

/// A handle of a key-value store. A clone is the same store; it stays on its task's thread.
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

    /// Shows `read` the newest row of `key`, uncommitted ones included. `read` must not use the same
    /// store.
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
    /// `TooLarge` if its changelog would not take the row.
    #[inline]
    pub fn put(&self, key: &[u8], row: Option<&[u8]>) -> Result<()> {
        let mut table = self.table.borrow_mut();
        table.limit.check(key, row)?;
        table.put(key, row);
        Ok(())
    }

    /// The rows between two keys as they are now: what is written later does not show.
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
}
