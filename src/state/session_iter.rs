//! Walks over the rows of a session store.

use std::collections::BTreeMap;

use super::Direction;
use super::iter::{RowIter, Rowset};
use super::session_key::SessionLayout;
use crate::base::Result;

/// A row of a session store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRow<'a> {
    /// The key's bytes.
    pub key: &'a [u8],
    /// The first timestamp of the session, in milliseconds.
    pub start_ms: i64,
    /// The last one.
    pub end_ms: i64,
    /// The row's bytes.
    pub row: &'a [u8],
}

/// Which sessions a walk returns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sought {
    /// Length of the one key sought: longer keys may be between two of its rows.
    pub(super) key_len: Option<usize>,
    pub(super) ends_ms: (i64, i64),
    pub(super) latest_start_ms: i64,
}

/// A walk over the rows of a session store as of its start. It must end before the next commit.
#[derive(Debug)]
pub struct SessionIter {
    /// What remains to be read, the last part first.
    parts: Vec<RowIter>,
    sought: Sought,
}

impl SessionIter {
    pub(super) fn new(parts: Vec<RowIter>, sought: Sought) -> Self {
        Self { parts, sought }
    }

    /// The next row, or `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` if stored bytes are damaged, `Unavailable` if the disk does not answer.
    #[expect(
        clippy::should_implement_trait,
        reason = "an `Iterator` cannot lend from itself"
    )]
    pub fn next(&mut self) -> Result<Option<SessionRow<'_>>> {
        let sought = self.sought;
        let found = loop {
            let Some(part) = self.parts.last_mut() else {
                return Ok(None);
            };
            let Some((row_key, _)) = part.next()? else {
                self.parts.pop();
                continue;
            };
            let parts = SessionLayout::parts(row_key)?;
            let (from_ms, to_ms) = sought.ends_ms;
            if sought.key_len.is_none_or(|len| len == parts.key.len())
                && (from_ms..=to_ms).contains(&parts.end_ms)
                && parts.start_ms <= sought.latest_start_ms
            {
                break (parts.start_ms, parts.end_ms);
            }
        };
        let current = self.parts.last().and_then(RowIter::current);
        let Some((row_key, row)) = current else {
            return Ok(None);
        };
        Ok(Some(SessionRow {
            key: SessionLayout::parts(row_key)?.key,
            start_ms: found.0,
            end_ms: found.1,
            row,
        }))
    }

    /// The remaining rows, sorted by the results of `order`, which must differ.
    pub(super) fn sorted<O: Ord>(
        mut self,
        direction: Direction,
        order: impl Fn(&SessionRow<'_>) -> O,
    ) -> Result<Self> {
        let mut rows = BTreeMap::new();
        let mut row_key = Vec::new();
        while let Some(row) = self.next()? {
            let session = (row.start_ms, row.end_ms);
            SessionLayout::row_key_in(0, row.key, session, &mut row_key);
            rows.insert(order(&row), (row_key.clone(), row.row.to_vec()));
        }
        let mut copies = Rowset::default();
        let copy = |(row_key, row): (Vec<u8>, Vec<u8>)| copies.push(&row_key, Some(&row));
        match direction {
            Direction::Forward => rows.into_values().for_each(copy),
            Direction::Backward => rows.into_values().rev().for_each(copy),
        }
        let part = RowIter::new(copies, None, direction);
        Ok(Self::new(vec![part], self.sought))
    }
}
