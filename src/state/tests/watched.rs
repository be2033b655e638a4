//! A backend that tells what it was asked.

use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use super::*;

/// What a backend was asked since the last look.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Number of point reads.
    pub(super) gets: usize,
    /// Where each walk began.
    pub(super) scans: Vec<Vec<u8>>,
}

/// The same, shared with the backend, which may be on another thread.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedAsked(Arc<Mutex<Asked>>);

impl SharedAsked {
    pub(super) fn borrow_mut(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().expect("no panic")
    }

    /// What was asked, and begins anew.
    pub(super) fn take(&self) -> Asked {
        std::mem::take(&mut self.borrow_mut())
    }
}

/// Rows in memory behind a count of what is asked.
#[derive(Debug, Default)]
pub(super) struct Watched {
    rows: MemoryBackend,
    asked: SharedAsked,
}

impl Watched {
    /// A state over such a backend.
    pub(super) fn open(specs: &[StoreSpec]) -> (TaskState, SharedAsked) {
        let backend = Self::default();
        let asked = backend.asked.clone();
        let state = TaskState::open(&task(), specs, Box::new(backend), &identity());
        let state = state.expect("opens");
        asked.take();
        (state, asked)
    }
}

impl Backend for Watched {
    fn get(&self, column: usize, key: &[u8], into: &mut Vec<u8>) -> crate::Result<bool> {
        self.asked.borrow_mut().gets += 1;
        self.rows.get(column, key, into)
    }

    fn scan(
        &self,
        column: usize,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> crate::Result<Box<dyn Scan>> {
        let begin = match from {
            Bound::Included(from) | Bound::Excluded(from) => from.to_vec(),
            Bound::Unbounded => Vec::new(),
        };
        self.asked.borrow_mut().scans.push(begin);
        self.rows.scan(column, from, to, direction)
    }

    fn snapshots(&self) -> std::sync::Arc<dyn crate::state::Snapshots> {
        self.rows.snapshots()
    }

    fn write(&mut self, batch: &Rows) -> crate::Result<()> {
        self.rows.write(batch)
    }

    fn ingest(&mut self, column: usize, rows: &SortedRows) -> crate::Result<()> {
        self.rows.ingest(column, rows)
    }

    fn flush(&mut self) -> crate::Result<()> {
        self.rows.flush()
    }
}
