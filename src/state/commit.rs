//! How the state of a task commits.
//!
//! The runtime calls, in this order:
//! 1. [`TaskState::seal`]: the writes so far become the committing generation; the task continues.
//! 2. [`TaskState::changelog`] for each store and the task changelog: the records of that generation,
//!    which go to the log in one transaction with outputs and input offsets.
//! 3. [`TaskState::applied`] once the commit is definite: rows, positions and times go to the backend in
//!    one write. Or [`TaskState::rollback`] if it was aborted.

use super::kind::{Expiry, Opened};
use super::marks::Marks;
use super::meta::Position;
use super::task_state::TaskState;
use super::times::TASK_TIME;
use super::{NO_TIME, Rows, meta};
use crate::base::{Error, Offset, Result};
use crate::batch::Records;

/// A buffer for changes that is larger than this is freed, in bytes: there are many tasks, and their
/// largest commits rarely coincide.
const ROWS_KEPT_BYTES: usize = 256 << 10;

impl TaskState {
    /// Makes the writes since the last call the committing generation.
    ///
    /// # Errors
    /// `Internal` if one is in flight, or a mark is set.
    pub fn seal(&mut self) -> Result<()> {
        if self.in_flight || self.marks.are_set() {
            return Err(Error::internal(format!(
                "task {} commits while a commit is in flight or a record is half done",
                self.task
            )));
        }
        for store in &self.stores {
            store.overlay.borrow_mut().seal();
        }
        self.times.seal();
        self.records.fill(0);
        self.in_flight = true;
        Ok(())
    }

    /// Appends the changelog records of the committing generation to `out`: one for each row of the store
    /// that changed, none if it is not logged. The store after the last is the task changelog.
    ///
    /// # Errors
    /// `Internal` if no commit is in flight or there is no such store; `Corrupt` if the layout of a row
    /// does not match its store.
    pub fn changelog(&mut self, store: usize, out: &mut impl Records) -> Result<()> {
        if !self.in_flight || store > self.specs.len() {
            return Err(Error::internal(format!(
                "task {} has no changelog {store} to commit",
                self.task
            )));
        }
        let before = out.count();
        let task_time_ms = self.times.slot(TASK_TIME).sealed().max(0);
        if store == self.specs.len() {
            self.times.changes(|name, time| {
                let value = (time != NO_TIME).then(|| time.to_be_bytes());
                let value = value.as_ref().map(<[u8; 8]>::as_slice);
                out.push(Some(name.as_bytes()), value, task_time_ms, &[]);
            });
        } else if self.specs[store].is_logged() {
            self.store_changelog(store, task_time_ms, out)?;
        }
        self.records[store] = out.count() - before;
        Ok(())
    }

    fn store_changelog(
        &mut self,
        index: usize,
        task_time_ms: i64,
        out: &mut impl Records,
    ) -> Result<()> {
        let Opened {
            store,
            overlay,
            mapping,
        } = &self.stores[index];
        let taken = store.records(&mut |key, value, timestamp_ms| {
            out.push(Some(key), value, timestamp_ms, &[]);
            Ok(())
        })?;
        if taken {
            return Ok(());
        }
        let spec = &self.specs[index];
        let key_scratch = &mut self.scratch;
        overlay.borrow().committing(&mut |row_key, row| {
            let Some(record) = mapping.record(row_key, key_scratch)? else {
                return Ok(());
            };
            let parts = row.map(|row| spec.row.parts(row)).transpose();
            let parts = parts.map_err(|error| {
                error.context(format!("store {} of task {}", spec.name, self.task))
            })?;
            let of_row = parts.as_ref().and_then(|parts| parts.timestamp_ms);
            let timestamp_ms = of_row.or(record.timestamp_ms).unwrap_or(task_time_ms);
            let headers = parts
                .as_ref()
                .map_or(&[][..], |parts| parts.headers.as_slice());
            let value = parts.as_ref().map(|parts| parts.value);
            out.push(Some(record.key), value, timestamp_ms, headers);
            Ok(())
        })
    }

    /// The commit is definite: writes the committing generation, the positions and the times to the
    /// backend, in one write. `ends` has the offset after the last record for each store's changelog and
    /// finally for the task changelog; `None` if nothing was appended.
    ///
    /// # Errors
    /// Those of the backend. The state is unusable afterwards: drop it and open it again. `Internal` if
    /// no commit is in flight, or a mark is set.
    pub fn applied(&mut self, ends: &[Option<Offset>]) -> Result<()> {
        if !self.in_flight || self.marks.are_set() || ends.len() != self.positions.len() {
            return Err(Error::internal(format!(
                "task {} applies a commit that is not in flight, or in the middle of a record, or \
                 with {} ends instead of {}",
                self.task,
                ends.len(),
                self.positions.len()
            )));
        }
        let meta_column = self.meta_column();
        let mut rows = std::mem::take(&mut self.rows);
        rows.clear();
        let mut expired = Vec::new();
        let sorted = self.backend.borrow().prefers_sorted();
        for (index, store) in self.stores.iter().enumerate() {
            let overlay = store.overlay.borrow();
            let (column, before) = (overlay.column(), rows.len());
            overlay.committing(&mut |key, row| {
                match row {
                    Some(row) => rows.put(column, key, row),
                    None => rows.delete(column, key),
                }
                Ok(())
            })?;
            if sorted {
                rows.sort_from(before);
            }
            if let Some(expiry) = store.store.expiry()
                && overlay.committing_len() > 0
            {
                // Nothing was appended since the position. Counting back from the end could give too late
                // an offset: in some logs, not every offset is a record.
                let first = self.position(index).unwrap_or(0);
                let first_live = self.expire(index, expiry, first, &mut rows);
                expired.extend(first_live.map(|first_live| (index, first_live)));
            }
        }
        // Nothing else writes to the changelogs: a store that did not change is at its end too, and as
        // fresh as the others. So a restore need not fear missed deletions in a rarely changed store.
        let at_ms = self.wall_ms;
        let moved = |(known, end): (&Option<Position>, &Option<Offset>)| {
            let offset = end.or(known.map(|known| known.offset))?;
            Some(Position { offset, at_ms })
        };
        let positions: Vec<_> = self.positions.iter().zip(ends).map(moved).collect();
        for (index, position) in positions.iter().enumerate() {
            if let Some(position) = position {
                rows.put(meta_column, &self.position_key(index), &position.encode());
            }
        }
        self.times.changes(|name, time| {
            let key = [meta::TIMES, name.as_bytes()];
            match time {
                NO_TIME => rows.delete(meta_column, &key.concat()),
                time => rows.put_parts(meta_column, &key, &[&time.to_be_bytes()]),
            }
        });
        let written = match rows.is_empty() {
            true => Ok(()),
            false => self.backend.borrow_mut().write(&rows),
        };
        rows.clear();
        if rows.capacity() <= ROWS_KEPT_BYTES {
            self.rows = rows;
        }
        written.map_err(|error| error.context(format!("state of task {}", self.task)))?;
        self.positions = positions;
        for store in &self.stores {
            store.overlay.borrow_mut().committed();
        }
        for (index, first_live) in expired {
            let overlay = &self.stores[index].overlay;
            overlay.borrow_mut().forget_below(first_live);
        }
        self.times.committed();
        self.in_flight = false;
        Ok(())
    }

    /// Records the new segments, the first of whose records is at `first` or later, and removes those
    /// without live rows. Returns the first that stays, if any was removed.
    fn expire(
        &self,
        index: usize,
        expiry: &dyn Expiry,
        first: Offset,
        rows: &mut Rows,
    ) -> Option<i64> {
        let meta_column = self.meta_column();
        let prefix = meta::segments_prefix(&self.specs[index].name);
        for (segment, known) in expiry.segments().borrow_mut().iter_mut() {
            if known.is_none() {
                *known = Some(first);
                let key = [&prefix[..], &segment.to_be_bytes()];
                rows.put_parts(meta_column, &key, &[&first.to_be_bytes()]);
            }
        }
        // The active generation has written to none of these: a store's time never goes back.
        let first_live = expiry.first_live_sealed();
        let dead = expiry.drop_below(first_live);
        let first_dead = dead.first().copied()?;
        let (from, to) = (first_dead.to_be_bytes(), first_live.to_be_bytes());
        rows.delete_range(index, &from, &to);
        for segment in dead {
            rows.delete(meta_column, &[&prefix[..], &segment.to_be_bytes()].concat());
        }
        Some(first_live)
    }

    /// The commit was aborted: discards everything that is not committed.
    ///
    /// # Errors
    /// None at present.
    pub fn rollback(&mut self) -> Result<()> {
        for store in &self.stores {
            store.overlay.borrow_mut().rollback();
        }
        self.times.rollback();
        self.in_flight = false;
        self.marks.forget();
        Ok(())
    }

    /// The marks to which later writes can be rolled back.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }
}
