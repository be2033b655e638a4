//! One memory budget for all databases of the process, and for other users of it.

use std::fmt;
#[cfg(feature = "rocksdb")]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::files::raise_file_limit;
use super::shares::Shares;

/// The memory that all databases of a process share: a block cache, which write buffers are charged to.
/// Memory used elsewhere can be [reserved](Budget::reserve): the databases then have that much less. A
/// clone shares the budget.
#[derive(Clone)]
pub struct Budget {
    pub(super) shares: Shares,
    bytes: usize,
    databases: u64,
    /// Columns that are open.
    #[cfg(feature = "rocksdb")]
    columns: Arc<AtomicUsize>,
    reserved: Arc<Mutex<usize>>,
}

/// With less than this, RocksDB would flush on every other write.
const SMALLEST_BYTES: usize = 8 << 20;

impl Budget {
    /// A budget of `bytes`, at least 8 MiB: write buffers may take half of it, cached blocks the rest.
    /// Raises the process's soft limit on open files to the hard one.
    pub fn new(bytes: usize) -> Self {
        raise_file_limit();
        let bytes = bytes.max(SMALLEST_BYTES);
        Self {
            shares: Shares::new(bytes),
            bytes,
            databases: 1,
            #[cfg(feature = "rocksdb")]
            columns: Arc::default(),
            reserved: Arc::default(),
        }
    }

    /// Says how many databases there will be, so that each leaves open files for the others.
    #[must_use]
    pub fn for_databases(mut self, databases: usize) -> Self {
        self.databases = databases as u64;
        self
    }

    /// How many databases there will be; 1 unless it was set.
    #[cfg(feature = "rocksdb")]
    pub(super) fn databases(&self) -> u64 {
        self.databases
    }

    /// Counts columns as open until the returned count is dropped. Also returns how large each write
    /// buffer may be, in bytes, if all expected databases have as many columns.
    #[cfg(feature = "rocksdb")]
    pub(super) fn open_columns(&self, columns: usize) -> (OpenColumns, usize) {
        let open = self.columns.fetch_add(columns, Ordering::Relaxed) + columns;
        let counted = OpenColumns(Arc::clone(&self.columns), columns);
        let databases = usize::try_from(self.databases).unwrap_or(usize::MAX);
        let expected = databases.saturating_mul(columns);
        (counted, self.bytes / 2 / open.max(expected).max(1))
    }

    /// The size of the budget, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The current size of cached blocks and write buffers, in bytes.
    pub fn used_bytes(&self) -> usize {
        self.shares.used_bytes()
    }

    /// What the databases may use now, in bytes: at least a quarter of the budget, whatever is reserved.
    pub fn disk_bytes(&self) -> usize {
        self.disk_bytes_beside(*self.reserved.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn disk_bytes_beside(&self, reserved: usize) -> usize {
        let least = (self.bytes / 4).max(SMALLEST_BYTES / 2);
        self.bytes.saturating_sub(reserved).max(least)
    }

    /// Takes `bytes` of the budget for another use, until the reservation is dropped.
    pub fn reserve(&self, bytes: usize) -> Reserved {
        let mut reserved = Reserved {
            budget: self.clone(),
            bytes: 0,
        };
        reserved.resize(bytes);
        reserved
    }
}

/// Columns that count as open.
#[cfg(feature = "rocksdb")]
pub(super) struct OpenColumns(Arc<AtomicUsize>, usize);

#[cfg(feature = "rocksdb")]
impl Drop for OpenColumns {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("bytes", &self.bytes)
            .field("used_bytes", &self.used_bytes())
            .finish()
    }
}

/// A part of a [`Budget`] that is not available to its databases.
#[derive(Debug)]
pub struct Reserved {
    budget: Budget,
    bytes: usize,
}

impl Reserved {
    /// Its size, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes its size. The databases release what exceeds their share.
    pub fn resize(&mut self, bytes: usize) {
        let reserved = &self.budget.reserved;
        let mut reserved = reserved.lock().unwrap_or_else(PoisonError::into_inner);
        *reserved = *reserved - self.bytes + bytes;
        self.bytes = bytes;
        let left = self.budget.disk_bytes_beside(*reserved);
        self.budget.shares.resize(left);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_the_databases_have_less() {
        let budget = Budget::new(64 << 20);
        let mut first = budget.reserve(10 << 20);
        let second = budget.reserve(6 << 20);
        assert_eq!(budget.disk_bytes(), 48 << 20);
        first.resize(20 << 20);
        assert_eq!(budget.disk_bytes(), 38 << 20);
        drop(second);
        assert_eq!(budget.disk_bytes(), 44 << 20);
        first.resize(100 << 20);
        assert_eq!(budget.disk_bytes(), 16 << 20, "a quarter stays");
        drop(first);
        assert_eq!(budget.disk_bytes(), 64 << 20);
    }
}
