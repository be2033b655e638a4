//! Records of a left or outer join of streams that wait for a partner, in the order in which they give up
//! waiting: by timestamp, those of the right side before those of the left, then by key, then by arrival.
//!
//! ```text
//! row key:  timestamp i64 BE | side (0 right, 1 left) | key       row:  (length u32 BE | value)...
//! ```

use std::cell::RefCell;
use std::ops::Bound;
use std::sync::Arc;

use crate::base::{Error, Result};
use crate::state::{Direction, KeyValueStore, RowIter, TimeOrderedStore};

/// Length of the timestamp and the side before a key.
const PREFIX_LEN: usize = 9;

/// The store of both sides' unmatched records.
pub(super) struct Unmatched {
    pub(super) name: Arc<str>,
    store: KeyValueStore,
    ordered: TimeOrderedStore,
    row_key: RefCell<Vec<u8>>,
}

/// One key's records of one side and timestamp.
pub(super) struct UnmatchedRow<'a> {
    pub(super) timestamp_ms: i64,
    pub(super) is_left: bool,
    pub(super) key: &'a [u8],
    pub(super) values: UnmatchedValues<'a>,
}

impl Unmatched {
    pub(super) fn new(name: Arc<str>, store: KeyValueStore) -> Self {
        Self {
            name,
            ordered: TimeOrderedStore::new(store.clone()),
            store,
            row_key: RefCell::default(),
        }
    }

    /// Adds a record.
    pub(super) fn add(
        &self,
        timestamp_ms: i64,
        is_left: bool,
        key: &[u8],
        value: &[u8],
    ) -> Result<()> {
        if timestamp_ms < 0 {
            return Err(Error::user(format!(
                "a record cannot wait for a partner from {timestamp_ms} on: times count from 1970; drop \
                 such records"
            )));
        }
        let row_key = &mut *self.row_key.borrow_mut();
        make_row_key(timestamp_ms, is_left, key, row_key);
        let mut row = self
            .store
            .get(row_key, |row| row.unwrap_or_default().to_vec())?;
        row.extend_from_slice(&(value.len() as u32).to_be_bytes());
        row.extend_from_slice(value);
        self.store.put(row_key, Some(&row))
    }

    /// A partner has arrived for the records of this side, timestamp and key.
    pub(super) fn remove(&self, timestamp_ms: i64, is_left: bool, key: &[u8]) -> Result<()> {
        let row_key = &mut *self.row_key.borrow_mut();
        make_row_key(timestamp_ms, is_left, key, row_key);
        if self.store.get(row_key, |row| row.is_some())? {
            self.store.put(row_key, None)?;
        }
        Ok(())
    }

    /// The oldest waiting timestamp.
    pub(super) fn first_ms(&self) -> Result<Option<i64>> {
        self.ordered.first_time_ms()
    }

    /// The waiting records with timestamps in `from_ms..=to_ms`, as of now.
    pub(super) fn range(&self, from_ms: i64, to_ms: i64) -> Result<RowIter> {
        let from = from_ms.to_be_bytes();
        let mut to = to_ms.to_be_bytes().to_vec();
        to.push(u8::MAX);
        self.store.range(
            Bound::Included(&from),
            Bound::Excluded(&to),
            Direction::Forward,
        )
    }
}

fn make_row_key(timestamp_ms: i64, is_left: bool, key: &[u8], row_key: &mut Vec<u8>) {
    row_key.clear();
    row_key.extend_from_slice(&timestamp_ms.to_be_bytes());
    row_key.push(u8::from(is_left));
    row_key.extend_from_slice(key);
}

/// Reads the result of [`Unmatched::range`].
pub(super) fn read_row<'a>(row_key: &'a [u8], row: &'a [u8]) -> Result<UnmatchedRow<'a>> {
    let damaged = || Error::corrupt("a record that waits for a partner has a damaged key");
    let (prefix, key) = row_key.split_at_checked(PREFIX_LEN).ok_or_else(damaged)?;
    let (timestamp, side) = prefix.split_first_chunk::<8>().ok_or_else(damaged)?;
    Ok(UnmatchedRow {
        timestamp_ms: i64::from_be_bytes(*timestamp),
        is_left: side == [1],
        key,
        values: UnmatchedValues(row),
    })
}

/// The values of a row, in the order of their arrival.
#[derive(Clone, Copy)]
pub(super) struct UnmatchedValues<'a>(&'a [u8]);

impl<'a> Iterator for UnmatchedValues<'a> {
    type Item = Result<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let split = self
            .0
            .split_first_chunk::<4>()
            .and_then(|(len, rest)| rest.split_at_checked(u32::from_be_bytes(*len) as usize));
        let Some((value, rest)) = split else {
            self.0 = &[];
            return Some(Err(Error::corrupt(
                "a record that waits for a partner ends early",
            )));
        };
        self.0 = rest;
        Some(Ok(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_in_which_records_give_up() {
        let key = |timestamp_ms, is_left, key: &[u8]| {
            let mut row_key = Vec::new();
            make_row_key(timestamp_ms, is_left, key, &mut row_key);
            row_key
        };
        let in_order = [
            key(7, false, b"b"),
            key(7, true, b"a"),
            key(7, true, b"ab"),
            key(256, false, b""),
        ];
        assert!(in_order.is_sorted());
        let row = read_row(&in_order[2], b"").expect("a whole key");
        assert_eq!(
            (row.timestamp_ms, row.is_left, row.key),
            (7, true, &b"ab"[..])
        );
        assert!(read_row(b"12345678", b"").is_err());
    }

    #[test]
    fn values_come_as_they_were_added_and_damage_is_named() {
        let values = |row: &'static [u8]| UnmatchedValues(row).collect::<Vec<_>>();
        let two = values(b"\0\0\0\x01a\0\0\0\0");
        let two: Vec<&[u8]> = two.into_iter().map(|value| value.expect("whole")).collect();
        assert_eq!(two, [&b"a"[..], b""]);
        assert!(values(b"\0\0\0\x05a").pop().expect("an item").is_err());
        assert!(values(b"\0").pop().expect("an item").is_err());
    }
}
