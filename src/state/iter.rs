//! Ranges of rows: the overlay's changes merged with the backend's rows.

use std::cmp::Ordering;
use std::ops::Bound;

use super::{Direction, Scan};
use crate::base::Result;

/// Whether no key can lie between the bounds; a `BTreeMap` panics on some of these.
pub(super) fn is_empty_range(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
    }
}

/// Copies of rows, some of them deleted, in one block of memory.
#[derive(Debug, Default)]
pub(super) struct Rowset {
    bytes: Vec<u8>,
    rows: Vec<Place>,
    at: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    key_len: usize,
    /// `None` when the row is deleted.
    row_len: Option<usize>,
}

impl Rowset {
    pub(super) fn push(&mut self, key: &[u8], row: Option<&[u8]>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(row.unwrap_or_default());
        self.rows.push(Place {
            start,
            key_len: key.len(),
            row_len: row.map(<[u8]>::len),
        });
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The size of keys and rows, in bytes.
    pub(super) fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether all rows were read.
    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.rows.len()
    }

    fn key(&self, index: usize) -> &[u8] {
        let place = self.rows[index];
        &self.bytes[place.start..place.start + place.key_len]
    }

    fn row(&self, index: usize) -> &[u8] {
        let place = self.rows[index];
        let start = place.start + place.key_len;
        &self.bytes[start..start + place.row_len.unwrap_or(0)]
    }
}

impl Scan for Rowset {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let index = self.at;
        if index == self.rows.len() {
            return Ok(None);
        }
        self.at += 1;
        Ok(Some((self.key(index), self.row(index))))
    }
}

/// A walk over the rows of a store as of its start; later writes to the store do not show.
pub struct RowIter {
    /// Changes since the last commit, including deletions, in the walk's direction.
    overlay: Rowset,
    /// Committed rows; `None` once they are used up.
    scan: Option<Box<dyn Scan>>,
    direction: Direction,
    head_key: Vec<u8>,
    head_row: Vec<u8>,
    has_head: bool,
    current: Source,
}

impl std::fmt::Debug for RowIter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowIter").finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Nothing,
    Overlay(usize),
    Head,
}

impl RowIter {
    pub(super) fn new(overlay: Rowset, scan: Option<Box<dyn Scan>>, direction: Direction) -> Self {
        Self {
            overlay,
            scan,
            direction,
            head_key: Vec::new(),
            head_row: Vec::new(),
            has_head: false,
            current: Source::Nothing,
        }
    }

    /// The next key and row, or `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` if stored bytes are damaged, `Unavailable` if the disk does not answer.
    #[expect(
        clippy::should_implement_trait,
        reason = "an `Iterator` cannot lend from itself"
    )]
    pub fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        self.current = Source::Nothing;
        self.current = loop {
            self.fill_head()?;
            let index = self.overlay.at;
            let in_overlay = index < self.overlay.rows.len();
            let order = match (in_overlay, self.has_head) {
                (false, false) => return Ok(None),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (true, true) => {
                    let order = self.overlay.key(index).cmp(&self.head_key);
                    match self.direction {
                        Direction::Forward => order,
                        Direction::Backward => order.reverse(),
                    }
                }
            };
            if order == Ordering::Greater {
                self.has_head = false;
                break Source::Head;
            }
            if order == Ordering::Equal {
                self.has_head = false;
            }
            self.overlay.at += 1;
            if self.overlay.rows[index].row_len.is_some() {
                break Source::Overlay(index);
            }
        };
        Ok(self.current())
    }

    /// What [`RowIter::next`] returned last.
    pub(super) fn current(&self) -> Option<(&[u8], &[u8])> {
        match self.current {
            Source::Nothing => None,
            Source::Overlay(index) => Some((self.overlay.key(index), self.overlay.row(index))),
            Source::Head => Some((&self.head_key, &self.head_row)),
        }
    }

    fn fill_head(&mut self) -> Result<()> {
        if self.has_head {
            return Ok(());
        }
        let Some(scan) = &mut self.scan else {
            return Ok(());
        };
        match scan.next()? {
            Some((key, row)) => {
                self.head_key.clear();
                self.head_key.extend_from_slice(key);
                self.head_row.clear();
                self.head_row.extend_from_slice(row);
                self.has_head = true;
            }
            None => self.scan = None,
        }
        Ok(())
    }
}
