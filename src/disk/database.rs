//! One open directory: point reads, writes, maintenance.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use rocksdb::{BoundColumnFamily, DBWithThreadMode, MultiThreaded, ReadOptions};

use super::budget::OpenColumns;
use super::error::{describe, from_rocksdb};
use super::files::FilesOfADatabase;
use super::passing::Passing;
use super::place::DAMAGE_MARK;
use crate::base::{Error, ErrorKind, Result};

pub(super) type Rocks = DBWithThreadMode<MultiThreaded>;
pub(super) type Handle = Arc<BoundColumnFamily<'static>>;

/// Number of a column of a [`Database`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Column(pub usize);

/// When a write is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On disk when the call returns: survives a power failure.
    Synced,
    /// With the operating system when the call returns: survives the death of the process.
    Logged,
    /// In memory until the next [`Database::flush`]; then on disk with everything before it.
    Unlogged,
}

/// An open directory. A clone shares it; it is closed when the last clone and the last [`super::Iter`]
/// are dropped.
#[derive(Clone)]
pub struct Database(pub(super) Arc<Inner>);

/// Invariant: fields that borrow from `rocks` (as `'static`, see [`Inner::rocks_for_parts`]) are declared
/// before it, since fields are dropped in order.
pub(super) struct Inner {
    /// By number; `None` once dropped.
    pub(super) columns: RwLock<Vec<Option<Handle>>>,
    /// By number, including dropped ones.
    pub(super) names: Vec<String>,
    pub(super) path: PathBuf,
    pub(super) write_ahead: bool,
    /// The first write that failed: none after it may succeed, or the disk would hold a write
    /// without those before it.
    pub(super) failed: OnceLock<(ErrorKind, String)>,
    /// Whether stored bytes were found to be damaged.
    pub(super) damaged: AtomicBool,
    /// The options with which tables are written.
    pub(super) column_options: rocksdb::Options,
    /// The options of point reads; made once, since making them costs an allocation.
    pub(super) read_options: ReadOptions,
    /// The options of reads of many keys.
    pub(super) passing: Passing,
    pub(super) _columns: OpenColumns,
    pub(super) rocks: Box<Rocks>,
    /// Declared after `rocks`, which closes them.
    pub(super) _files: FilesOfADatabase,
}

impl Inner {
    /// RocksDB, with a lifetime that lets its parts (column handles, iterators) be kept in structs.
    #[expect(
        unsafe_code,
        reason = "Rust has no self-references; the proof is below"
    )]
    pub(super) fn rocks_for_parts(&self) -> &'static Rocks {
        let rocks: *const Rocks = &raw const *self.rocks;
        // SAFETY: the pointee is boxed, so it does not move with `Inner`, and nothing ever takes it
        // out or gives a mutable reference to it. What callers in this module derive from the
        // reference never outlives it: column handles are kept in `Inner::columns`, declared before
        // `rocks` and so dropped before it; an `Iter` keeps the handle and RocksDB's iterator, and a
        // `Snapshot` RocksDB's snapshot, in fields declared before the `Arc<Inner>` that keeps the box alive. The function is visible
        // in this module only, and no caller returns the reference or a derived value otherwise.
        unsafe { &*rocks }
    }
}

impl Database {
    pub(super) fn from_inner(inner: Inner) -> Self {
        let rocks = inner.rocks_for_parts();
        let handles = inner
            .names
            .iter()
            .map(|name| rocks.cf_handle(name))
            .collect();
        *inner
            .columns
            .write()
            .unwrap_or_else(PoisonError::into_inner) = handles;
        Self(Arc::new(inner))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The number of a column, if there is a column of that name.
    pub fn column(&self, name: &str) -> Option<Column> {
        let at = self.0.names.iter().position(|known| known == name)?;
        self.handle(Column(at)).map(|_| Column(at))
    }

    /// The names of all columns, including RocksDB's `default`.
    pub fn column_names(&self) -> Vec<String> {
        let columns = self
            .0
            .columns
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let named = self.0.names.iter().zip(columns.iter());
        named
            .filter(|(_, handle)| handle.is_some())
            .map(|(name, _)| name.clone())
            .collect()
    }

    pub(super) fn handle(&self, column: Column) -> Option<Handle> {
        let columns = self
            .0
            .columns
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        columns.get(column.0).cloned().flatten()
    }

    /// Runs `body` with the column's handle; using a dropped column is a bug in the caller.
    pub(super) fn with_column<R>(&self, column: Column, body: impl FnOnce(&Handle) -> R) -> R {
        let columns = self
            .0
            .columns
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        match columns.get(column.0) {
            Some(Some(handle)) => body(handle),
            _ => unreachable!(
                "column {} of {} does not exist",
                column.0,
                self.0.path.display()
            ),
        }
    }

    /// Replaces `value` by the value of `key`; `false`, and `value` empty, if there is none.
    ///
    /// # Errors
    /// `Corrupt` or `Unavailable` if the disk does not return the block.
    pub fn get(&self, column: Column, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self
            .with_column(column, |handle| {
                let options = &self.0.read_options;
                self.0.rocks.get_pinned_cf_opt(handle, key, options)
            })
            .map_err(|cause| self.error("reading", cause))?;
        if let Some(found) = &found {
            value.extend_from_slice(found);
        }
        Ok(found.is_some())
    }

    /// Syncs all logged writes to disk.
    ///
    /// # Errors
    /// As [`Database::write`].
    pub fn sync(&self) -> Result<()> {
        self.check_not_failed()?;
        self.0
            .rocks
            .flush_wal(true)
            .map_err(|cause| self.fail("syncing", cause))
    }

    /// Flushes all columns' buffers to files and waits for it. Without a write-ahead log, this is the
    /// moment at which writes become durable, over all columns at once.
    ///
    /// # Errors
    /// As [`Database::write`].
    pub fn flush(&self) -> Result<()> {
        self.check_not_failed()?;
        let columns = self
            .0
            .columns
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let handles: Vec<&Handle> = columns.iter().flatten().collect();
        let options = rocksdb::FlushOptions::default();
        self.0
            .rocks
            .flush_cfs_opt(&handles, &options)
            .map_err(|cause| self.fail("flushing", cause))
    }

    /// Rewrites a column's files without deleted or overwritten rows, and waits for it.
    pub fn compact_range(&self, column: Column) {
        self.with_column(column, |handle| {
            self.0
                .rocks
                .compact_range_cf(handle, None::<&[u8]>, None::<&[u8]>);
        });
    }

    /// Frees the space of files that contain only keys from `from` up to, but not including, `to`, at
    /// once, where a [`WriteBatch::delete_range`](super::WriteBatch::delete_range) waits for RocksDB's
    /// compaction. Only after such a delete of the same range was synced; open iterators still read the
    /// rows.
    ///
    /// # Errors
    /// As [`Database::write`].
    pub fn delete_files(&self, column: Column, from: &[u8], to: &[u8]) -> Result<()> {
        // RocksDB's C interface includes the end in the range: a file that ends with the first row to
        // keep would be deleted.
        let Some(last) = below(to) else {
            return Ok(());
        };
        let deleted = self.with_column(column, |handle| {
            self.0.rocks.delete_file_in_range_cf(handle, from, &last)
        });
        deleted.map_err(|cause| self.error("deleting files of", cause))
    }

    /// Deletes a column with all its rows. Its number is not reused while this is open.
    ///
    /// # Errors
    /// As [`Database::write`]. A column that does not exist is ignored.
    pub fn drop_column(&self, column: Column) -> Result<()> {
        let mut columns = self
            .0
            .columns
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = columns.get_mut(column.0) else {
            return Ok(());
        };
        if slot.take().is_some() {
            let dropped = self.0.rocks.drop_cf(&self.0.names[column.0]);
            dropped.map_err(|cause| self.fail("dropping a column of", cause))?;
        }
        Ok(())
    }

    /// Size of files and write buffers over all columns, in bytes; approximate.
    pub fn size_bytes(&self) -> u64 {
        let columns = self
            .0
            .columns
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let sizes = columns.iter().flatten().flat_map(|handle| {
            let of = |name: &str| {
                self.0
                    .rocks
                    .property_int_value_cf(handle, name)
                    .ok()
                    .flatten()
            };
            [
                of("rocksdb.total-sst-files-size"),
                of("rocksdb.cur-size-all-mem-tables"),
            ]
        });
        sizes.flatten().sum()
    }

    /// Whether stored bytes were found to be damaged since the directory was opened.
    pub fn is_damaged(&self) -> bool {
        self.0.damaged.load(Ordering::Relaxed)
    }

    pub(super) fn error(&self, doing: &str, cause: rocksdb::Error) -> Error {
        let error = from_rocksdb(&self.0.path, doing, cause);
        self.note_damage(error.kind());
        error
    }

    fn note_damage(&self, kind: ErrorKind) {
        let is_news = kind == ErrorKind::Corrupt && !self.0.damaged.swap(true, Ordering::Relaxed);
        if !is_news || self.0.write_ahead {
            return;
        }
        // Without a write-ahead log the rows are copies of something. Whoever opens them next can make them again,
        // also after a crash, and whatever became of the error.
        let mark = self.0.path.join(DAMAGE_MARK);
        let marked = File::create(&mark).and_then(|file| file.sync_all());
        if let Err(error) = marked {
            tracing::warn!(path = %mark.display(), %error, "damaged rows could not be marked");
        }
    }

    pub(super) fn fail(&self, doing: &str, cause: rocksdb::Error) -> Error {
        let (kind, message) = describe(&self.0.path, doing, &cause);
        self.note_damage(kind);
        let first = (kind, format!("{message} ({cause})"));
        // Two writers may fail together; RocksDB then reports the first one's error to the second in
        // other words.
        if self.0.failed.set(first).is_err()
            && let Err(earlier) = self.check_not_failed()
        {
            return earlier;
        }
        Error::new(kind, message).with_source(cause)
    }

    pub(super) fn check_not_failed(&self) -> Result<()> {
        match self.0.failed.get() {
            None => Ok(()),
            Some((kind, message)) => {
                let message = format!(
                    "{message}; no writes are accepted after that failed write: reopen the directory"
                );
                Err(Error::new(*kind, message))
            }
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.0.path).finish()
    }
}

/// A key slightly below another; `None` below the smallest of all.
fn below(key: &[u8]) -> Option<Vec<u8>> {
    let (last, rest) = key.split_last()?;
    let mut below = rest.to_vec();
    if let Some(less) = last.checked_sub(1) {
        below.push(less);
        below.extend([u8::MAX; 16]);
    }
    Some(below)
}
