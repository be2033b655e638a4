//! What is known of the size of stores, for whoever watches them.

use super::TaskState;

/// The rows of a store as its backend sees them. `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowFigures {
    /// Committed rows; an estimate where they are on the disk.
    pub rows: Option<u64>,
    /// What they take, in bytes; an estimate as well.
    pub bytes: Option<u64>,
    /// The files of the store, in bytes; more than its rows while what was overwritten is not compacted yet.
    pub file_bytes: Option<u64>,
    /// Its write buffers, in bytes.
    pub buffer_bytes: Option<u64>,
    /// What is to be compacted, in bytes; an estimate. While it grows the disk does not keep up.
    pub compaction_bytes: Option<u64>,
}

/// A store with its figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFigures {
    /// Its name.
    pub store: String,
    /// Its committed rows.
    pub rows: RowFigures,
    /// What of it is not committed yet, in bytes.
    pub dirty_bytes: u64,
    /// What of it is kept at hand, in bytes.
    pub cached_bytes: u64,
}

impl TaskState {
    /// The stores with their figures. Asks the backend, some microseconds for each store.
    pub fn figures(&self) -> Vec<StoreFigures> {
        let backend = self.backend.borrow();
        let stores = self.specs.iter().zip(&self.stores);
        let figures = stores.map(|(spec, store)| {
            let overlay = store.overlay.borrow();
            StoreFigures {
                store: spec.name.clone(),
                rows: backend.figures(overlay.column()),
                dirty_bytes: overlay.dirty_bytes() as u64,
                cached_bytes: overlay.clean_bytes() as u64,
            }
        });
        figures.collect()
    }
}
