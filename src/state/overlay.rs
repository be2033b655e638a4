//! What the commit protocol asks of the rows of a store that are not in the backend yet.

use std::cell::RefCell;
use std::rc::Rc;

use super::row_limit::RowLimit;
use crate::base::Result;

pub(super) type SharedOverlay = Rc<RefCell<dyn Overlay>>;

/// The rows of one store in two generations, the active one and the one being committed, over those of
/// the backend. [`super::table::Table`] holds rows that are replaced, [`super::additions::Additions`] those that
/// only come.
pub(super) trait Overlay {
    /// The store's column in the backend.
    fn column(&self) -> usize;

    /// Bytes held by what is not committed yet.
    fn dirty_bytes(&self) -> usize;

    /// Bytes held by committed rows, and kept for those that are on their way.
    fn clean_bytes(&self) -> usize;

    /// Sets how many bytes of committed rows may stay in memory.
    fn set_cache_bytes(&mut self, cache_bytes: usize);

    /// Sets how large a row may be.
    fn set_limit(&mut self, limit: RowLimit);

    /// Makes the active generation the one being committed.
    fn seal(&mut self);

    /// Number of rows being committed.
    fn committing_len(&self) -> usize;

    /// Shows the rows being committed, in the order of their first writes; `None` is a deletion.
    fn committing(&self, visit: &mut Visit<'_>) -> Result<()>;

    /// The backend has the rows that were being committed.
    fn committed(&mut self);

    /// Forgets both generations.
    fn rollback(&mut self);

    /// Forgets the rows of segments below this: the backend has dropped them. In a store without segments
    /// there are none.
    fn forget_below(&mut self, first_live: i64);

    /// Sets a mark inside those that are set.
    fn mark(&mut self);

    /// Takes off the innermost mark: what was written since belongs to the one around it.
    fn clear_mark(&mut self);

    /// Takes back all writes since the innermost mark; the mark stays.
    fn undo_to_mark(&mut self);
}

/// Takes a row key and its row.
pub(super) type Visit<'a> = dyn FnMut(&[u8], Option<&[u8]>) -> Result<()> + 'a;
