//! A store whose rows are taken out in the order of time: held results, session ends, timers.
//!
//! ```text
//! row key:  time i64 BE, never negative | key
//! ```
//!
//! It is a view of a key-value store, which keeps the rows and their changelog. What was removed is
//! never walked over again: the store knows its first keys (`head`), from opening on.

use std::cell::RefCell;
use std::fmt;

use super::KeyValueStore;
use crate::base::{Error, Result};

/// Memory for the first keys of a store.
const HEAD_BYTES: usize = 1 << 20;

/// Rows ordered by a time and then by key. A handle; it stays on its task's thread.
pub struct TimeOrderedStore {
    store: KeyValueStore,
    row_key: RefCell<Vec<u8>>,
}

impl fmt::Debug for TimeOrderedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

impl TimeOrderedStore {
    /// Orders `store`, whose rows must all be written so.
    pub fn new(store: KeyValueStore) -> Self {
        Self::with_head_bytes(store, HEAD_BYTES)
    }

    pub(super) fn with_head_bytes(store: KeyValueStore, head_bytes: usize) -> Self {
        store.table().borrow_mut().know_head(head_bytes);
        Self {
            store,
            row_key: RefCell::default(),
        }
    }

    /// Sets the row of `key` at `time_ms`; `None` removes it. One key may have a row at each of several
    /// times.
    ///
    /// # Errors
    /// `User` if the time is negative.
    pub fn put(&self, time_ms: i64, key: &[u8], row: Option<&[u8]>) -> Result<()> {
        if time_ms < 0 {
            return Err(Error::user(format!(
                "a row cannot be due at {time_ms}: times count from 1970; drop such records"
            )));
        }
        let row_key = &mut *self.row_key.borrow_mut();
        row_key.clear();
        row_key.extend_from_slice(&time_ms.to_be_bytes());
        row_key.extend_from_slice(key);
        self.store.put(row_key, row)
    }

    /// The time of the first row, if there is one.
    ///
    /// # Errors
    /// Those of the backend: `Corrupt`, `Unavailable`.
    #[inline]
    pub fn first_time_ms(&self) -> Result<Option<i64>> {
        let mut table = self.store.table().borrow_mut();
        table.first_key()?.map(time_of).transpose()
    }

    /// Takes out the first row that is due at `until_ms`, with its key and itself in `key` and `row`, and
    /// returns its time; `None` if none is due.
    ///
    /// # Errors
    /// As [`TimeOrderedStore::first_time_ms`].
    pub fn pop(&self, until_ms: i64, key: &mut Vec<u8>, row: &mut Vec<u8>) -> Result<Option<i64>> {
        // No time is negative, so that there is a number after every one.
        let Ok(until_ms) = u64::try_from(until_ms) else {
            return Ok(None);
        };
        let after = (until_ms + 1).to_be_bytes();
        let mut table = self.store.table().borrow_mut();
        if !table.pop(&after, key, row)? {
            return Ok(None);
        }
        let time_ms = time_of(key)?;
        key.drain(..8);
        Ok(Some(time_ms))
    }
}

fn time_of(row_key: &[u8]) -> Result<i64> {
    match row_key.first_chunk::<8>() {
        Some(time) => Ok(i64::from_be_bytes(*time)),
        None => Err(Error::corrupt(
            "a row that is ordered by time has a key of less than 8 bytes; delete the task's state \
             directory, it will be rebuilt from the changelog",
        )),
    }
}
