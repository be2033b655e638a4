//! The user's settings.

use std::path::PathBuf;

use super::format::COLUMNS;
use crate::disk::{Budget, Options};

/// When commits are synced to disk. The death of the process loses nothing with any of these; they differ
/// in what the death of the machine loses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Before the receipt; commits that wait at the same time share one fsync. Nothing is lost.
    #[default]
    EveryCommit,
    /// At most this many milliseconds after the receipt. Commits of that interval may be lost, latest
    /// first, each one completely.
    EveryMs(u64),
    /// When the operating system decides to, and when the log is closed.
    Never,
}

/// How to open an [`super::EmbeddedLog`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory, used by this log alone.
    pub path: PathBuf,
    /// When commits are synced to disk.
    pub fsync: Fsync,
    /// Total size of all stored batches above which appends are refused as `Full`, in bytes. RocksDB
    /// needs additional space (write-ahead log, rows not yet compacted away).
    pub quota_bytes: Option<u64>,
    /// The log's memory: for RocksDB, the latest batches, and the keys of a compaction.
    pub budget: Budget,
    /// How many bytes of the latest batches are kept in memory for readers that keep up. Part of the
    /// budget.
    pub tail_bytes: usize,
    /// How often retention and compaction look for work, in milliseconds.
    pub housekeeping_interval_ms: u64,
}

impl Settings {
    /// The defaults, for the log in directory `path`.
    pub fn new(path: impl Into<PathBuf>, budget: Budget) -> Self {
        Self {
            path: path.into(),
            fsync: Fsync::default(),
            quota_bytes: None,
            tail_bytes: budget.bytes() / 4,
            budget,
            housekeeping_interval_ms: 30_000,
        }
    }

    /// Those of the database.
    pub(super) fn options(&self) -> Options<'_> {
        Options {
            path: self.path.clone(),
            columns: COLUMNS.iter().map(|&name| name.to_owned()).collect(),
            budget: &self.budget,
            write_ahead: true,
        }
    }
}
