//! RocksDB's statistics of a column, for monitoring.

use super::{Column, Database};

/// A statistic of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Rows; an estimate.
    Rows,
    /// Bytes of rows that are not overwritten or deleted; an estimate.
    LiveBytes,
    /// Bytes of files.
    FileBytes,
    /// Bytes of write buffers, including those being flushed.
    BufferBytes,
    /// Bytes that a compaction has to rewrite; an estimate.
    CompactionBytes,
}

impl Figure {
    fn property(self) -> &'static str {
        match self {
            Self::Rows => "rocksdb.estimate-num-keys",
            Self::LiveBytes => "rocksdb.estimate-live-data-size",
            Self::FileBytes => "rocksdb.total-sst-files-size",
            Self::BufferBytes => "rocksdb.cur-size-all-mem-tables",
            Self::CompactionBytes => "rocksdb.estimate-pending-compaction-bytes",
        }
    }
}

impl Database {
    /// A statistic of a column; `None` if RocksDB does not provide it, or the column was dropped.
    pub fn figure(&self, column: Column, figure: Figure) -> Option<u64> {
        let handle = self.handle(column)?;
        let asked = (self.0.rocks).property_int_value_cf(&handle, figure.property());
        asked.ok().flatten()
    }
}
