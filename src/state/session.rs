//! A store of one row per key and session, which drops rows past its retention.
//!
//! What is readable and what is refused depends on the store's time (`store_clock`), whose times are ends
//! of sessions. `tests/conformance/README.md` gives the rules of each type. Two sessions of a key may
//! overlap: the operator merges them.

use std::cell::RefCell;
use std::fmt;
use std::ops::Bound;
use std::rc::Rc;

use super::kind::Site;
use super::session_iter::{SessionIter, SessionRow, Sought};
use super::session_key::SessionLayout;
use super::store_clock::{Segments, StoreClock};
use super::table::{RowTable, SharedTable};
use super::{Direction, Put, SessionRules, StoreType};
use crate::base::{Error, Result};

/// A handle of a session store. A clone refers to the same store; it stays on its task's thread.
#[derive(Clone)]
pub struct SessionStore(Rc<Inner>);

struct Inner {
    table: SharedTable,
    rules: SessionRules,
    layout: SessionLayout,
    store_type: StoreType,
    clock: StoreClock,
    segments: Segments,
    row_key: RefCell<Vec<u8>>,
}

impl fmt::Debug for SessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionStore")
            .field("rules", &self.0.rules)
            .field("observed_ms", &self.0.clock.observed_ms())
            .finish_non_exhaustive()
    }
}

impl SessionStore {
    pub(super) fn new(site: Site<'_>, rules: &SessionRules) -> Self {
        let mut table = RowTable::new(site.column, site.backend, site.cache_bytes);
        table.know_groups(1);
        Self(Rc::new(Inner {
            table: Rc::new(RefCell::new(table)),
            rules: rules.clone(),
            layout: SessionLayout::new(rules),
            store_type: site.store_type,
            clock: StoreClock::new(site.name, site.times, rules.retention_ms),
            segments: Segments::new(site.segments),
            row_key: RefCell::default(),
        }))
    }

    pub(super) fn table(&self) -> &SharedTable {
        &self.0.table
    }

    pub(super) fn segments(&self) -> &Segments {
        &self.0.segments
    }

    /// The store's rules.
    pub fn rules(&self) -> &SessionRules {
        &self.0.rules
    }

    /// The largest end put (in a persistent store: or removed); [`super::NO_TIME`] at first.
    pub fn observed_ms(&self) -> i64 {
        self.0.clock.observed_ms()
    }

    /// Holds the store's time back to `floor_ms`, as [`super::WindowStore::set_floor_ms`].
    pub fn set_floor_ms(&self, floor_ms: i64) {
        self.0.clock.set_floor_ms(floor_ms);
    }

    /// Segments below this hold no live row, according to the times being committed.
    pub(super) fn first_live_segment_sealed(&self) -> i64 {
        let dead_until_ms = self.0.clock.dead_until_sealed_ms();
        self.0.layout.segment(dead_until_ms)
    }

    /// Calls `read` with the row of exactly this session; none if it is past the retention. `read` must
    /// not use the same store.
    ///
    /// # Errors
    /// Those of the backend: `Corrupt`, `Unavailable`.
    #[inline]
    pub fn fetch<R>(
        &self,
        key: &[u8],
        start_ms: i64,
        end_ms: i64,
        read: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R> {
        let inner = &*self.0;
        if end_ms <= inner.clock.dead_until_ms() || start_ms < 0 || end_ms < start_ms {
            return Ok(read(None));
        }
        let row_key = &mut *inner.row_key.borrow_mut();
        let segment = inner.layout.segment(end_ms);
        let session = (start_ms, end_ms);
        SessionLayout::row_key_in(segment, key, session, row_key);
        Ok(read(inner.table.borrow_mut().get(row_key)?))
    }

    /// As [`SessionStore::fetch`], but a row past the retention of a persistent store is shown as long as
    /// its segment exists: closed sessions are sent by this rule.
    ///
    /// # Errors
    /// As there.
    pub fn fetch_kept<R>(
        &self,
        key: &[u8],
        start_ms: i64,
        end_ms: i64,
        read: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R> {
        let inner = &*self.0;
        if start_ms < 0 || end_ms < start_ms || !self.is_taken(end_ms) {
            return Ok(read(None));
        }
        let row_key = &mut *inner.row_key.borrow_mut();
        let segment = inner.layout.segment(end_ms);
        SessionLayout::row_key_in(segment, key, (start_ms, end_ms), row_key);
        Ok(read(inner.table.borrow_mut().get(row_key)?))
    }

    /// Sets the row of the session.
    ///
    /// # Errors
    /// `User` if it starts before 1970 or ends before it starts, `TooLarge` if the row is too large for
    /// its changelog.
    #[inline]
    pub fn put(&self, key: &[u8], start_ms: i64, end_ms: i64, row: &[u8]) -> Result<Put> {
        self.check(start_ms, end_ms)?;
        self.0.clock.observe(end_ms);
        if !self.is_taken(end_ms) {
            return Ok(Put::Expired);
        }
        self.write(key, (start_ms, end_ms), Some(row))?;
        Ok(Put::Stored)
    }

    /// Removes the row of the session, if there is one. It advances the time of a persistent store, as a
    /// put does; for a session that is too old for the store, nothing is removed.
    ///
    /// # Errors
    /// As [`SessionStore::put`].
    #[inline]
    pub fn remove(&self, key: &[u8], start_ms: i64, end_ms: i64) -> Result<()> {
        self.check(start_ms, end_ms)?;
        if self.0.store_type == StoreType::Persistent {
            self.0.clock.observe(end_ms);
        }
        match self.is_taken(end_ms) {
            true => self.write(key, (start_ms, end_ms), None),
            false => Ok(()),
        }
    }

    #[inline]
    fn check(&self, start_ms: i64, end_ms: i64) -> Result<()> {
        if start_ms < 0 || end_ms < start_ms {
            return Err(Error::user(format!(
                "a session cannot extend from {start_ms} to {end_ms}: times count from 1970, and a session \
                 cannot end before it starts; drop such records"
            )));
        }
        Ok(())
    }

    #[inline]
    fn is_taken(&self, end_ms: i64) -> bool {
        let inner = &*self.0;
        let dead_until_ms = inner.clock.dead_until_ms();
        let layout = inner.layout;
        end_ms > dead_until_ms
            || inner.store_type == StoreType::Persistent
                && layout.segment(end_ms) >= layout.segment(dead_until_ms)
    }

    fn write(&self, key: &[u8], session: (i64, i64), row: Option<&[u8]>) -> Result<()> {
        let inner = &*self.0;
        inner.table.borrow().limit.check(key, row)?;
        let segment = inner.layout.segment(session.1);
        if inner.segments.is_other(segment) {
            inner.segments.enter(segment, |segments| {
                let mut table = inner.table.borrow_mut();
                if segments.range(table.group_of(segment)).next().is_none() {
                    table.begin_group(segment);
                }
            });
        }
        let row_key = &mut *inner.row_key.borrow_mut();
        SessionLayout::row_key_in(segment, key, session, row_key);
        inner.table.borrow_mut().put(row_key, row);
        Ok(())
    }

    /// The live sessions of `key` that end at `earliest_end_ms` or later and start at `latest_start_ms`
    /// or earlier, as of now, by end, then start, or in reverse.
    ///
    /// # Errors
    /// Those of the backend: `Corrupt`, `Unavailable`.
    pub fn find_sessions(
        &self,
        key: &[u8],
        earliest_end_ms: i64,
        latest_start_ms: i64,
        direction: Direction,
    ) -> Result<SessionIter> {
        let sought = self.sought(Some(key), (earliest_end_ms, i64::MAX), latest_start_ms);
        let layout = self.0.layout;
        let mut parts = Vec::new();
        if latest_start_ms >= 0 {
            let first_segment = layout.segment(sought.ends_ms.0);
            let (mut first, mut last) = (Vec::new(), Vec::new());
            for (segment, _) in self.0.segments.map().borrow().range(first_segment..) {
                SessionLayout::row_key_in(*segment, key, (0, sought.ends_ms.0), &mut first);
                SessionLayout::row_key_in(*segment, key, (latest_start_ms, i64::MAX), &mut last);
                parts.push(self.range(&first, Bound::Included(&last), direction)?);
            }
        }
        // The last part is read first.
        if direction == Direction::Forward {
            parts.reverse();
        }
        Ok(SessionIter::new(parts, sought))
    }

    /// All live sessions of `key` as of now, by end, then start.
    ///
    /// # Errors
    /// As [`SessionStore::find_sessions`].
    pub fn fetch_all(&self, key: &[u8]) -> Result<SessionIter> {
        self.find_sessions(key, 0, i64::MAX, Direction::Forward)
    }

    /// The live sessions of all keys that end at `earliest_end_ms` or later and start at
    /// `latest_start_ms` or earlier, as of now. A persistent store returns them by segment, then by the
    /// bytes of key, end and start; an in-memory one by end, then key, then start.
    ///
    /// # Errors
    /// As [`SessionStore::find_sessions`].
    pub fn find_all(
        &self,
        earliest_end_ms: i64,
        latest_start_ms: i64,
        direction: Direction,
    ) -> Result<SessionIter> {
        let sought = self.sought(None, (earliest_end_ms, i64::MAX), latest_start_ms);
        let part = self.segments_between(sought.ends_ms, direction)?;
        let found = SessionIter::new(vec![part], sought);
        match self.0.store_type {
            StoreType::Persistent => Ok(found),
            StoreType::InMemory => {
                let order = |row: &SessionRow<'_>| (row.end_ms, row.key.to_vec(), row.start_ms);
                found.sorted(direction, order)
            }
        }
    }

    /// The sessions of all keys that end in `from_ms..=to_ms`, by end, then start, then key: the order in
    /// which closed sessions are sent. Unlike all other reads, this includes sessions past the retention
    /// of a persistent store as long as their segment exists. It walks over all rows of the segments
    /// concerned, and sorts those found in memory.
    ///
    /// # Errors
    /// As [`SessionStore::find_sessions`].
    pub fn find_ended(&self, from_ms: i64, to_ms: i64) -> Result<SessionIter> {
        let ends_ms = match self.0.store_type {
            StoreType::Persistent => {
                let first_live = self.0.layout.segment(self.0.clock.dead_until_ms());
                let live_from_ms = self.0.layout.first_end_ms(first_live);
                (from_ms.max(live_from_ms).max(0), to_ms)
            }
            StoreType::InMemory => self.sought(None, (from_ms, to_ms), i64::MAX).ends_ms,
        };
        let part = self.segments_between(ends_ms, Direction::Forward)?;
        let sought = Sought {
            key_len: None,
            ends_ms,
            latest_start_ms: i64::MAX,
        };
        let order = |row: &SessionRow<'_>| (row.end_ms, row.start_ms, row.key.to_vec());
        SessionIter::new(vec![part], sought).sorted(Direction::Forward, order)
    }

    fn segments_between(
        &self,
        (from_ms, to_ms): (i64, i64),
        direction: Direction,
    ) -> Result<super::RowIter> {
        let layout = self.0.layout;
        let first = layout.segment(from_ms).to_be_bytes();
        // No end is negative, so there is a number after every segment's.
        let last = layout.segment(to_ms.max(0));
        let after = (last as u64 + 1).to_be_bytes();
        self.range(&first, Bound::Excluded(&after), direction)
    }

    fn range(&self, from: &[u8], to: Bound<&[u8]>, direction: Direction) -> Result<super::RowIter> {
        let mut table = self.0.table.borrow_mut();
        table.range(Bound::Included(from), to, direction)
    }

    fn sought(&self, key: Option<&[u8]>, ends_ms: (i64, i64), latest_start_ms: i64) -> Sought {
        let live_from_ms = self.0.clock.dead_until_ms().saturating_add(1);
        Sought {
            key_len: key.map(<[u8]>::len),
            ends_ms: (ends_ms.0.max(live_from_ms).max(0), ends_ms.1),
            latest_start_ms,
        }
    }
}
