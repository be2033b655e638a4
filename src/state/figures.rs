//! The sizes of stores, for monitoring.

/// The rows of a store as its backend sees them. `None` means unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowFigures {
    /// Committed rows; an estimate if they are on disk.
    pub rows: Option<u64>,
    /// Their size in bytes; also an estimate.
    pub bytes: Option<u64>,
    /// The files of the store, in bytes; more than its rows while overwritten data is not compacted yet.
    pub file_bytes: Option<u64>,
    /// Its write buffers, in bytes.
    pub buffer_bytes: Option<u64>,
    /// Bytes to be compacted; an estimate. If it keeps growing, the disk cannot keep up.
    pub compaction_bytes: Option<u64>,
}

/// The sizes of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFigures {
    /// Its name.
    pub store: String,
    /// Its committed rows.
    pub rows: RowFigures,
    /// Its uncommitted data, in bytes.
    pub dirty_bytes: u64,
    /// Its cached data, in bytes.
    pub cached_bytes: u64,
}
