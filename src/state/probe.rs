//! Reading the rows of a store that only adds: in memory where that is complete, otherwise in the
//! backend.

use std::ops::Bound;

use super::additions::{Additions, EARLY, SPARES_MAX};
use super::iter::{RowIter, Rowset, is_empty_range};
use super::slice::Row;
use super::{Direction, Scan};
use crate::base::{Error, Result};

/// This much of a key's rows in the backend is copied; if there are more, the rest is read on demand.
const COPIED_MAX: usize = 64 << 10;

/// Copied rows, and those that follow.
struct Copied {
    rows: Rowset,
    rest: Box<dyn Scan>,
}

impl Scan for Copied {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        match self.rows.is_at_end() {
            false => self.rows.next(),
            true => self.rest.next(),
        }
    }
}

/// A walk over the rows of one key in memory, by start, then in the order of their puts.
#[derive(Debug)]
pub(super) struct Cursor {
    hash: u32,
    from_ms: i64,
    to_ms: i64,
    /// Of the last put at the start of the walk: later ones do not show.
    sequence: u32,
    generation: u64,
    at: At,
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// In no slice before this.
    From(i64),
    /// At a place in a slice's chain, after the row of this start and sequence.
    In(i64, u32, usize, Option<(i64, u32)>),
    End,
}

impl Additions {
    /// Calls `read` with the row of a key, start and sequence.
    pub(super) fn get<R>(
        &mut self,
        (key, start_ms, sequence): (&[u8], i64, u32),
        row_key: &mut Vec<u8>,
        read: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R> {
        let (hash, from_ms) = (self.hash(key), self.slice_of(start_ms));
        if let Some(slice) = self.slices.get(&from_ms)
            && let Some(chain) = slice.find(hash, key)
        {
            let place = slice.seek(chain, |row| row.order() < (start_ms, sequence));
            if let Some((row, bytes)) = slice.at(chain, place)
                && row.order() == (start_ms, sequence)
            {
                return Ok(read(Some(bytes)));
            }
        }
        if from_ms != EARLY {
            return Ok(read(None));
        }
        self.layout.row_key(key, start_ms, sequence, row_key);
        let mut row = self.spare_buffers.pop().unwrap_or_default();
        let found = self.backend.borrow().get(self.column, row_key, &mut row);
        let shown = found.map(|found| read(found.then_some(&row[..])));
        self.take_spare(row);
        shown
    }

    /// A walk over the rows of `key` in `from_ms..=to_ms`, where memory is complete.
    #[inline]
    pub(super) fn walk(&mut self, key: &[u8], from_ms: i64, to_ms: i64, sequence: u32) -> Cursor {
        let from_ms = from_ms.max(self.whole_from_ms());
        let whole = self.slices.range(..=from_ms).next_back();
        let first = whole.map_or(0, |(from, _)| (*from).max(0));
        Cursor {
            hash: self.hash(key),
            from_ms,
            to_ms,
            sequence,
            generation: self.generation,
            at: match from_ms <= to_ms {
                true => At::From(first),
                false => At::End,
            },
        }
    }

    /// The next row of a walk.
    #[inline]
    pub(super) fn next(&self, walk: &mut Cursor, key: &[u8]) -> Result<Option<(&Row, &[u8])>> {
        if walk.generation != self.generation {
            return Err(Error::internal(
                "a scan of the rows of a join continued after a commit; read it to its end first",
            ));
        }
        loop {
            match walk.at {
                At::End => return Ok(None),
                At::From(from_ms) => {
                    walk.at = match self.slices.range(from_ms..).next() {
                        Some((from_ms, slice)) if *from_ms <= walk.to_ms => {
                            match slice.find(walk.hash, key) {
                                None => At::From(from_ms + 1),
                                Some(chain) => {
                                    let place =
                                        slice.seek(chain, |row| row.start_ms < walk.from_ms);
                                    At::In(*from_ms, chain, place, None)
                                }
                            }
                        }
                        _ => At::End,
                    };
                }
                At::In(from_ms, chain, place, last) => {
                    let Some(slice) = self.slices.get(&from_ms) else {
                        walk.at = At::End;
                        continue;
                    };
                    let place = match last {
                        // Rows that were put since may come before it.
                        Some(last)
                            if slice.at(chain, place - 1).map(|(row, _)| row.order())
                                != Some(last) =>
                        {
                            slice.seek(chain, |row| row.order() <= last)
                        }
                        _ => place,
                    };
                    match slice.at(chain, place) {
                        None => walk.at = At::From(from_ms + 1),
                        Some((row, _)) if row.start_ms > walk.to_ms => walk.at = At::End,
                        Some((row, bytes)) => {
                            walk.at = At::In(from_ms, chain, place + 1, Some(row.order()));
                            // Sequences wrap around.
                            let after = row.sequence.wrapping_sub(walk.sequence) & 0x7fff_ffff;
                            if after == 0 || after > 0x3fff_ffff {
                                return Ok(Some((row, bytes)));
                            }
                        }
                    }
                }
            }
        }
    }

    /// The rows of a key with starts in `from_ms..=to_ms`, where memory is not complete, segment by
    /// segment, the last segment first; the caller has checked the bounds.
    pub(super) fn early(
        &self,
        segments: impl Iterator<Item = i64>,
        key: &[u8],
        (from_ms, to_ms): (i64, i64),
    ) -> Result<Vec<RowIter>> {
        let hash = self.hash(key);
        let uncommitted = self.slices.get(&EARLY);
        let uncommitted = uncommitted.and_then(|early| Some((early, early.find(hash, key)?)));
        let mut parts = Vec::new();
        let mut row_key = Vec::new();
        for segment in segments {
            let first_ms = self.layout.first_start_ms(segment).max(from_ms);
            let last_ms = (self.layout.first_start_ms(segment + 1) - 1).min(to_ms);
            let mut overlay = Rowset::default();
            if let Some((early, chain)) = uncommitted {
                let mut place = early.seek(chain, |row| row.start_ms < first_ms);
                while let Some((row, bytes)) = early.at(chain, place)
                    && row.start_ms <= last_ms
                {
                    let (start_ms, sequence) = row.order();
                    self.layout
                        .row_key_in(segment, key, start_ms, sequence, &mut row_key);
                    overlay.push(&row_key, Some(bytes));
                    place += 1;
                }
            }
            let scan = match self.given_up.cut(hash, (first_ms, last_ms)) {
                None => None,
                Some(cut) => self.committed(segment, key, cut)?,
            };
            if scan.is_some() || overlay.len() > 0 {
                parts.push(RowIter::new(overlay, scan, Direction::Forward));
            }
        }
        parts.reverse();
        Ok(parts)
    }

    /// The backend's rows of a key in a stretch of one segment; `None` if there are none.
    fn committed(
        &self,
        segment: i64,
        key: &[u8],
        (from_ms, to_ms): (i64, i64),
    ) -> Result<Option<Box<dyn Scan>>> {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        self.layout.row_key_in(segment, key, from_ms, 0, &mut first);
        self.layout
            .row_key_in(segment, key, to_ms, u32::MAX, &mut last);
        let mut rows = Rowset::default();
        let mut behind = None;
        let backend = self.backend.borrow();
        backend.read_range(self.column, (&first, &last), &mut |row_key, row| {
            match rows.byte_len() < COPIED_MAX {
                true => rows.push(row_key, Some(row)),
                false => behind = Some(row_key.to_vec()),
            }
            behind.is_none()
        })?;
        let Some(behind) = behind else {
            return Ok((rows.len() > 0).then(|| Box::new(rows) as Box<dyn Scan>));
        };
        let (from, to) = (Bound::Included(&behind[..]), Bound::Included(&last[..]));
        let rest = backend.scan(self.column, from, to, Direction::Forward)?;
        Ok(Some(Box::new(Copied { rows, rest })))
    }

    /// The rows between two row keys, over all keys: for rare requests, since it looks at all uncommitted
    /// rows.
    pub(super) fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<RowIter> {
        use std::ops::RangeBounds;
        let mut overlay = Rowset::default();
        if is_empty_range(from, to) {
            return Ok(RowIter::new(overlay, None, direction));
        }
        let mut rows = Vec::new();
        for dirty in &self.dirty {
            let (key, row, bytes) = self.slices[&dirty.slice].row(dirty.id);
            let mut row_key = Vec::new();
            self.layout
                .row_key(key, row.start_ms, row.sequence, &mut row_key);
            if RangeBounds::<[u8]>::contains(&(from, to), &row_key[..]) {
                rows.push((row_key, bytes));
            }
        }
        rows.sort();
        if direction == Direction::Backward {
            rows.reverse();
        }
        rows.iter()
            .for_each(|(key, row)| overlay.push(key, Some(row)));
        let backend = self.backend.borrow();
        let scan = backend.scan(self.column, from, to, direction)?;
        Ok(RowIter::new(overlay, Some(scan), direction))
    }

    /// A buffer for a walk; [`Additions::take_spare`] takes it back.
    pub(super) fn give_spare(&mut self) -> Vec<u8> {
        self.spare_buffers.pop().unwrap_or_default()
    }

    pub(super) fn take_spare(&mut self, buffer: Vec<u8>) {
        if self.spare_buffers.len() < SPARES_MAX && buffer.capacity() <= 64 << 10 {
            self.spare_buffers.push(buffer);
        }
    }
}
