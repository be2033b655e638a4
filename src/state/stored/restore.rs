//! From changelogs back to rows.
//!
//! Rows are collected in parts of one store, sorted, and passed to the backend as a whole; then the
//! position up to which they go is written. A large part reaches the disk at once, and the position with
//! the next flush: after a crash in between, the part is read again, and overwrites its own rows.

use std::collections::BTreeMap;

use super::StoredState;
use super::replay::Waiting;
use crate::base::{Error, Offset, Result};
use crate::batch::RecordRef;
use crate::state::meta::{self, Position};
use crate::state::{Changelog, NO_TIME, RowForm};

/// A part with fewer bytes is written like a commit: it is not worth a separate file.
const INGEST_BYTES_MIN: usize = 1 << 20;

/// What is restored but not written yet. Rows wait in `StoredState::sorted`.
#[derive(Debug, Default)]
pub(in crate::state) struct Restoring {
    store: Option<usize>,
    /// Records of a store that replays them.
    pub(in crate::state) waiting: Waiting,
    /// The offset after the last record taken.
    next: Offset,
    /// Up to when the rows contain all deletions, in milliseconds since 1970.
    at_ms: i64,
    /// How far the records advanced the store's time.
    pub(in crate::state) observed_ms: i64,
    /// New segments, with their first offsets.
    pub(in crate::state) segments: BTreeMap<i64, Offset>,
    row_key: Vec<u8>,
    /// The part of a row before the value.
    beginning: Vec<u8>,
}

impl StoredState {
    /// Starts restoring a store; one at a time. `from_scratch` drops its rows first.
    ///
    /// # Errors
    /// `Internal` if there is no such store or another is being restored; those of the backend.
    pub fn begin_restore(&mut self, store: usize, from_scratch: bool) -> Result<()> {
        if store > self.specs.len() || self.restoring.store.is_some() {
            return Err(Error::internal(format!(
                "task {} cannot restore store {store} now: there is no such store, or another is being \
                 restored",
                self.task
            )));
        }
        self.restoring = Restoring {
            store: Some(store),
            next: self.position(store).unwrap_or(0),
            at_ms: match self.position_at_ms(store) {
                Some(at_ms) if !from_scratch => at_ms,
                _ => self.wall_ms,
            },
            observed_ms: NO_TIME,
            ..Restoring::default()
        };
        self.rows.clear();
        self.sorted.clear();
        match from_scratch {
            true => self.drop_rows(store),
            false => Ok(()),
        }
    }

    fn drop_rows(&mut self, store: usize) -> Result<()> {
        let meta_column = self.meta_column();
        self.rows.delete(meta_column, &self.position_key(store));
        if store == self.specs.len() {
            self.rows
                .delete_range(meta_column, meta::TIMES, meta::TIMES_END);
            self.times.clear();
        } else {
            self.rows.clear_column(store);
            let prefix = meta::segments_prefix(&self.specs[store].name);
            for segment in std::mem::take(&mut self.segments[store]).into_keys() {
                let key = [&prefix[..], &segment.to_be_bytes()].concat();
                self.rows.delete(meta_column, &key);
            }
        }
        self.backend.write(&self.rows)?;
        self.rows.clear();
        self.positions[store] = None;
        self.restoring.next = 0;
        Ok(())
    }

    /// Applies a record of the changelog of the store that is being restored.
    ///
    /// # Errors
    /// `Corrupt` if the record cannot belong to this changelog; those of the backend.
    pub fn restore(&mut self, store: usize, record: &RecordRef<'_>) -> Result<()> {
        if self.restoring.store != Some(store) {
            return Err(Error::internal(format!(
                "task {} restores store {store} without having begun",
                self.task
            )));
        }
        let changelog = self.specs.get(store).map(|spec| &spec.changelog);
        match record.key {
            // Others write to this topic, and the operator skips such a record too.
            None if matches!(changelog, Some(Changelog::Source(_))) => {}
            None => return Err(self.foreign(store, record, "a null key")),
            Some(key) if store == self.specs.len() => self.restore_time(store, key, record)?,
            Some(key) => self.restore_record(store, key, record)?,
        }
        self.restoring.next = record.offset + 1;
        let waiting_bytes = self.restoring.waiting.byte_len();
        if self.sorted.byte_len() + self.rows.byte_len() + waiting_bytes >= self.part_bytes {
            self.write_restored(store)?;
        }
        Ok(())
    }

    fn foreign(&self, store: usize, record: &RecordRef<'_>, what: &str) -> Error {
        let name = self.specs.get(store).map_or("the task", |spec| &spec.name);
        Error::corrupt(format!(
            "the changelog of {name} of task {} has {what} at offset {}; something else writes to \
             this topic: reset the application, or give the store another name",
            self.task, record.offset
        ))
    }

    fn restore_time(&mut self, store: usize, name: &[u8], record: &RecordRef<'_>) -> Result<()> {
        let time = match record.value {
            None => NO_TIME,
            Some(value) => meta::number(value)
                .map_err(|_| self.foreign(store, record, "a time that is not 8 bytes long"))?,
        };
        self.set_time(name, time);
        Ok(())
    }

    fn set_time(&mut self, name: &[u8], time: i64) {
        let column = self.meta_column();
        let key = [meta::TIMES, name];
        match time {
            NO_TIME => self.rows.delete(column, &key.concat()),
            time => self.rows.put_parts(column, &key, &[&time.to_be_bytes()]),
        }
        self.times
            .insert(String::from_utf8_lossy(name).into_owned(), time);
    }

    fn restore_record(&mut self, store: usize, key: &[u8], record: &RecordRef<'_>) -> Result<()> {
        if self.mappings[store].replays() {
            self.restoring.waiting.push(key, record);
            return Ok(());
        }
        let mut row_key = std::mem::take(&mut self.restoring.row_key);
        let deletes = record.value.is_none();
        let place = match self.mappings[store].place(key, deletes, &mut row_key) {
            Ok(place) => place,
            Err(what) => return Err(self.foreign(store, record, what)),
        };
        if let Some(segment) = place.segment
            && !self.segments[store].contains_key(&segment)
        {
            let segments = &mut self.restoring.segments;
            segments.entry(segment).or_insert(record.offset);
        }
        if let Some(observed_ms) = place.observed_ms {
            self.restoring.observed_ms = self.restoring.observed_ms.max(observed_ms);
        }
        match record.value {
            None => self.sorted.delete(place.row_key),
            Some(value) => {
                let timestamp = record.timestamp_ms.to_be_bytes();
                // Only headers have no fixed size.
                let beginning = match self.specs[store].row {
                    RowForm::Plain => &[],
                    RowForm::Timestamped => &timestamp[..],
                    form @ RowForm::TimestampedWithHeaders => {
                        let beginning = &mut self.restoring.beginning;
                        form.begin(record.timestamp_ms, &record.headers()?, beginning);
                        &beginning[..]
                    }
                };
                self.sorted.put(place.row_key, [beginning, value]);
            }
        }
        self.restoring.row_key = row_key;
        Ok(())
    }

    /// Writes what was restored so far, together with the position it reaches.
    fn write_restored(&mut self, store: usize) -> Result<()> {
        self.replay(store)?;
        self.sorted.sort();
        let large = self.sorted.byte_len() >= INGEST_BYTES_MIN;
        if large {
            self.backend.ingest(store, &self.sorted)?;
        } else {
            for (key, row) in self.sorted.iter() {
                match row {
                    Some(row) => self.rows.put(store, key, row),
                    None => self.rows.delete(store, key),
                }
            }
        }
        self.sorted.clear();
        let meta_column = self.meta_column();
        let position = Position {
            offset: self.restoring.next,
            at_ms: self.restoring.at_ms,
        };
        let key = self.position_key(store);
        self.rows.put(meta_column, &key, &position.encode());
        if let Some(spec) = self.specs.get(store) {
            let prefix = meta::segments_prefix(&spec.name);
            for (segment, first) in std::mem::take(&mut self.restoring.segments) {
                let key = [&prefix[..], &segment.to_be_bytes()];
                let first_bytes = first.to_be_bytes();
                self.rows.put_parts(meta_column, &key, &[&first_bytes]);
                self.segments[store].insert(segment, first);
            }
            let name = format!("store/{}/observed", spec.name);
            let known_ms = self.times.get(&name).copied().unwrap_or(NO_TIME);
            if self.restoring.observed_ms > known_ms {
                self.set_time(name.as_bytes(), self.restoring.observed_ms);
            }
        }
        self.backend.write(&self.rows)?;
        self.rows.clear();
        self.positions[store] = Some(position);
        Ok(())
    }

    /// The store has been restored up to `end`: writes the rest. A store whose rows are already at `end`
    /// is up to date: its position gets the current time.
    ///
    /// # Errors
    /// `Internal` if the store is not being restored; those of the backend.
    pub fn end_restore(&mut self, store: usize, end: Offset) -> Result<()> {
        if self.restoring.store != Some(store) {
            return Err(Error::internal(format!(
                "task {} ends a restore of store {store} without having begun",
                self.task
            )));
        }
        self.restoring.next = self.restoring.next.max(end);
        self.restoring.at_ms = self.wall_ms;
        self.write_restored(store)?;
        self.restoring = Restoring::default();
        Ok(())
    }
}
