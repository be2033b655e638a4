//! From changelogs back to rows, and the questions that compare the two.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::meta::Position;
use super::task_state::{Store, TaskState};
use super::window_key::from_changelog;
use super::{Direction, Medium, NO_TIME, meta};
use crate::base::{Error, Offset, Result};
use crate::log::RecordRef;

/// Restored rows are written to the backend in batches of about this size.
const BATCH_BYTES: usize = 4 << 20;

/// What is restored and not yet written. Rows wait in `TaskState::rows`.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    store: Option<usize>,
    /// The offset after the last record taken.
    next: Offset,
    /// Since when the rows know all deletions before that, in milliseconds since 1970.
    at_ms: i64,
    /// The largest start seen.
    observed_ms: i64,
    /// Segments that are new, with their first offsets.
    segments: BTreeMap<i64, Offset>,
    key: Vec<u8>,
}

impl TaskState {
    /// Where the store's changelog is to be read from; `None` is its beginning. The store after the
    /// last is the task changelog.
    pub fn position(&self, store: usize) -> Option<Offset> {
        Some(self.positions.get(store).copied().flatten()?.offset)
    }

    /// When the rows were at [`TaskState::position`], by wall clock, in milliseconds since 1970.
    /// Deletions that were older than the topic's `delete_retention_ms` by then cannot be missing; later
    /// ones can, once that time has passed.
    pub fn position_at_ms(&self, store: usize) -> Option<i64> {
        Some(self.positions.get(store).copied().flatten()?.at_ms)
    }

    /// Begins to restore a store; one at a time. `from_scratch` drops its rows first.
    ///
    /// # Errors
    /// `Internal` if there is no such store or another is being restored; those of the backend.
    pub fn begin_restore(&mut self, store: usize, from_scratch: bool) -> Result<()> {
        if store > self.specs.len() || self.restoring.store.is_some() {
            return Err(Error::internal(format!(
                "task {} restores store {store}, which it cannot now",
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
        if from_scratch {
            self.drop_rows(store)?;
        }
        if let Some(store) = self.stores.get(store) {
            store.table().borrow_mut().forget_clean();
        }
        Ok(())
    }

    fn drop_rows(&mut self, store: usize) -> Result<()> {
        let meta_column = self.meta_column();
        self.rows.delete(meta_column, &self.position_key(store));
        match self.stores.get(store) {
            None => {
                // "t/" up to "t0": the byte after the slash.
                self.rows.delete_range(meta_column, meta::TIMES, b"t0");
                self.times.clear();
            }
            Some(kind) => {
                self.rows.clear_column(store);
                if let Store::Window(window) = kind {
                    let prefix = meta::segments_prefix(&self.specs[store].name);
                    for segment in window.segments().borrow().keys() {
                        let key = [&prefix[..], &segment.to_be_bytes()].concat();
                        self.rows.delete(meta_column, &key);
                    }
                    window.set_segments(BTreeMap::new());
                }
            }
        }
        self.backend.borrow_mut().write(&self.rows)?;
        self.rows.clear();
        self.positions[store] = None;
        self.restoring.next = 0;
        Ok(())
    }

    /// Takes a record of the changelog of the store that is being restored.
    ///
    /// # Errors
    /// `Corrupt` if the record cannot be of this changelog; those of the backend.
    pub fn restore(&mut self, store: usize, record: &RecordRef<'_>) -> Result<()> {
        if self.restoring.store != Some(store) {
            return Err(Error::internal(format!(
                "task {} restores store {store} without having begun",
                self.task
            )));
        }
        let Some(key) = record.key else {
            return Err(self.foreign(store, record, "a null key"));
        };
        match self.stores.get(store) {
            None => self.restore_time(store, key, record)?,
            Some(Store::KeyValue(_)) => self.restore_row(store, key, record),
            Some(Store::Window(window)) => {
                let Some((key, start_ms, sequence)) = from_changelog(key) else {
                    return Err(self.foreign(store, record, "a key without a window"));
                };
                if start_ms < 0 {
                    return Err(self.foreign(store, record, "a window of negative start"));
                }
                let layout = window.layout();
                let segment = layout.segment(start_ms);
                let mut row_key = std::mem::take(&mut self.restoring.key);
                layout.row_key(key, start_ms, sequence, &mut row_key);
                if !window.segments().borrow().contains_key(&segment) {
                    let segments = &mut self.restoring.segments;
                    segments.entry(segment).or_insert(record.offset);
                }
                let observes = record.value.is_some() || layout.medium == Medium::Persistent;
                if observes {
                    self.restoring.observed_ms = self.restoring.observed_ms.max(start_ms);
                }
                self.restore_row(store, &row_key, record);
                self.restoring.key = row_key;
            }
        }
        self.restoring.next = record.offset + 1;
        if self.rows.byte_len() >= BATCH_BYTES {
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
        let column = self.meta_column();
        let key = [meta::TIMES, name];
        match time {
            NO_TIME => self.rows.delete(column, &key.concat()),
            time => self.rows.put_parts(column, &key, &[&time.to_be_bytes()]),
        }
        self.times
            .slot(&String::from_utf8_lossy(name))
            .restore(time);
        Ok(())
    }

    fn restore_row(&mut self, store: usize, row_key: &[u8], record: &RecordRef<'_>) {
        let timestamp = record.timestamp_ms.to_be_bytes();
        match record.value {
            None => self.rows.delete(store, row_key),
            Some(value) if self.specs[store].timestamped => {
                self.rows.put_parts(store, &[row_key], &[&timestamp, value]);
            }
            Some(value) => self.rows.put(store, row_key, value),
        }
    }

    /// Writes what was restored so far, together with the position up to which it goes.
    fn write_restored(&mut self, store: usize) -> Result<()> {
        let meta_column = self.meta_column();
        let next = self.restoring.next;
        let key = self.position_key(store);
        let position = Position {
            offset: next,
            at_ms: self.restoring.at_ms,
        };
        self.rows.put(meta_column, &key, &position.encode());
        if let Some(Store::Window(window)) = self.stores.get(store) {
            let name = &self.specs[store].name;
            let prefix = meta::segments_prefix(name);
            for (segment, first) in std::mem::take(&mut self.restoring.segments) {
                let key = [&prefix[..], &segment.to_be_bytes()];
                let first_bytes = first.to_be_bytes();
                self.rows.put_parts(meta_column, &key, &[&first_bytes]);
                window.segments().borrow_mut().insert(segment, Some(first));
            }
            if self.restoring.observed_ms > window.observed().get() {
                let observed_ms = self.restoring.observed_ms;
                window.observed().restore(observed_ms);
                let key = format!("store/{name}/observed");
                let key = [meta::TIMES, key.as_bytes()];
                let observed = observed_ms.to_be_bytes();
                self.rows.put_parts(meta_column, &key, &[&observed]);
            }
        }
        self.backend.borrow_mut().write(&self.rows)?;
        self.rows.clear();
        self.positions[store] = Some(position);
        Ok(())
    }

    /// The store has been restored up to `end`: writes what is left.
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

    /// The first offset on a window store's changelog that can still have a live row, as committed:
    /// records below may be deleted. `None` where that is not known, and for other stores.
    pub fn purge_before(&self, store: usize) -> Option<Offset> {
        let Some(Store::Window(window)) = self.stores.get(store) else {
            return None;
        };
        let position = self.position(store)?;
        if !self.specs[store].logged {
            return None;
        }
        let segments = window.segments().borrow();
        Some(
            segments
                .values()
                .flatten()
                .min()
                .copied()
                .unwrap_or(position),
        )
    }

    /// Of every store, and of all times as the entry "times": the number of rows that reading gives,
    /// and the CRC-32C of their keys and rows in order. Two states that read alike have the same.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn checksum(&self) -> Result<Vec<(String, u64, u32)>> {
        let mut sums = Vec::with_capacity(self.stores.len() + 1);
        for (spec, store) in self.specs.iter().zip(&self.stores) {
            let mut sum = Sum::default();
            match store {
                Store::KeyValue(store) => {
                    let mut rows =
                        store.range(Bound::Unbounded, Bound::Unbounded, Direction::Forward)?;
                    while let Some((key, row)) = rows.next()? {
                        sum.add(&[key, row]);
                    }
                }
                Store::Window(store) => {
                    let mut rows = store.all()?;
                    while let Some(row) = rows.next()? {
                        sum.add(&[row.key, &row.start_ms.to_be_bytes(), row.row]);
                    }
                }
            }
            sums.push((spec.name.clone(), sum.rows, sum.crc));
        }
        let mut sum = Sum::default();
        self.times
            .all(|name, time| sum.add(&[name.as_bytes(), &time.to_be_bytes()]));
        sums.push(("times".to_owned(), sum.rows, sum.crc));
        Ok(sums)
    }
}

#[derive(Default)]
struct Sum {
    rows: u64,
    crc: u32,
}

impl Sum {
    fn add(&mut self, parts: &[&[u8]]) {
        self.rows += 1;
        for part in parts {
            self.crc = crc32c::crc32c_append(self.crc, &(part.len() as u64).to_le_bytes());
            self.crc = crc32c::crc32c_append(self.crc, part);
        }
    }
}
