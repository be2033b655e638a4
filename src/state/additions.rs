//! The overlay of a store that only adds rows, as each side of a join does.
//!
//! ```text
//!   start:    .......... early ............ | whole_from_ms | slice | slice | newest slice
//!   memory    what is uncommitted;          | every row, committed or not
//!             of the rest whose keys it has
//!   backend   every committed row, on both sides
//! ```
//!
//! Times that memory holds completely are looked up only there. The oldest slice is dropped when memory
//! runs short; nothing is written for that, since the backend has had its rows since their commit. The
//! hashes of its keys are kept for longer ([`super::given_up`]), so that the backend is rarely asked for
//! rows it does not have. Rows are never replaced or removed: a rollback removes the last ones.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use foldhash::fast::FixedState;

use super::given_up::GivenUp;
use super::overlay::{Overlay, Visit};
use super::row_limit::RowLimit;
use super::slice::Slice;
use super::table::SharedBackend;
use super::times::StoredTime;
use super::window_key::Layout;
use crate::base::Result;

pub(super) type SharedAdditions = Rc<RefCell<Additions>>;

/// The slice of uncommitted rows that start before the range held completely.
pub(super) const EARLY: i64 = i64::MIN;
/// How many slices the memory is divided into; none is full before the second (tests want several).
const SLICES: usize = 8;
/// The share of the memory for hashes of keys whose rows were dropped from it.
const GIVEN_UP_SHARE: usize = 2;
const SLICE_BYTES_MIN: usize = if cfg!(test) { 512 } else { 64 << 10 };
/// Emptied slices and buffers, kept for reuse.
pub(super) const SPARES_MAX: usize = 2;

/// An uncommitted row: its slice, and its number there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dirty {
    pub(super) slice: i64,
    pub(super) id: u32,
}

pub(super) struct Additions {
    pub(super) column: usize,
    pub(super) backend: SharedBackend,
    pub(super) layout: Layout,
    /// Slices end at segment boundaries, so that segments leave memory together.
    segment_ms: i64,
    hashing: FixedState,
    observed: StoredTime,
    /// By the smallest start that each is for.
    pub(super) slices: BTreeMap<i64, Slice>,
    /// All rows that start here or later are in the slices; `None` before the first request.
    whole_from_ms: Option<i64>,
    pub(super) given_up: GivenUp,
    /// In the order of their puts; first those that are being committed.
    pub(super) dirty: VecDeque<Dirty>,
    committing: usize,
    /// How many rows were uncommitted at each mark, the innermost last.
    marks: Vec<usize>,
    pub(super) limit: RowLimit,
    bytes: usize,
    dirty_bytes: usize,
    cache_bytes: usize,
    /// Incremented when rows leave memory: walks do not survive that.
    pub(super) generation: u64,
    spare_slices: Vec<Slice>,
    pub(super) spare_buffers: Vec<Vec<u8>>,
}

impl fmt::Debug for Additions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Additions")
            .field("column", &self.column)
            .field("slices", &self.slices.len())
            .field("dirty", &self.dirty.len())
            .field("committing", &self.committing)
            .finish_non_exhaustive()
    }
}

impl Additions {
    pub(super) fn new(
        column: usize,
        (backend, cache_bytes): (SharedBackend, usize),
        (layout, segment_ms): (Layout, i64),
        observed: StoredTime,
    ) -> Self {
        Self {
            column,
            backend,
            layout,
            segment_ms,
            hashing: FixedState::with_seed(0x6d61_7265_6121),
            observed,
            slices: BTreeMap::new(),
            whole_from_ms: None,
            given_up: GivenUp::default(),
            dirty: VecDeque::new(),
            committing: 0,
            marks: Vec::new(),
            limit: RowLimit::none(),
            bytes: 0,
            dirty_bytes: 0,
            cache_bytes,
            generation: 0,
            spare_slices: Vec::new(),
            spare_buffers: Vec::new(),
        }
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u32 {
        let mut hasher = self.hashing.build_hasher();
        hasher.write(key);
        let hash = hasher.finish();
        (hash ^ hash >> 32) as u32
    }

    /// When a store has just been opened, the backend has no row later than the store's time.
    #[inline]
    pub(super) fn whole_from_ms(&mut self) -> i64 {
        let observed = &self.observed;
        let behind = || observed.committed().saturating_add(1).max(0);
        *self.whole_from_ms.get_or_insert_with(behind)
    }

    pub(super) fn put(&mut self, key: &[u8], start_ms: i64, sequence: u32, row: &[u8]) {
        let hash = self.hash(key);
        let from_ms = self.slice_of(start_ms);
        if from_ms == EARLY {
            self.given_up.note(start_ms, hash);
        }
        let spares = &mut self.spare_slices;
        let fresh = || spares.pop().unwrap_or_default();
        let slice = self.slices.entry(from_ms).or_insert_with(fresh);
        let before = slice.cost();
        let id = slice.put(hash, key, (start_ms, sequence), row);
        self.bytes += slice.cost() - before;
        self.dirty_bytes += Slice::row_cost(row);
        self.dirty.push_back(Dirty { slice: from_ms, id });
    }

    /// The slice for a row.
    #[inline]
    pub(super) fn slice_of(&mut self, start_ms: i64) -> i64 {
        let whole_from_ms = self.whole_from_ms();
        if start_ms < whole_from_ms {
            return EARLY;
        }
        let Some((newest_ms, newest)) = self.slices.last_key_value() else {
            return whole_from_ms;
        };
        if start_ms < *newest_ms {
            let mut earlier = self.slices.range(whole_from_ms..=start_ms);
            return earlier.next_back().map_or(whole_from_ms, |(from, _)| *from);
        }
        let last_ms = newest.last_start_ms();
        if *newest_ms == EARLY {
            return whole_from_ms;
        }
        if start_ms <= last_ms {
            return *newest_ms;
        }
        let full = newest.cost() > (self.cache_bytes / SLICES).max(SLICE_BYTES_MIN);
        let segment_ms = start_ms - start_ms.rem_euclid(self.segment_ms);
        match full || segment_ms > last_ms {
            true => segment_ms.max(last_ms + 1),
            false => *newest_ms,
        }
    }

    /// Drops the oldest slices until the committed rows fit.
    fn evict(&mut self) {
        let share = self.cache_bytes / GIVEN_UP_SHARE;
        self.given_up.shrink_to(share);
        let room = self.cache_bytes.saturating_add(self.dirty_bytes);
        while self.bytes + self.given_up.bytes() > room {
            let whole_from_ms = self.whole_from_ms();
            let Some((oldest_ms, oldest)) = self.slices.range(whole_from_ms..).next() else {
                return;
            };
            let (oldest_ms, end_ms) = (*oldest_ms, oldest.last_start_ms() + 1);
            let next = self.slices.range(oldest_ms + 1..).next();
            let next_ms = next.map_or(end_ms, |(next_ms, _)| *next_ms);
            let last_ms = next_ms - 1;
            let stretch = (whole_from_ms, last_ms);
            self.given_up.push(stretch, oldest.hashes(), share);
            self.whole_from_ms = Some(next_ms);
            self.gather_early(Some(oldest_ms));
        }
    }

    /// Rebuilds the early slice from its uncommitted rows and those of a slice that is no longer kept.
    fn gather_early(&mut self, dropped: Option<i64>) {
        self.generation += 1;
        let old = [Some(EARLY), dropped].map(|from_ms| {
            let from_ms = from_ms?;
            Some((from_ms, self.slices.remove(&from_ms)?))
        });
        let mut early = self.spare_slices.pop().unwrap_or_default();
        for dirty in &mut self.dirty {
            let of = |(from_ms, _): &&(i64, Slice)| *from_ms == dirty.slice;
            if let Some((_, slice)) = old.iter().flatten().find(of) {
                let (key, row, bytes) = slice.row(dirty.id);
                dirty.id = early.put(slice.hash(dirty.id), key, row.order(), bytes);
                dirty.slice = EARLY;
            }
        }
        self.bytes += early.cost();
        match early.len() {
            0 => self.recycle(early),
            _ => {
                self.slices.insert(EARLY, early);
            }
        }
        for (_, slice) in old.into_iter().flatten() {
            self.bytes -= slice.cost();
            self.recycle(slice);
        }
    }

    fn recycle(&mut self, mut slice: Slice) {
        if self.spare_slices.len() < SPARES_MAX {
            slice.clear();
            self.spare_slices.push(slice);
        }
    }

    /// Removes the latest rows until this many uncommitted ones are left.
    fn take_back(&mut self, left: usize) {
        while self.dirty.len() > left
            && let Some(dirty) = self.dirty.pop_back()
        {
            if let Some(slice) = self.slices.get_mut(&dirty.slice) {
                let before = slice.cost();
                self.dirty_bytes -= Slice::row_cost(slice.row(dirty.id).2);
                slice.take_back();
                self.bytes -= before - slice.cost();
            }
        }
    }
}

impl Overlay for Additions {
    fn column(&self) -> usize {
        self.column
    }

    fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    fn set_cache_bytes(&mut self, cache_bytes: usize) {
        self.cache_bytes = cache_bytes;
        self.evict();
    }

    fn set_limit(&mut self, limit: RowLimit) {
        self.limit = limit;
    }

    fn seal(&mut self) {
        assert!(self.committing == 0, "one commit at a time");
        assert!(self.marks.is_empty(), "no commit in the middle of a record");
        self.committing = self.dirty.len();
    }

    fn clean_bytes(&self) -> usize {
        self.bytes.saturating_sub(self.dirty_bytes) + self.given_up.bytes()
    }

    fn committing_len(&self) -> usize {
        self.committing
    }

    fn committing(&self, visit: &mut Visit<'_>) -> Result<()> {
        let mut row_key = Vec::new();
        for dirty in self.dirty.range(..self.committing) {
            let (key, row, bytes) = self.slices[&dirty.slice].row(dirty.id);
            self.layout
                .row_key(key, row.start_ms, row.sequence, &mut row_key);
            visit(&row_key, Some(bytes))?;
        }
        Ok(())
    }

    fn committed(&mut self) {
        let mut early = false;
        for dirty in self.dirty.drain(..self.committing) {
            early |= dirty.slice == EARLY;
            let (_, _, bytes) = self.slices[&dirty.slice].row(dirty.id);
            self.dirty_bytes -= Slice::row_cost(bytes);
        }
        self.committing = 0;
        if early {
            self.gather_early(None);
        }
        self.evict();
    }

    fn rollback(&mut self) {
        self.take_back(0);
        self.committing = 0;
        self.marks.clear();
    }

    fn forget_below(&mut self, first_live: i64) {
        let first_live_ms = self.layout.first_start_ms(first_live);
        self.given_up.forget_before(first_live_ms);
        while let Some(whole_from_ms) = self.whole_from_ms
            && let Some((oldest_ms, oldest)) = self.slices.range(whole_from_ms..).next()
            && oldest.last_start_ms() < first_live_ms
            && !self.dirty.iter().any(|dirty| dirty.slice == *oldest_ms)
        {
            let oldest_ms = *oldest_ms;
            if let Some(slice) = self.slices.remove(&oldest_ms) {
                self.bytes -= slice.cost();
                self.generation += 1;
                self.recycle(slice);
            }
        }
    }

    fn mark(&mut self) {
        self.marks.push(self.dirty.len());
    }

    fn clear_mark(&mut self) {
        self.marks.pop();
    }

    fn undo_to_mark(&mut self) {
        let mark = self.marks.last().copied();
        assert!(mark.is_some(), "undo goes back to a mark");
        self.take_back(mark.unwrap_or_default());
    }
}
