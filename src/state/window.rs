//! A store of a row per key and window start, which forgets what is past its retention.
//!
//! A store has a time of its own: the largest start ever put. The operator may hold it back with a
//! floor, the smallest clock over the origins of its input (decision D13); the smaller of the two
//! decides what is read and what is refused. `tests/conformance/README.md` gives the rules of each medium.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::rc::Rc;

use super::iter::RowIter;
use super::table::SharedTable;
use super::times::{TimeSlot, Times};
use super::window_key::Layout;
use super::{Direction, Medium, NO_TIME, Put, WindowRules};
use crate::base::{Error, Offset, Result};

/// A handle of a window store. A clone is the same store; it stays on its task's thread.
#[derive(Clone, Debug)]
pub struct WindowStore(Rc<Inner>);

struct Inner {
    table: SharedTable,
    rules: WindowRules,
    layout: Layout,
    observed: TimeSlot,
    floor: TimeSlot,
    /// The number of the last put, where duplicates are kept.
    sequence: TimeSlot,
    /// The segments that may have rows, with the first offset of each on the changelog; none yet
    /// where nothing of it was committed.
    segments: RefCell<BTreeMap<i64, Option<Offset>>>,
    last_segment: Cell<i64>,
    scratch: RefCell<Vec<u8>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowStore")
            .field("rules", &self.rules)
            .field("observed_ms", &self.observed.get())
            .finish_non_exhaustive()
    }
}

/// The slot's form of a floor: the value that an empty slot has is a floor's too.
fn floor_to_slot(floor_ms: i64) -> i64 {
    match floor_ms {
        i64::MAX => NO_TIME,
        floor_ms => floor_ms.max(NO_TIME) - i64::from(floor_ms < 0),
    }
}

fn floor_from_slot(slot: i64) -> i64 {
    match slot {
        NO_TIME => i64::MAX,
        slot => slot.max(NO_TIME),
    }
}

impl WindowStore {
    pub(super) fn new(
        name: &str,
        table: SharedTable,
        rules: &WindowRules,
        medium: Medium,
        times: &Times,
    ) -> Self {
        Self(Rc::new(Inner {
            table,
            rules: rules.clone(),
            layout: Layout::new(medium, rules),
            observed: times.slot(&format!("store/{name}/observed")),
            floor: times.slot(&format!("store/{name}/floor")),
            sequence: times.slot(&format!("store/{name}/sequence")),
            segments: RefCell::default(),
            last_segment: Cell::new(i64::MIN),
            scratch: RefCell::default(),
        }))
    }

    pub(super) fn table(&self) -> &SharedTable {
        &self.0.table
    }

    pub(super) fn layout(&self) -> Layout {
        self.0.layout
    }

    pub(super) fn segments(&self) -> &RefCell<BTreeMap<i64, Option<Offset>>> {
        &self.0.segments
    }

    /// The store's rules.
    pub fn rules(&self) -> &WindowRules {
        &self.0.rules
    }

    /// The largest start put (in a persistent store: or removed); [`NO_TIME`] at first.
    pub fn observed_ms(&self) -> i64 {
        self.0.observed.get()
    }

    /// Holds the store's time back to `floor_ms`; `i64::MAX`, the default, does not. It commits and
    /// rolls back with the rows.
    pub fn set_floor_ms(&self, floor_ms: i64) {
        self.0.floor.set(floor_to_slot(floor_ms));
    }

    /// The time that decides what is read and refused.
    #[inline]
    fn time_ms(&self) -> i64 {
        let floor_ms = floor_from_slot(self.0.floor.get());
        self.0.observed.get().min(floor_ms)
    }

    /// A row is live if its start is larger than this.
    #[inline]
    fn dead_until_ms(&self) -> i64 {
        self.time_ms().saturating_sub(self.0.rules.retention_ms)
    }

    /// Segments below this hold no live row, judged by the times being committed.
    pub(super) fn first_live_segment_sealed(&self) -> i64 {
        let floor_ms = floor_from_slot(self.0.floor.sealed());
        let time_ms = self.0.observed.sealed().min(floor_ms);
        let dead_until_ms = time_ms.saturating_sub(self.0.rules.retention_ms);
        match self.0.layout.medium {
            Medium::Persistent => self.0.layout.segment(dead_until_ms),
            Medium::InMemory => dead_until_ms.saturating_add(1),
        }
    }

    /// The first segment below `before` in which the active generation has written.
    pub(super) fn first_active_segment(&self, before: i64) -> Option<i64> {
        let segments = self.0.segments.borrow();
        segments.range(..before).next()?;
        let table = self.0.table.borrow();
        let written = table.active_keys().filter_map(|key| {
            let segment = key.first_chunk::<8>()?;
            Some(i64::from_be_bytes(*segment))
        });
        written.filter(|segment| *segment < before).min()
    }

    /// Shows `read` the row of `key` and `start_ms`; none if it is past the retention. Where
    /// duplicates are kept, which of them is the peer's choice: the last put, if it was of this key
    /// and start. `read` must not use the same store.
    ///
    /// # Errors
    /// Those of the backend: `Corrupt`, `Unavailable`.
    #[inline]
    pub fn fetch<R>(
        &self,
        key: &[u8],
        start_ms: i64,
        read: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R> {
        if start_ms <= self.dead_until_ms() || start_ms < 0 {
            return Ok(read(None));
        }
        let sequence = self.sequence_now();
        let row_key = &mut *self.0.scratch.borrow_mut();
        self.0.layout.row_key(key, start_ms, sequence, row_key);
        Ok(read(self.0.table.borrow_mut().get(row_key)?))
    }

    #[inline]
    fn sequence_now(&self) -> u32 {
        match self.0.rules.duplicates {
            true => self.0.sequence.get().max(0) as u32,
            false => 0,
        }
    }

    /// Sets the row of `key` and `start_ms`, or adds one where duplicates are kept; `None` removes
    /// it, or is ignored.
    ///
    /// # Errors
    /// `User` if the start is negative, `TooLarge` if its changelog would not take the row.
    #[inline]
    pub fn put(&self, key: &[u8], start_ms: i64, row: Option<&[u8]>) -> Result<Put> {
        if start_ms < 0 {
            return Err(Error::user(format!(
                "a window cannot start at {start_ms}: times count from 1970; drop such records"
            )));
        }
        let inner = &*self.0;
        let ignored = row.is_none() && inner.rules.duplicates;
        let segment = inner.layout.segment(start_ms);
        let expired = match inner.layout.medium {
            Medium::Persistent => {
                if ignored {
                    return Ok(Put::Stored);
                }
                self.observe(start_ms);
                let dead_until_ms = self.dead_until_ms();
                // A live row's segment lives, so that most puts need no second division.
                start_ms <= dead_until_ms && segment < inner.layout.segment(dead_until_ms)
            }
            Medium::InMemory => {
                if row.is_some() {
                    self.observe(start_ms);
                }
                start_ms <= self.dead_until_ms()
            }
        };
        if expired {
            return Ok(Put::Expired);
        }
        if ignored {
            return Ok(Put::Stored);
        }
        let mut table = inner.table.borrow_mut();
        table.limit.check(key, row)?;
        if inner.last_segment.get() != segment {
            inner.segments.borrow_mut().entry(segment).or_insert(None);
            inner.last_segment.set(segment);
        }
        if inner.rules.duplicates {
            let next = (inner.sequence.get().max(0) + 1) & 0x7fff_ffff;
            inner.sequence.set(next);
        }
        let row_key = &mut *inner.scratch.borrow_mut();
        let sequence = self.sequence_now();
        inner
            .layout
            .row_key_in(segment, key, start_ms, sequence, row_key);
        table.put(row_key, row);
        Ok(Put::Stored)
    }

    #[inline]
    fn observe(&self, start_ms: i64) {
        if start_ms > self.0.observed.get() {
            self.0.observed.set(start_ms);
        }
    }

    /// The live rows of `key` with starts in `from_ms..=to_ms` as they are now, by start, then in
    /// the order of their puts.
    ///
    /// # Errors
    /// Those of the backend: `Corrupt`, `Unavailable`.
    pub fn fetch_range(&self, key: &[u8], from_ms: i64, to_ms: i64) -> Result<WindowIter> {
        self.fetch_range_toward(key, from_ms, to_ms, Direction::Forward)
    }

    /// As [`WindowStore::fetch_range`], in either direction.
    ///
    /// # Errors
    /// As there.
    pub fn fetch_range_toward(
        &self,
        key: &[u8],
        from_ms: i64,
        to_ms: i64,
        direction: Direction,
    ) -> Result<WindowIter> {
        let (from_ms, to_ms) = self.clamp(from_ms, to_ms);
        let layout = self.0.layout;
        let mut parts = Vec::new();
        if from_ms <= to_ms {
            let segments = self.0.segments.borrow();
            let mut table = self.0.table.borrow_mut();
            let (mut first, mut last) = (Vec::new(), Vec::new());
            for (segment, _) in segments.range(layout.segment(from_ms)..=layout.segment(to_ms)) {
                let (first_ms, last_ms) = match layout.medium {
                    Medium::Persistent => (from_ms, to_ms),
                    Medium::InMemory => (*segment, *segment),
                };
                layout.row_key_in(*segment, key, first_ms, 0, &mut first);
                layout.row_key_in(*segment, key, last_ms, u32::MAX, &mut last);
                parts.push(table.range(
                    Bound::Included(&first),
                    Bound::Included(&last),
                    direction,
                )?);
            }
        }
        // The last part is read first.
        if direction == Direction::Forward {
            parts.reverse();
        }
        Ok(WindowIter {
            parts,
            layout,
            from_ms,
            to_ms,
            key_len: Some(key.len()),
        })
    }

    /// All live rows as they are now. A persistent store gives them by segment, then by the bytes of
    /// key and start; an in-memory one by start, then by key.
    ///
    /// # Errors
    /// Those of the backend: `Corrupt`, `Unavailable`.
    pub fn all(&self) -> Result<WindowIter> {
        self.fetch_all(0, i64::MAX, Direction::Forward)
    }

    /// The live rows of all keys with starts in `from_ms..=to_ms`, in the order of
    /// [`WindowStore::all`] or its reverse.
    ///
    /// # Errors
    /// As there.
    pub fn fetch_all(&self, from_ms: i64, to_ms: i64, direction: Direction) -> Result<WindowIter> {
        let (from_ms, to_ms) = self.clamp(from_ms, to_ms);
        let layout = self.0.layout;
        let mut parts = Vec::new();
        if from_ms <= to_ms {
            let first = layout.segment(from_ms).to_be_bytes();
            // Starts are never negative, so that there is a number after every segment's.
            let after = (layout.segment(to_ms) as u64 + 1).to_be_bytes();
            parts.push(self.0.table.borrow_mut().range(
                Bound::Included(&first),
                Bound::Excluded(&after),
                direction,
            )?);
        }
        Ok(WindowIter {
            parts,
            layout,
            from_ms,
            to_ms,
            key_len: None,
        })
    }

    fn clamp(&self, from_ms: i64, to_ms: i64) -> (i64, i64) {
        let live_from_ms = self.dead_until_ms().saturating_add(1);
        (from_ms.max(live_from_ms).max(0), to_ms)
    }

    /// Takes over the segments that the backend has, or none.
    pub(super) fn set_segments(&self, segments: BTreeMap<i64, Option<Offset>>) {
        *self.0.segments.borrow_mut() = segments;
        self.0.last_segment.set(i64::MIN);
    }

    /// Forgets the segments below `first_live` and names them.
    pub(super) fn drop_segments_below(&self, first_live: i64) -> Vec<i64> {
        let mut segments = self.0.segments.borrow_mut();
        let live = segments.split_off(&first_live);
        let dead = std::mem::replace(&mut *segments, live);
        self.0.last_segment.set(i64::MIN);
        dead.into_keys().collect()
    }
}

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

/// A walk over the rows of a window store as they were when it began.
#[derive(Debug)]
pub struct WindowIter {
    /// What is left to read, the last one first.
    parts: Vec<RowIter>,
    layout: Layout,
    from_ms: i64,
    to_ms: i64,
    /// Length of the one key sought: longer keys may lie between two of its rows.
    key_len: Option<usize>,
}

impl WindowIter {
    /// The next row, or `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` when stored bytes are damaged, `Unavailable` when the disk does not answer.
    #[expect(
        clippy::should_implement_trait,
        reason = "an `Iterator` cannot lend from itself"
    )]
    pub fn next(&mut self) -> Result<Option<WindowRow<'_>>> {
        let layout = self.layout;
        loop {
            let Some(part) = self.parts.last_mut() else {
                return Ok(None);
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
}

pub(super) fn too_short(row_key: &[u8]) -> Error {
    Error::corrupt(format!(
        "a row of a window store has a key of {} bytes, too short to hold a window; delete the \
         task's state directory, it will be rebuilt from the changelog",
        row_key.len()
    ))
}
