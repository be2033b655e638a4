//! The interface of the commit protocol to the rows of a store that are not in the backend yet.

use std::cell::RefCell;
use std::rc::Rc;

use super::row_limit::RowLimit;
use crate::base::Result;

pub(super) type SharedOverlay = Rc<RefCell<dyn Overlay>>;

/// The rows of one store in two generations, the active one and the one being committed, over those of
/// the backend. [`super::table::RowTable`] holds rows that are replaced, [`super::additions::Additions`]
/// rows that are only added.
pub(super) trait Overlay {
    /// The store's column in the backend.
    fn column(&self) -> usize;

    /// Bytes held by uncommitted data.
    fn dirty_bytes(&self) -> usize;

    /// Bytes held by committed rows, and reserved for rows being read ahead.
    fn clean_bytes(&self) -> usize;

    /// Sets how many bytes of committed rows may stay in memory.
    fn set_cache_bytes(&mut self, cache_bytes: usize);

    /// Sets how large a row may be.
    fn set_limit(&mut self, limit: RowLimit);

    /// Makes the active generation the one being committed.
    fn seal(&mut self);

    /// Calls a closure with the rows being committed, in the order of their first writes; `None` is a
    /// deletion.
    fn committing_len(&self) -> usize;

    /// Shows the rows being committed, in the order of their first writes; `None` is a deletion.
    fn committing(&self, visit: &mut Visit<'_>) -> Result<()>;

    /// The backend has the rows that were being committed.
    fn committed(&mut self);

    /// Discards both generations.
    fn rollback(&mut self);

    /// Drops the rows of segments below this: the backend has deleted them. In a store without segments
    /// there are none.
    fn forget_below(&mut self, first_live: i64);

    /// Sets a mark inside the existing ones.
    fn mark(&mut self);

    /// Removes the innermost mark: later writes belong to the surrounding one.
    fn clear_mark(&mut self);

    /// Rolls back all writes since the innermost mark; the mark stays.
    fn undo_to_mark(&mut self);
}

/// Receives a row key and its row.
pub(super) type Visit<'a> = dyn FnMut(&[u8], Option<&[u8]>) -> Result<()> + 'a;
