//! One number of bytes for all databases of the process.

use std::fmt;

use rocksdb::{Cache, WriteBufferManager};

use super::files::raise_file_limit;

/// The memory that all databases of a process share: a block cache, with the write buffers charged to
/// it. A clone shares it.
#[derive(Clone)]
pub struct Budget {
    pub(super) cache: Cache,
    pub(super) write_buffers: WriteBufferManager,
    bytes: usize,
    databases: u64,
}

/// Below this RocksDB would flush at every other write.
const SMALLEST_BYTES: usize = 8 << 20;

impl Budget {
    /// A budget of `bytes`, at least 8 MiB: write buffers may take half of it, cached blocks the rest.
    /// Raises the process's soft limit on open files to the hard one.
    pub fn new(bytes: usize) -> Self {
        raise_file_limit();
        let bytes = bytes.max(SMALLEST_BYTES);
        let cache = Cache::new_lru_cache(bytes);
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(
            bytes / 2,
            false,
            cache.clone(),
        );
        Self {
            cache,
            write_buffers,
            bytes,
            databases: 1,
        }
    }

    /// Says how many databases there will be, so that each leaves open files to the others.
    #[must_use]
    pub fn for_databases(mut self, databases: usize) -> Self {
        self.databases = databases as u64;
        self
    }

    /// How many databases there will be; 1 unless it was said.
    pub(super) fn databases(&self) -> u64 {
        self.databases
    }

    /// The size of the budget, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What cached blocks and write buffers take now, in bytes.
    pub fn used_bytes(&self) -> usize {
        self.cache.get_usage()
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
