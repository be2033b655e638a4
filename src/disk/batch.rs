//! Writes that happen together.

use std::fmt;
use std::sync::Arc;

use rocksdb::WriteOptions;

use super::database::{Column, Database, Durability};
use crate::base::Result;

/// Puts and deletes over any columns of one database, applied in order, all or nothing.
///
/// Created by [`Database::batch`], which it shares ownership of.
pub struct WriteBatch {
    database: Database,
    rocks: rocksdb::WriteBatch,
}

impl Database {
    /// An empty batch for this database.
    pub fn batch(&self) -> WriteBatch {
        WriteBatch {
            database: self.clone(),
            rocks: rocksdb::WriteBatch::default(),
        }
    }

    /// Writes the batch. Once a write has failed, every later one fails with the same error until the
    /// directory is opened again.
    ///
    /// # Errors
    /// `Full` if the disk is; `Unavailable` or `Corrupt` for its other failures.
    pub fn write(&self, batch: WriteBatch, durability: Durability) -> Result<()> {
        self.check_not_failed()?;
        debug_assert!(
            Arc::ptr_eq(&self.0, &batch.database.0),
            "a batch of another database"
        );
        if batch.is_empty() && durability != Durability::Synced {
            return Ok(());
        }
        let mut options = WriteOptions::new();
        debug_assert!(
            self.0.write_ahead == (durability != Durability::Unlogged),
            "a database is either opened with a write-ahead log or written without one"
        );
        match durability {
            Durability::Synced => options.set_sync(true),
            Durability::Logged => {}
            Durability::Unlogged => {
                options.disable_wal(true);
                // The rows of a commit come in the order of their keys.
                options.set_memtable_insert_hint_per_batch(true);
            }
        }
        let written = self.0.rocks.write_opt(batch.rocks, &options);
        written.map_err(|cause| self.fail("writing to", cause))
    }
}

impl WriteBatch {
    /// Sets the value of a key.
    pub fn put(&mut self, column: Column, key: &[u8], value: &[u8]) {
        let rocks = &mut self.rocks;
        self.database
            .with_column(column, |handle| rocks.put_cf(handle, key, value));
    }

    /// Deletes a key.
    pub fn delete(&mut self, column: Column, key: &[u8]) {
        let rocks = &mut self.rocks;
        self.database
            .with_column(column, |handle| rocks.delete_cf(handle, key));
    }

    /// Deletes all keys from `from` up to, and not including, `to`.
    pub fn delete_range(&mut self, column: Column, from: &[u8], to: &[u8]) {
        if from < to {
            let rocks = &mut self.rocks;
            self.database
                .with_column(column, |handle| rocks.delete_range_cf(handle, from, to));
        }
    }

    /// Clears the batch.
    pub fn clear(&mut self) {
        self.rocks.clear();
    }

    /// Number of puts and deletes.
    pub fn len(&self) -> usize {
        self.rocks.len()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rocks.is_empty()
    }

    /// Size of keys, values and their framing, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.rocks.size_in_bytes()
    }
}

impl fmt::Debug for WriteBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBatch")
            .field("len", &self.len())
            .field("size_bytes", &self.size_bytes())
            .finish()
    }
}
