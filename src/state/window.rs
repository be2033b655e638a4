//! A store of one row per key and window start, which drops rows past its retention.
//!
//! What is readable and what is refused depends on the store's time (`store_clock`), whose times are
//! starts. `tests/conformance/README.md` gives the rules of each type.

use std::cell::RefCell;
use std::fmt;
use std::ops::Bound;
use std::rc::Rc;

use super::additions::{Additions, SharedAdditions};
use super::iter::RowIter;
use super::kind::Site;
use super::overlay::SharedOverlay;
use super::store_clock::{Segments, StoreClock};
use super::table::{RowTable, SharedTable};
use super::times::StoredTime;
use super::window_iter::{MemoryWalk, WindowIter};
use super::window_key::Layout;
use super::{Direction, Put, StoreType, WindowRules};
use crate::base::{Error, Result};

/// A handle of a window store. A clone refers to the same store; it stays on its task's thread.
#[derive(Clone, Debug)]
pub struct WindowStore(Rc<Inner>);

/// The rows of a window store: one per key and start, or one per put.
#[derive(Debug)]
enum Kept {
    Replaced(SharedTable),
    Added(SharedAdditions),
}

impl Kept {
    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, direction: Direction) -> Result<RowIter> {
        match self {
            Self::Replaced(table) => table.borrow_mut().range(from, to, direction),
            Self::Added(rows) => rows.borrow().range(from, to, direction),
        }
    }
}

struct Inner {
    kept: Kept,
    rules: WindowRules,
    layout: Layout,
    clock: StoreClock,
    /// The number of the last put, if duplicates are kept.
    sequence: StoredTime,
    segments: Segments,
    scratch: RefCell<Vec<u8>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowStore")
            .field("rules", &self.rules)
            .field("observed_ms", &self.clock.observed_ms())
            .finish_non_exhaustive()
    }
}

impl WindowStore {
    pub(super) fn new(site: Site<'_>, rules: &WindowRules) -> Self {
        let Site {
            name,
            column,
            backend,
            cache_bytes,
            store_type,
            times,
            segments,
        } = site;
        let layout = Layout::new(store_type, rules);
        let clock = StoreClock::new(name, times, rules.retention_ms);
        let kept = if rules.duplicates {
            let shape = (layout, rules.segment_interval_ms());
            let observed = clock.observed().clone();
            let rows = Additions::new(column, (backend, cache_bytes), shape, observed);
            Kept::Added(Rc::new(RefCell::new(rows)))
        } else {
            let mut table = RowTable::new(column, backend, cache_bytes);
            table.know_groups(match store_type {
                StoreType::Persistent => 1,
                StoreType::InMemory => rules.segment_interval_ms(),
            });
            Kept::Replaced(Rc::new(RefCell::new(table)))
        };
        Self(Rc::new(Inner {
            kept,
            rules: rules.clone(),
            layout,
            clock,
            sequence: times.slot(&format!("store/{name}/sequence")),
            segments: Segments::new(segments),
            scratch: RefCell::default(),
        }))
    }

    pub(super) fn shared(&self) -> SharedOverlay {
        match &self.0.kept {
            Kept::Replaced(table) => table.clone(),
            Kept::Added(rows) => rows.clone(),
        }
    }

    pub(super) fn segments(&self) -> &Segments {
        &self.0.segments
    }

    /// The store's rules.
    pub fn rules(&self) -> &WindowRules {
        &self.0.rules
    }

    /// The largest start put or removed; [`NO_TIME`] at first. Removing from a store of duplicates is
    /// ignored, and moves the time of one in memory only, as in Kafka Streams.
    pub fn observed_ms(&self) -> i64 {
        self.0.clock.observed_ms()
    }

    /// Holds back the store's time to `floor_ms`; `i64::MAX`, the default, does not. The store's time
    /// never goes back: a floor below it, or below the last one, changes nothing. It commits and rolls
    /// back with the rows.
    pub fn set_floor_ms(&self, floor_ms: i64) {
        self.0.clock.set_floor_ms(floor_ms);
    }

    /// Segments below this hold no live row, according to the times being committed.
    pub(super) fn first_live_segment_sealed(&self) -> i64 {
        let dead_until_ms = self.0.clock.dead_until_sealed_ms();
        match self.0.layout.store_type {
            StoreType::Persistent => self.0.layout.segment(dead_until_ms),
            StoreType::InMemory => dead_until_ms.saturating_add(1),
        }
    }

    /// Calls `read` with the row of `key` and `start_ms`; none if it is past the retention. If duplicates
    /// are kept, it is the same one as in Kafka Streams: the last put, if it was of this key and start.
    /// `read` must not use the same store.
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
        if start_ms <= self.0.clock.dead_until_ms() || start_ms < 0 {
            return Ok(read(None));
        }
        let sequence = self.sequence_now();
        let row_key = &mut *self.0.scratch.borrow_mut();
        match &self.0.kept {
            Kept::Replaced(table) => {
                self.0.layout.row_key(key, start_ms, sequence, row_key);
                Ok(read(table.borrow_mut().get(row_key)?))
            }
            Kept::Added(rows) => {
                let place = (key, start_ms, sequence);
                rows.borrow_mut().get(place, row_key, read)
            }
        }
    }

    #[inline]
    fn sequence_now(&self) -> u32 {
        match self.0.rules.duplicates {
            true => self.0.sequence.get().max(0) as u32,
            false => 0,
        }
    }

    /// Sets the row of `key` and `start_ms`, or adds one if duplicates are kept; `None` removes it, or is
    /// ignored.
    ///
    /// # Errors
    /// `User` if the start is negative, `TooLarge` if the row is too large for its changelog.
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
        let expired = match inner.layout.store_type {
            StoreType::Persistent => {
                if ignored {
                    return Ok(Put::Stored);
                }
                self.0.clock.observe(start_ms);
                let dead_until_ms = self.0.clock.dead_until_ms();
                // A live row's segment is live, so most puts need no second division.
                start_ms <= dead_until_ms && segment < inner.layout.segment(dead_until_ms)
            }
            StoreType::InMemory => {
                self.0.clock.observe(start_ms);
                start_ms <= self.0.clock.dead_until_ms()
            }
        };
        if expired {
            return Ok(Put::Expired);
        }
        if ignored {
            return Ok(Put::Stored);
        }
        match &inner.kept {
            Kept::Replaced(table) => table.borrow().limit.check(key, row)?,
            Kept::Added(rows) => rows.borrow().limit.check(key, row)?,
        }
        if inner.segments.is_other(segment) {
            self.enter(segment);
        }
        match &inner.kept {
            Kept::Replaced(table) => {
                let row_key = &mut *inner.scratch.borrow_mut();
                inner.layout.row_key_in(segment, key, start_ms, 0, row_key);
                table.borrow_mut().put(row_key, row);
            }
            Kept::Added(rows) => {
                let next = (inner.sequence.get().max(0) + 1) & 0x7fff_ffff;
                inner.sequence.set(next);
                let row = row.unwrap_or_default();
                rows.borrow_mut().put(key, start_ms, next as u32, row);
            }
        }
        Ok(Put::Stored)
    }

    /// A row is put into a segment other than the last one's.
    #[cold]
    fn enter(&self, segment: i64) {
        self.0.segments.enter(segment, |segments| {
            if let Kept::Replaced(table) = &self.0.kept {
                let mut table = table.borrow_mut();
                if segments.range(table.group_of(segment)).next().is_none() {
                    table.begin_group(segment);
                }
            }
        });
    }

    /// The live rows of `key` with starts in `from_ms..=to_ms` as of now, by start, then in the order of
    /// their puts.
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
        if let Kept::Added(rows) = &self.0.kept
            && direction == Direction::Forward
        {
            return self.fetch_added(rows, key, (from_ms, to_ms));
        }
        let layout = self.0.layout;
        let mut parts = Vec::new();
        if from_ms <= to_ms {
            let segments = self.0.segments.map().borrow();
            let (mut first, mut last) = (Vec::new(), Vec::new());
            for (segment, _) in segments.range(layout.segment(from_ms)..=layout.segment(to_ms)) {
                let (first_ms, last_ms) = match layout.store_type {
                    StoreType::Persistent => (from_ms, to_ms),
                    StoreType::InMemory => (*segment, *segment),
                };
                layout.row_key_in(*segment, key, first_ms, 0, &mut first);
                layout.row_key_in(*segment, key, last_ms, u32::MAX, &mut last);
                parts.push(self.0.kept.range(
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
            memory: None,
            layout,
            from_ms,
            to_ms,
            key_len: Some(key.len()),
        })
    }

    /// Rows that memory does not hold completely come from the backend, segment by segment.
    fn fetch_added(
        &self,
        rows: &SharedAdditions,
        key: &[u8],
        (from_ms, to_ms): (i64, i64),
    ) -> Result<WindowIter> {
        let layout = self.0.layout;
        let mut added = rows.borrow_mut();
        let mut parts = Vec::new();
        let early_to_ms = to_ms.min(added.whole_from_ms().saturating_sub(1));
        if from_ms <= early_to_ms {
            let segments = self.0.segments.map().borrow();
            let early = layout.segment(from_ms)..=layout.segment(early_to_ms);
            let early = segments.range(early).map(|(segment, _)| *segment);
            parts = added.early(early, key, (from_ms, early_to_ms))?;
        }
        let walk = added.walk(key, from_ms, to_ms, self.sequence_now());
        let mut buffer = added.give_spare();
        buffer.clear();
        buffer.extend_from_slice(key);
        Ok(WindowIter {
            parts,
            memory: Some(MemoryWalk {
                rows: Rc::clone(rows),
                walk,
                buffer,
                key_len: key.len(),
            }),
            layout,
            from_ms,
            to_ms,
            key_len: Some(key.len()),
        })
    }

    /// All live rows as of now. A persistent store returns them by segment, then by the bytes of key and
    /// start; an in-memory one by start, then by key.
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
            // Starts are never negative, so there is a number after every segment's.
            let after = (layout.segment(to_ms) as u64 + 1).to_be_bytes();
            parts.push(self.0.kept.range(
                Bound::Included(&first),
                Bound::Excluded(&after),
                direction,
            )?);
        }
        Ok(WindowIter {
            parts,
            memory: None,
            layout,
            from_ms,
            to_ms,
            key_len: None,
        })
    }

    fn clamp(&self, from_ms: i64, to_ms: i64) -> (i64, i64) {
        let live_from_ms = self.0.clock.dead_until_ms().saturating_add(1);
        (from_ms.max(live_from_ms).max(0), to_ms)
    }
}
