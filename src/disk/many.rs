//! Reading many keys at once.

use super::database::{Column, Database};
use crate::base::Result;

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
        let options = self.0.passing.or_kept(&self.0.read_options);
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
