//! Reading many keys at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use rocksdb::ReadOptions;

use super::{Column, Database};
use crate::base::Result;

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

impl Database {
    /// Calls `visit` with the value of each key, one after another; `None` if there is none. The keys are
    /// sorted: neighbours share RocksDB's lookups, so that each costs about two thirds of a
    /// [`Database::get`].
    ///
    /// # Errors
    /// As [`Database::get`]; some keys may have been visited.
    pub fn get_sorted(
        &self,
        column: Column,
        keys: &[&[u8]],
        visit: &mut dyn FnMut(Option<&[u8]>),
    ) -> Result<()> {
        let passing = &self.0.passing;
        let number = passing.reads.fetch_add(1, Ordering::Relaxed);
        let options = match number.is_multiple_of(KEPT) {
            true => &self.0.read_options,
            false => &passing.options,
        };
        let found = self.with_column(column, |handle| {
            let keys = keys.iter().copied();
            self.0
                .rocks
                .batched_multi_get_cf_opt(handle, keys, true, options)
        });
        for value in found {
            let value = value.map_err(|cause| self.error("reading", cause))?;
            visit(value.as_deref());
        }
        Ok(())
    }
}
