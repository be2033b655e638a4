//! Restores of stores whose records make more than one row each: the records go through the store itself,
//! over the backend, one part at a time.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use super::StoredState;
use crate::base::{Error, Offset, Result};
use crate::batch::RecordRef;
use crate::state::backend::Closed;
use crate::state::kind::{OpenStore, SegmentMap, Site};
use crate::state::table::SharedBackend;
use crate::state::times::Times;

/// Memory for the rows of a store while a part is replayed, in bytes.
const CACHE_BYTES: usize = 4 << 20;

/// Records waiting to be replayed, in their order. Clearing keeps the memory.
#[derive(Debug, Default)]
pub(in crate::state) struct Waiting {
    bytes: Vec<u8>,
    records: Vec<Copied>,
}

#[derive(Debug)]
struct Copied {
    key: Range<usize>,
    value: Option<Range<usize>>,
    timestamp_ms: i64,
    offset: Offset,
}

impl Waiting {
    pub(in crate::state) fn push(&mut self, key: &[u8], record: &RecordRef<'_>) {
        let mut add = |part: &[u8]| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(part);
            start..self.bytes.len()
        };
        let copied = Copied {
            key: add(key),
            value: record.value.map(add),
            timestamp_ms: record.timestamp_ms,
            offset: record.offset,
        };
        self.records.push(copied);
    }

    pub(in crate::state) fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn first_offset(&self) -> Offset {
        self.records.first().map_or(0, |record| record.offset)
    }

    fn play(&self, store: &dyn OpenStore) -> Result<()> {
        for record in &self.records {
            let key = &self.bytes[record.key.clone()];
            let value = record.value.clone().map(|value| &self.bytes[value]);
            store
                .replay(key, value, record.timestamp_ms)
                .map_err(|error| error.context(format!("offset {}", record.offset)))?;
        }
        Ok(())
    }

    pub(in crate::state) fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
    }
}

impl StoredState {
    /// Converts the waiting records to rows, into `self.rows`.
    pub(in crate::state) fn replay(&mut self, store: usize) -> Result<()> {
        if self.restoring.waiting.is_empty() {
            return Ok(());
        }
        let backend = std::mem::replace(&mut self.backend, Box::new(Closed));
        let backend = Rc::new(RefCell::new(backend));
        let replayed = self.replay_over(store, &backend);
        match Rc::try_unwrap(backend) {
            Ok(backend) => self.backend = backend.into_inner(),
            Err(_) => return Err(Error::internal("a replayed store outlives its replay")),
        }
        self.restoring.waiting.clear();
        replayed
    }

    fn replay_over(&mut self, index: usize, backend: &SharedBackend) -> Result<()> {
        let spec = &self.specs[index];
        let times = Times::default();
        let known: SegmentMap = self.segments[index]
            .iter()
            .chain(&self.restoring.segments)
            .map(|(segment, first)| (*segment, Some(*first)))
            .collect();
        let opened = spec.kind.rules().open(Site {
            name: &spec.name,
            column: index,
            backend: Rc::clone(backend),
            cache_bytes: CACHE_BYTES,
            store_type: spec.store_type,
            times: &times,
            segments: known,
        });
        self.restoring.waiting.play(&*opened)?;
        let overlay = opened.overlay();
        overlay.borrow_mut().seal();
        let rows = &mut self.rows;
        overlay.borrow().committing(&mut |key, row| {
            match row {
                Some(row) => rows.put(index, key, row),
                None => rows.delete(index, key),
            }
            Ok(())
        })?;
        if let Some(expiry) = opened.expiry() {
            let first = self.restoring.waiting.first_offset();
            for (segment, known) in &*expiry.segments().borrow() {
                if known.is_none() {
                    self.restoring.segments.insert(*segment, first);
                }
            }
        }
        let observed = times.slot(&format!("store/{}/observed", spec.name));
        let observed_ms = &mut self.restoring.observed_ms;
        *observed_ms = observed.get().max(*observed_ms);
        Ok(())
    }
}
