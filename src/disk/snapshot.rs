//! A database as of one moment.

use std::fmt;
use std::sync::Arc;

use rocksdb::{DBRawIteratorWithThreadMode, ReadOptions, SnapshotWithThreadMode};

use super::database::{Column, Database, Handle, Rocks};
use crate::base::Result;

/// All rows of a [`Database`] as of its creation: later writes do not show. A clone shares it. As long as
/// it lives, RocksDB keeps the rows that were replaced since.
#[derive(Clone)]
pub struct Snapshot {
    // Dropped before the database, as `Inner::rocks_for_parts` requires.
    rocks: Arc<SnapshotWithThreadMode<'static, Rocks>>,
    pub(super) database: Database,
}

impl Database {
    /// The rows as of now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            rocks: Arc::new(self.0.rocks_for_parts().snapshot()),
            database: self.clone(),
        }
    }
}

impl Snapshot {
    /// Replaces `value` by the value of `key`; `false`, and `value` empty, if there is none.
    ///
    /// # Errors
    /// As [`Database::get`].
    pub fn get(&self, column: Column, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self
            .database
            .with_column(column, |handle| self.rocks.get_pinned_cf(handle, key))
            .map_err(|cause| self.database.error("reading", cause))?;
        if let Some(found) = &found {
            value.extend_from_slice(found);
        }
        Ok(found.is_some())
    }

    pub(super) fn raw_iterator(
        &self,
        handle: &Handle,
        mut options: ReadOptions,
    ) -> DBRawIteratorWithThreadMode<'static, Rocks> {
        options.set_snapshot(&*self.rocks);
        self.database
            .0
            .rocks_for_parts()
            .raw_iterator_cf_opt(handle, options)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}
