//! How large a row may be: its changelog must accept it, and this must be checked when it is put. At the
//! commit it would no longer be known which record made it.

use super::StoreSpec;
use crate::base::{Error, ErrorKind, Result};

/// The limit of a store's changelog.
#[derive(Debug)]
pub(super) struct RowLimit {
    store: String,
    max_bytes: usize,
    around_key: usize,
    before_value: usize,
}

impl RowLimit {
    /// No limit: that of a store without a changelog.
    pub(super) fn none() -> Self {
        Self {
            store: String::new(),
            max_bytes: usize::MAX,
            around_key: 0,
            before_value: 0,
        }
    }

    /// The limit of a store whose changelog accepts records of `max_bytes`.
    pub(super) fn of(spec: &StoreSpec, max_bytes: usize) -> Self {
        if !spec.is_logged() {
            return Self::none();
        }
        Self {
            store: spec.name.clone(),
            max_bytes,
            around_key: spec.kind.rules().bytes_around_key(),
            before_value: spec.row.least_before_value(),
        }
    }

    /// Refuses a row whose changelog record would be too large.
    ///
    /// # Errors
    /// `TooLarge`.
    #[inline]
    pub(super) fn check(&self, key: &[u8], row: Option<&[u8]>) -> Result<()> {
        let value = row.map_or(0, |row| row.len().saturating_sub(self.before_value));
        let size = key.len() + self.around_key + value;
        if size > self.max_bytes {
            return Err(self.refuse(size));
        }
        Ok(())
    }

    #[cold]
    fn refuse(&self, size: usize) -> Error {
        let Self {
            store, max_bytes, ..
        } = self;
        let message = format!(
            "a row of store {store} has {size} bytes, but its changelog accepts at most {max_bytes}; make \
             the row smaller, or raise the changelog topic's limit and restart"
        );
        Error::new(ErrorKind::TooLarge, message)
    }
}
