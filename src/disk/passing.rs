//! Reads of many keys that leave the cache unchanged.

use std::sync::atomic::{AtomicUsize, Ordering};

use rocksdb::ReadOptions;

/// One read in this many leaves its blocks in the cache.
const KEPT: usize = 8;

/// If there are many keys, few blocks are read twice before the cache evicts them, and inserting them
/// costs as much as unpacking them. So most reads leave the cache unchanged: blocks that are requested
/// repeatedly get there all the same.
pub(super) struct Passing {
    options: ReadOptions,
    reads: AtomicUsize,
}

impl Default for Passing {
    fn default() -> Self {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        Self {
            options,
            reads: AtomicUsize::new(0),
        }
    }
}

impl Passing {
    /// The options of the next read: these, or `kept` for the read that leaves its blocks in the cache.
    pub(super) fn or_kept<'a>(&'a self, kept: &'a ReadOptions) -> &'a ReadOptions {
        let number = self.reads.fetch_add(1, Ordering::Relaxed);
        match number.is_multiple_of(KEPT) {
            true => kept,
            false => &self.options,
        }
    }
}
