//! A backend that tells what it was asked.

use std::cell::RefCell;
use std::ops::Bound;
use std::rc::Rc;

use super::*;

/// What a backend was asked since the last look.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Number of point reads.
    pub(super) gets: usize,
    /// Where each walk began.
    pub(super) scans: Vec<Vec<u8>>,
}

/// Rows in memory behind a count of what is asked.
#[derive(Debug, Default)]
pub(super) struct Watched {
    rows: MemoryBackend,
    asked: Rc<RefCell<Asked>>,
}

impl Watched {
    /// A state over such a backend.
    pub(super) fn open(specs: &[StoreSpec]) -> (TaskState, Rc<RefCell<Asked>>) {
        let backend = Self::default();
        let asked = Rc::clone(&backend.asked);
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

    fn write(&mut self, batch: &Rows) -> crate::Result<()> {
        self.rows.write(batch)
    }

    fn flush(&mut self) -> crate::Result<()> {
        self.rows.flush()
    }
}
