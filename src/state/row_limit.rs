//! How large a row may be: its changelog must accept it, and this must be checked when it is put. At the
//! commit it would no longer be known which record made it.

use crate::base::{Error, ErrorKind, Result};

/// The limit of a store's changelog.
#[derive(Debug)]
pub(super) struct RowLimit {
    pub(super) store: String,
    pub(super) max_bytes: usize,
    /// How much longer the key of a record is than that of a put, in bytes.
    pub(super) around_key: usize,
    /// How much of a row, at least, is not in the value of its record, in bytes.
    pub(super) before_value: usize,
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
