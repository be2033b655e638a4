//! What the user chooses.

use std::path::PathBuf;

use super::format::COLUMNS;
use crate::disk::{Budget, Options};

/// When commits are brought to the disk. The death of the process loses nothing with any of these;
/// they differ in what the death of the machine loses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Before the receipt; commits that wait at the same time share one fsync. Nothing is lost.
    #[default]
    EveryCommit,
    /// At most this many milliseconds after the receipt. Commits of that interval may be lost, latest first,
    /// each as a whole.
    EveryMs(u64),
    /// When the operating system chooses to, and when the log is closed.
    Never,
}

/// How to open an [`super::EmbeddedLog`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory, of this log alone.
    pub path: PathBuf,
    /// When commits are brought to the disk.
    pub fsync: Fsync,
    /// Size of all stored batches together above which appends are refused as `Full`, in bytes. What
    /// RocksDB needs beyond them (write-ahead log, rows not yet compacted away) comes on top.
    pub quota_bytes: Option<u64>,
    /// Where the log's memory comes from: RocksDB's, the latest batches, and the keys of a compaction.
    pub budget: Budget,
    /// How much of the latest batches is kept in memory for readers that keep up, in bytes. It is a
    /// part of the budget.
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
