//! What all databases share of RocksDB; empty if RocksDB is not built.

#[cfg(feature = "rocksdb")]
pub(super) use with_rocksdb::Shares;
#[cfg(not(feature = "rocksdb"))]
pub(super) use without_rocksdb::Shares;

#[cfg(feature = "rocksdb")]
mod with_rocksdb {
    use rocksdb::{Cache, LruCacheOptions, WriteBufferManager};

    /// Few threads use the cache: large shards matter more than many.
    const SHARD_BYTES: usize = 16 << 20;

    /// A cache of blocks, with the write buffers charged to it.
    #[derive(Clone)]
    pub(in crate::disk) struct Shares {
        pub(in crate::disk) cache: Cache,
        pub(in crate::disk) write_buffers: WriteBufferManager,
    }

    impl Shares {
        pub(in crate::disk) fn new(bytes: usize) -> Self {
            let mut options = LruCacheOptions::default();
            options.set_capacity(bytes);
            // A shard refuses blocks that are larger than itself, and write buffers take from all shards.
            options.set_num_shard_bits((bytes / SHARD_BYTES).max(1).ilog2().min(6) as i32);
            let cache = Cache::new_lru_cache_opts(&options);
            let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(
                bytes / 2,
                false,
                cache.clone(),
            );
            Self {
                cache,
                write_buffers,
            }
        }

        pub(in crate::disk) fn resize(&self, bytes: usize) {
            self.cache.clone().set_capacity(bytes);
            self.write_buffers.set_buffer_size(bytes / 2);
        }

        pub(in crate::disk) fn used_bytes(&self) -> usize {
            self.cache.get_usage()
        }
    }
}

#[cfg(not(feature = "rocksdb"))]
mod without_rocksdb {
    #[derive(Clone)]
    pub(in crate::disk) struct Shares;

    impl Shares {
        pub(in crate::disk) fn new(_bytes: usize) -> Self {
            Self
        }

        pub(in crate::disk) fn resize(&self, _bytes: usize) {}

        pub(in crate::disk) fn used_bytes(&self) -> usize {
            0
        }
    }
}
