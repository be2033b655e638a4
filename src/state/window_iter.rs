//! Walks over the rows of a window store.

use super::additions::SharedAdditions;
use super::iter::RowIter;
use super::probe::Cursor;
use super::window_key::Layout;
use crate::base::{Error, Result};

/// A row of a window store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowRow<'a> {
    /// The key's bytes.
    pub key: &'a [u8],
    /// Start of the window, in milliseconds.
    pub start_ms: i64,
    /// The row's bytes.
    pub row: &'a [u8],
}

/// A walk over the rows of a window store as of its start. It must end before the next commit.
#[derive(Debug)]
pub struct WindowIter {
    /// What remains to be read, the last part first.
    pub(super) parts: Vec<RowIter>,
    /// The rows that memory holds completely, which come after those.
    pub(super) memory: Option<MemoryWalk>,
    pub(super) layout: Layout,
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    /// Length of the one key sought: longer keys may be between two of its rows.
    pub(super) key_len: Option<usize>,
}

/// A walk over rows of one key in memory.
#[derive(Debug)]
pub(super) struct MemoryWalk {
    pub(super) rows: SharedAdditions,
    pub(super) walk: Cursor,
    /// The key, followed by the row that was returned last.
    pub(super) buffer: Vec<u8>,
    pub(super) key_len: usize,
}

impl MemoryWalk {
    /// Copies the next row to the buffer and returns its start.
    fn next(&mut self) -> Result<Option<i64>> {
        self.buffer.truncate(self.key_len);
        let rows = self.rows.borrow();
        let Some((row, bytes)) = rows.next(&mut self.walk, &self.buffer)? else {
            return Ok(None);
        };
        self.buffer.extend_from_slice(bytes);
        Ok(Some(row.start_ms))
    }
}

impl Drop for MemoryWalk {
    fn drop(&mut self) {
        if let Ok(mut rows) = self.rows.try_borrow_mut() {
            rows.take_spare(std::mem::take(&mut self.buffer));
        }
    }
}

impl WindowIter {
    /// The next row, or `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` if stored bytes are damaged, `Unavailable` if the disk does not answer.
    #[expect(
        clippy::should_implement_trait,
        reason = "an `Iterator` cannot lend from itself"
    )]
    pub fn next(&mut self) -> Result<Option<WindowRow<'_>>> {
        let layout = self.layout;
        loop {
            let Some(part) = self.parts.last_mut() else {
                return self.next_in_memory();
            };
            match part.next()? {
                None => {
                    self.parts.pop();
                }
                Some((row_key, _)) => {
                    let parts = layout.parts(row_key).ok_or_else(|| too_short(row_key))?;
                    let right_key = self.key_len.is_none_or(|len| len == parts.key.len());
                    if right_key && (self.from_ms..=self.to_ms).contains(&parts.start_ms) {
                        break;
                    }
                }
            }
        }
        let current = self.parts.last().and_then(RowIter::current);
        Ok(current.and_then(|(row_key, row)| {
            let parts = layout.parts(row_key)?;
            Some(WindowRow {
                key: parts.key,
                start_ms: parts.start_ms,
                row,
            })
        }))
    }

    fn next_in_memory(&mut self) -> Result<Option<WindowRow<'_>>> {
        let Some(memory) = &mut self.memory else {
            return Ok(None);
        };
        let Some(start_ms) = memory.next()? else {
            return Ok(None);
        };
        let (key, row) = memory.buffer.split_at(memory.key_len);
        Ok(Some(WindowRow { key, start_ms, row }))
    }
}

pub(super) fn too_short(row_key: &[u8]) -> Error {
    Error::corrupt(format!(
        "a row of a window store has a key of {} bytes, too short to hold a window; delete the task's \
         state directory; it will be rebuilt from the changelog",
        row_key.len()
    ))
}
