//! Reading many keys at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use rocksdb::ReadOptions;

use super::{Column, Database};
use crate::base::Result;

/// One read in this many leaves its blocks in the cache.
const KEPT: usize = 8;

/// Where keys are many, few blocks are read twice before the cache has to give them up, and to put them
/// there costs as much as to unpack them. So most reads leave the cache as it is: what is asked for again
/// and again gets there all the same.
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
    /// Shows `visit` the value of each key, one after another; `None` where there is none. The keys are
    /// sorted: their neighbours share what RocksDB looks up, so that each costs about two thirds of a
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
