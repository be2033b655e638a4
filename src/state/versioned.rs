//! A store that knows the value of a key at any time of its recent history.
//!
//! ```text
//!  put   A@10        B@20            null@30            C@40
//!        | A  [10,20) | B   [20,30)   |  nothing  [30,40) | C  [40,...)
//! rows     ended at 20  ended at 30                         current
//! ```
//!
//! A row is a version that ended, ordered by its end, or the current one. A row that ended when it began
//! records a deletion that nothing else shows. The changelog has the puts as they came, which is Kafka's
//! layout, so a restore repeats the puts. After a put that is not the newest version of its key, the
//! newest one is written again: compaction keeps the last record of a key, which must be the newest
//! version.

use std::cell::RefCell;
use std::fmt;
use std::ops::Bound;
use std::rc::Rc;

use super::journal::{Journal, SharedJournal};
use super::kind::Site;
use super::row;
use super::store_clock::{Segments, StoreClock};
use super::table::RowTable;
use super::versioned_key::{self as keys, CURRENT};
use super::{Direction, RowIter};
use crate::base::{Error, Result};

/// The rules of a versioned store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedRules {
    /// How far back from the largest timestamp put it accepts puts and knows values, in milliseconds.
    pub history_ms: i64,
}

impl VersionedRules {
    /// Length of a segment of ended versions: half the history, at least a minute. Not visible from
    /// outside.
    pub fn segment_interval_ms(&self) -> i64 {
        (self.history_ms / 2).max(60_000)
    }
}

/// The result of a put into a versioned store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionedPut {
    /// The version was accepted, and is valid until this time, in milliseconds; `None` if it is the
    /// newest.
    Stored(Option<i64>),
    /// The version is older than the store's history; the operator counts a drop.
    Expired,
}

/// A value and the time of its validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version<'a> {
    /// The row's bytes.
    pub row: &'a [u8],
    /// Start of its validity, in milliseconds.
    pub since_ms: i64,
    /// End of its validity; `None` if it is the newest.
    pub until_ms: Option<i64>,
}

/// A handle of a versioned store. A clone refers to the same store; it stays on its task's thread.
#[derive(Clone)]
pub struct VersionedStore(Rc<Inner>);

struct Inner {
    rows: SharedJournal,
    rules: VersionedRules,
    clock: StoreClock,
    segments: Segments,
    buffers: RefCell<Buffers>,
}

/// A row, and bytes of keys.
#[derive(Default)]
struct Buffers {
    key: Vec<u8>,
    row: Vec<u8>,
}

/// A version that ended.
struct Ended {
    since_ms: i64,
    until_ms: i64,
    row: Vec<u8>,
}

impl fmt::Debug for VersionedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VersionedStore")
            .field("rules", &self.0.rules)
            .field("observed_ms", &self.0.clock.observed_ms())
            .finish_non_exhaustive()
    }
}

impl VersionedStore {
    pub(super) fn new(site: Site<'_>, rules: &VersionedRules) -> Self {
        let mut table = RowTable::new(site.column, site.backend, site.cache_bytes);
        table.know_groups(1);
        Self(Rc::new(Inner {
            rows: Rc::new(RefCell::new(Journal::new(table))),
            rules: rules.clone(),
            clock: StoreClock::new(site.name, site.times, rules.history_ms),
            segments: Segments::new(site.segments),
            buffers: RefCell::default(),
        }))
    }

    pub(super) fn rows(&self) -> &SharedJournal {
        &self.0.rows
    }

    pub(super) fn segments(&self) -> &Segments {
        &self.0.segments
    }

    /// Segments below this hold no version that can still be requested, according to the times being
    /// committed.
    pub(super) fn first_live_segment_sealed(&self) -> i64 {
        self.segment(self.0.clock.dead_until_sealed_ms())
    }

    fn segment(&self, until_ms: i64) -> i64 {
        until_ms.div_euclid(self.0.rules.segment_interval_ms())
    }

    /// The store's rules.
    pub fn rules(&self) -> &VersionedRules {
        &self.0.rules
    }

    /// The largest timestamp put; [`super::NO_TIME`] at first.
    pub fn observed_ms(&self) -> i64 {
        self.0.clock.observed_ms()
    }

    /// Sets the value of `key` from `timestamp_ms` on, until the next known version; `None` deletes it
    /// for that time.
    ///
    /// # Errors
    /// `User` if the timestamp is negative, `TooLarge` if the row is too large for its changelog; those
    /// of the backend.
    pub fn put(&self, key: &[u8], row: Option<&[u8]>, timestamp_ms: i64) -> Result<VersionedPut> {
        if timestamp_ms < 0 {
            return Err(Error::user(format!(
                "a version cannot begin at {timestamp_ms}: times count from 1970; drop such records"
            )));
        }
        if timestamp_ms < self.0.clock.dead_until_ms() {
            return Ok(VersionedPut::Expired);
        }
        self.0.rows.borrow().table.limit.check(key, row)?;
        let until_ms = self.take(key, row, timestamp_ms)?;
        let mut rows = self.0.rows.borrow_mut();
        rows.note(key, row, timestamp_ms);
        drop(rows);
        if until_ms.is_some() {
            self.note_newest(key)?;
        }
        Ok(VersionedPut::Stored(until_ms))
    }

    /// Writes the newest version of `key`, or its deletion, once more.
    fn note_newest(&self, key: &[u8]) -> Result<()> {
        let newest = self.current(key, |current| {
            current.map(|(since_ms, row)| (since_ms, row.to_vec()))
        })?;
        if let Some((since_ms, row)) = newest {
            self.0.rows.borrow_mut().note(key, Some(&row), since_ms);
            return Ok(());
        }
        let mut deleted_ms = None;
        // Rows that ended before are gone, or none was out of order; no version ends before 0.
        let mut from_ms = self.0.clock.dead_until_ms().max(0) - 1;
        while let Some(ended) = self.first_ended_after(key, from_ms)? {
            from_ms = ended.until_ms;
            deleted_ms = Some(ended.until_ms);
        }
        if let Some(deleted_ms) = deleted_ms {
            self.0.rows.borrow_mut().note(key, None, deleted_ms);
        }
        Ok(())
    }

    /// As [`VersionedStore::put`] for a record of the changelog; nothing is refused, since it was not
    /// refused then.
    pub(super) fn put_again(
        &self,
        key: &[u8],
        row: Option<&[u8]>,
        timestamp_ms: i64,
    ) -> Result<()> {
        self.take(key, row, timestamp_ms).map(|_| ())
    }

    /// Inserts the version among the others, and returns when the next one begins.
    fn take(&self, key: &[u8], row: Option<&[u8]>, at_ms: i64) -> Result<Option<i64>> {
        self.0.clock.observe(at_ms);
        let mut current = None;
        self.current(key, |version| {
            current = version.map(|(since_ms, row)| (since_ms, row.to_vec()));
        })?;
        if let Some((since_ms, was)) = current.as_ref().filter(|(since_ms, _)| *since_ms <= at_ms) {
            let is_later = *since_ms < at_ms;
            if is_later {
                self.write_ended(key, (*since_ms, at_ms), was);
            }
            self.write_current(key, row.map(|row| (at_ms, row)));
            // A deletion at the time of the version that it deletes leaves no trace, as in Kafka Streams:
            // an older version that arrives later is then the newest.
            if row.is_none() && is_later {
                self.remember_deletion(key, at_ms)?;
            }
            return Ok(None);
        }
        let Some(next) = self.first_ended_after(key, at_ms)? else {
            let Some((until_ms, _)) = current else {
                // Nothing was known of the key at this time or later.
                self.write_current(key, row.map(|row| (at_ms, row)));
                if row.is_none() {
                    self.remember_deletion(key, at_ms)?;
                }
                return Ok(None);
            };
            self.write_between(key, row, (at_ms, until_ms))?;
            return Ok(Some(until_ms));
        };
        if next.since_ms > at_ms {
            // Nothing was valid then.
            self.write_between(key, row, (at_ms, next.since_ms))?;
            return Ok(Some(next.since_ms));
        }
        if next.since_ms < at_ms {
            self.write_ended(key, (next.since_ms, at_ms), &next.row);
        }
        let since_ms = if row.is_some() { at_ms } else { next.until_ms };
        let row_now = row.unwrap_or_default();
        self.write_ended(key, (since_ms, next.until_ms), row_now);
        if row.is_none() {
            self.remember_deletion(key, at_ms)?;
        }
        Ok(Some(next.until_ms))
    }

    /// Writes a version, or a deletion, at a time when nothing is valid until `until_ms`.
    fn write_between(
        &self,
        key: &[u8],
        row: Option<&[u8]>,
        (since_ms, until_ms): (i64, i64),
    ) -> Result<()> {
        match row {
            Some(row) => {
                self.write_ended(key, (since_ms, until_ms), row);
                Ok(())
            }
            None => self.remember_deletion(key, since_ms),
        }
    }

    /// Records that a version ended at `at_ms`, unless a row says so.
    fn remember_deletion(&self, key: &[u8], at_ms: i64) -> Result<()> {
        let known = {
            let buffers = &mut *self.0.buffers.borrow_mut();
            keys::row_key(self.segment(at_ms), key, at_ms, &mut buffers.key);
            let mut rows = self.0.rows.borrow_mut();
            rows.table.get(&buffers.key)?.is_some()
        };
        if !known {
            self.write_ended(key, (at_ms, at_ms), &[]);
        }
        Ok(())
    }

    fn write_ended(&self, key: &[u8], (since_ms, until_ms): (i64, i64), row: &[u8]) {
        let segment = self.segment(until_ms);
        if self.0.segments.is_other(segment) {
            self.0.segments.enter(segment, |_| {});
        }
        self.write(segment, key, until_ms, Some((since_ms, row)));
    }

    fn write_current(&self, key: &[u8], version: Option<(i64, &[u8])>) {
        self.write(CURRENT, key, CURRENT, version);
    }

    fn write(&self, segment: i64, key: &[u8], until_ms: i64, version: Option<(i64, &[u8])>) {
        let buffers = &mut *self.0.buffers.borrow_mut();
        keys::row_key(segment, key, until_ms, &mut buffers.key);
        let row = version.map(|(since_ms, row)| {
            row::begin(since_ms, &mut buffers.row);
            buffers.row.extend_from_slice(row);
            &buffers.row[..]
        });
        self.0.rows.borrow_mut().table.put(&buffers.key, row);
    }

    /// Calls `read` with the version that no other one ended.
    fn current<R>(&self, key: &[u8], read: impl FnOnce(Option<(i64, &[u8])>) -> R) -> Result<R> {
        let row_key = &mut self.0.buffers.borrow_mut().key;
        keys::row_key(CURRENT, key, CURRENT, row_key);
        let mut rows = self.0.rows.borrow_mut();
        let row = rows.table.get(row_key)?;
        Ok(read(row.map(row::split).transpose()?))
    }

    /// The first of the versions that ended after `at_ms`.
    fn first_ended_after(&self, key: &[u8], at_ms: i64) -> Result<Option<Ended>> {
        let Some(after_ms) = at_ms.checked_add(1) else {
            return Ok(None);
        };
        let first_segment = self.segment(after_ms);
        let segments = self.0.segments.map().borrow();
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for (segment, _) in segments.range(first_segment..) {
            keys::row_key(*segment, key, after_ms, &mut from);
            keys::row_key(*segment, key, i64::MAX, &mut to);
            let mut rows = self.range(&from, Bound::Included(&to))?;
            while let Some((row_key, row)) = rows.next()? {
                let (found, until_ms) = keys::parts(row_key)?;
                if found == key {
                    let (since_ms, row) = row::split(row)?;
                    return Ok(Some(Ended {
                        since_ms,
                        until_ms,
                        row: row.to_vec(),
                    }));
                }
            }
        }
        Ok(None)
    }

    fn range(&self, from: &[u8], to: Bound<&[u8]>) -> Result<RowIter> {
        let mut rows = self.0.rows.borrow_mut();
        rows.table
            .range(Bound::Included(from), to, Direction::Forward)
    }

    /// Calls `read` with the newest version of `key`; none if it was deleted. `read` must not use the same
    /// store.
    ///
    /// # Errors
    /// Those of the backend: `Corrupt`, `Unavailable`.
    #[inline]
    pub fn get<R>(&self, key: &[u8], read: impl FnOnce(Option<Version<'_>>) -> R) -> Result<R> {
        self.current(key, |current| {
            read(current.map(|(since_ms, row)| Version {
                row,
                since_ms,
                until_ms: None,
            }))
        })
    }

    /// Calls `read` with the version that was valid at `as_of_ms`. Before the store's history there is
    /// none, except for the newest one, which is known for as long as it is valid. `read` must not use
    /// the same store.
    ///
    /// # Errors
    /// As [`VersionedStore::get`].
    pub fn get_as_of<R>(
        &self,
        key: &[u8],
        as_of_ms: i64,
        read: impl FnOnce(Option<Version<'_>>) -> R,
    ) -> Result<R> {
        let mut read = Some(read);
        let newest = self.current(key, |current| {
            let (since_ms, row) = current.filter(|(since_ms, _)| *since_ms <= as_of_ms)?;
            let version = Version {
                row,
                since_ms,
                until_ms: None,
            };
            read.take().map(|read| read(Some(version)))
        })?;
        match (newest, read) {
            (Some(result), _) => Ok(result),
            (None, None) => Err(Error::internal("reading a version returned nothing")),
            (None, Some(read)) if as_of_ms < self.0.clock.dead_until_ms() => Ok(read(None)),
            (None, Some(read)) => {
                let ended = self.first_ended_after(key, as_of_ms)?;
                let ended = ended.filter(|ended| ended.since_ms <= as_of_ms);
                Ok(read(ended.as_ref().map(|ended| Version {
                    row: &ended.row,
                    since_ms: ended.since_ms,
                    until_ms: Some(ended.until_ms),
                })))
            }
        }
    }

    /// The rows of the newest versions, by key: each a timestamp and the row.
    pub(super) fn all_current(&self) -> Result<RowIter> {
        self.range(&CURRENT.to_be_bytes(), Bound::Unbounded)
    }
}
