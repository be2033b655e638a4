//! A store whose rows are taken out in the order of time: held results, session ends, timers.
//!
//! ```text
//!                 row key                                      row           changelog
//! by time         time i64 BE, never negative | key            row           the same
//! by key as well  time i64 BE, never negative | key            empty         nothing: it follows from the other
//!                 0xff | key                                   time | row    key -> time | row
//! ```
//!
//! Rows of the same time are taken out in the order of their keys, which the operator defines. By time
//! alone, a key may have a row at each of several times. By key as well, it has one: it can be found,
//! replaced in place, or moved to another time.
//!
//! Removed rows are never walked over again: the store knows its first keys (`head`), from opening on.

use std::cell::RefCell;
use std::fmt;

use super::KeyValueStore;
use super::row;
use crate::base::{Error, Result};

/// Memory for the first keys of a store.
const HEAD_BYTES: usize = 1 << 20;
/// The prefix of the row key of a row that is found by its key. No time begins with it.
pub(super) const BY_KEY: u8 = 0xff;

/// Rows ordered by a time and then by key. A handle; it stays on its task's thread.
pub struct TimeOrderedStore {
    store: KeyValueStore,
    by_key: bool,
    buffers: RefCell<Buffers>,
}

#[derive(Default)]
struct Buffers {
    row_key: Vec<u8>,
    row: Vec<u8>,
}

impl Clone for TimeOrderedStore {
    /// The same store.
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            by_key: self.by_key,
            buffers: RefCell::default(),
        }
    }
}

impl fmt::Debug for TimeOrderedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

impl TimeOrderedStore {
    /// Orders `store` by time; all its rows must be written this way.
    pub fn new(store: KeyValueStore) -> Self {
        Self::with_head_bytes(store, HEAD_BYTES)
    }

    pub(super) fn with_head_bytes(store: KeyValueStore, head_bytes: usize) -> Self {
        store.table().borrow_mut().know_head(head_bytes);
        Self {
            store,
            by_key: false,
            buffers: RefCell::default(),
        }
    }

    /// A store whose rows can also be found by key.
    pub(super) fn by_key(mut self) -> Self {
        self.by_key = true;
        self
    }

    pub(super) fn is_by_key(&self) -> bool {
        self.by_key
    }

    pub(super) fn store(&self) -> &KeyValueStore {
        &self.store
    }

    /// Sets the row of `key` at `time_ms`; `None` removes it. By time alone, one key may have a row at
    /// each of several times. By key as well, the row that the key had at another time is removed.
    ///
    /// # Errors
    /// `User` if the time is negative, `TooLarge` if the row is too large for its changelog; those of the
    /// backend.
    pub fn put(&self, time_ms: i64, key: &[u8], row: Option<&[u8]>) -> Result<()> {
        if time_ms < 0 {
            return Err(Error::user(format!(
                "a row cannot be due at {time_ms}: times count from 1970; drop such records"
            )));
        }
        if !self.by_key {
            return self.put_at(time_ms, key, row);
        }
        let Some(row) = row else {
            return self.remove(key).map(|_| ());
        };
        let before_ms = self.time_of(key)?;
        self.put_by_key(time_ms, key, row)?;
        if before_ms != Some(time_ms) {
            self.put_at(time_ms, key, Some(&[]))?;
            if let Some(before_ms) = before_ms {
                self.put_at(before_ms, key, None)?;
            }
        }
        Ok(())
    }

    /// Replaces the row of `key` in place. Returns its time; `None` if there is no row to replace.
    ///
    /// # Errors
    /// As [`TimeOrderedStore::put`]; `Internal` if rows are not found by key.
    pub fn replace(&self, key: &[u8], row: &[u8]) -> Result<Option<i64>> {
        let time_ms = self.time_of(key)?;
        if let Some(time_ms) = time_ms {
            self.put_by_key(time_ms, key, row)?;
        }
        Ok(time_ms)
    }

    /// Removes the row of `key`, and returns its time.
    ///
    /// # Errors
    /// As [`TimeOrderedStore::replace`].
    pub fn remove(&self, key: &[u8]) -> Result<Option<i64>> {
        let time_ms = self.time_of(key)?;
        if let Some(time_ms) = time_ms {
            self.put_at(time_ms, key, None)?;
            self.write_by_key(key, None)?;
        }
        Ok(time_ms)
    }

    /// Calls `read` with the row of `key` and its time. `read` must not use the same store.
    ///
    /// # Errors
    /// `Internal` if rows are not found by key; those of the backend.
    pub fn find<R>(&self, key: &[u8], read: impl FnOnce(Option<(i64, &[u8])>) -> R) -> Result<R> {
        if !self.by_key {
            let message =
                "rows of this store are ordered by time only and cannot be looked up by key";
            return Err(Error::internal(message));
        }
        let row_key = &mut self.buffers.borrow_mut().row_key;
        row_key.clear();
        row_key.push(BY_KEY);
        row_key.extend_from_slice(key);
        let found = |row: Option<&[u8]>| Ok(read(row.map(row::split).transpose()?));
        self.store.get(row_key, found)?
    }

    fn time_of(&self, key: &[u8]) -> Result<Option<i64>> {
        self.find(key, |found| found.map(|(time_ms, _)| time_ms))
    }

    fn put_at(&self, time_ms: i64, key: &[u8], row: Option<&[u8]>) -> Result<()> {
        let row_key = &mut self.buffers.borrow_mut().row_key;
        row_key.clear();
        row_key.extend_from_slice(&time_ms.to_be_bytes());
        row_key.extend_from_slice(key);
        self.store.put(row_key, row)
    }

    fn put_by_key(&self, time_ms: i64, key: &[u8], row: &[u8]) -> Result<()> {
        {
            let whole = &mut self.buffers.borrow_mut().row;
            row::begin(time_ms, whole);
            whole.extend_from_slice(row);
        }
        let whole = std::mem::take(&mut self.buffers.borrow_mut().row);
        let written = self.write_by_key(key, Some(&whole));
        self.buffers.borrow_mut().row = whole;
        written
    }

    fn write_by_key(&self, key: &[u8], row: Option<&[u8]>) -> Result<()> {
        let row_key = &mut self.buffers.borrow_mut().row_key;
        row_key.clear();
        row_key.push(BY_KEY);
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
        let first = table.first_key()?;
        let first = first.filter(|row_key| row_key.first() != Some(&BY_KEY));
        first.map(time_of).transpose()
    }

    /// Takes out the first row that is due at `until_ms`, copying its key and itself to `key` and `row`,
    /// and returns its time; `None` if none is due.
    ///
    /// # Errors
    /// As [`TimeOrderedStore::first_time_ms`].
    pub fn pop(&self, until_ms: i64, key: &mut Vec<u8>, row: &mut Vec<u8>) -> Result<Option<i64>> {
        // No time is negative, so there is a number after every one.
        let Ok(until_ms) = u64::try_from(until_ms) else {
            return Ok(None);
        };
        let after = (until_ms + 1).to_be_bytes();
        if !self.store.table().borrow_mut().pop(&after, key, row)? {
            return Ok(None);
        }
        let time_ms = time_of(key)?;
        key.drain(..8);
        if self.by_key {
            self.find(key, |found| {
                row.clear();
                row.extend_from_slice(found.map_or(&[], |(_, row)| row));
            })?;
            self.write_by_key(key, None)?;
        }
        Ok(Some(time_ms))
    }
}

fn time_of(row_key: &[u8]) -> Result<i64> {
    match row_key.first_chunk::<8>() {
        Some(time) => Ok(i64::from_be_bytes(*time)),
        None => Err(Error::corrupt(
            "a row that is ordered by time has a key of less than 8 bytes; delete the task's state \
             directory; it will be rebuilt from the changelog",
        )),
    }
}
