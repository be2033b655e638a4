//! The overlay of a store whose puts differ from its rows: besides a [`RowTable`] of rows it keeps the puts
//! since the last commit, which become the records of its changelog.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use super::kind::VisitRecord;
use super::overlay::{Overlay, Visit};
use super::row_limit::RowLimit;
use super::table::RowTable;
use crate::base::Result;

pub(super) type SharedJournal = Rc<RefCell<Journal>>;

/// The overhead of a put besides its bytes.
const PUT_BYTES: usize = size_of::<Put>();

#[derive(Debug)]
struct Put {
    /// The key, followed by the value.
    bytes: Box<[u8]>,
    key_len: usize,
    has_value: bool,
    timestamp_ms: i64,
}

/// Rows, and the puts that made them.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) table: RowTable,
    /// In their order; those that are being committed come first.
    puts: VecDeque<Put>,
    committing: usize,
    /// How many puts there were at each mark, the innermost last.
    marks: Vec<usize>,
    bytes: usize,
    /// Incremented when something is rolled back.
    pub(super) taken_back: u64,
}

impl Journal {
    pub(super) fn new(table: RowTable) -> Self {
        Self {
            table,
            puts: VecDeque::new(),
            committing: 0,
            marks: Vec::new(),
            bytes: 0,
            taken_back: 0,
        }
    }

    /// Records a put whose rows the caller writes.
    pub(super) fn note(&mut self, key: &[u8], value: Option<&[u8]>, timestamp_ms: i64) {
        let put = Put {
            bytes: [key, value.unwrap_or_default()].concat().into(),
            key_len: key.len(),
            has_value: value.is_some(),
            timestamp_ms,
        };
        self.bytes += PUT_BYTES + put.bytes.len();
        self.puts.push_back(put);
    }

    /// Calls a closure with the puts being committed, in their order.
    pub(super) fn records(&self, visit: &mut VisitRecord<'_>) -> Result<()> {
        self.puts.range(..self.committing).try_for_each(|put| {
            let (key, value) = put.bytes.split_at(put.key_len);
            visit(key, put.has_value.then_some(value), put.timestamp_ms)
        })
    }

    fn forget(&mut self, puts: Range<usize>) {
        let bytes = |put: Put| PUT_BYTES + put.bytes.len();
        self.bytes -= self.puts.drain(puts).map(bytes).sum::<usize>();
    }
}

impl Overlay for Journal {
    fn column(&self) -> usize {
        self.table.column()
    }

    fn dirty_bytes(&self) -> usize {
        self.table.dirty_bytes() + self.bytes
    }

    fn clean_bytes(&self) -> usize {
        self.table.clean_bytes()
    }

    fn set_cache_bytes(&mut self, cache_bytes: usize) {
        self.table.set_cache_bytes(cache_bytes);
    }

    fn set_limit(&mut self, limit: RowLimit) {
        self.table.set_limit(limit);
    }

    fn seal(&mut self) {
        self.table.seal();
        self.committing = self.puts.len();
    }

    fn committing_len(&self) -> usize {
        self.table.committing_len()
    }

    fn committing(&self, visit: &mut Visit<'_>) -> Result<()> {
        self.table.committing(visit)
    }

    fn committed(&mut self) {
        self.table.committed();
        self.forget(0..self.committing);
        self.committing = 0;
    }

    fn rollback(&mut self) {
        self.table.rollback();
        self.puts.clear();
        self.marks.clear();
        self.committing = 0;
        self.bytes = 0;
        self.taken_back += 1;
    }

    fn forget_below(&mut self, first_live: i64) {
        self.table.forget_below(first_live);
    }

    fn mark(&mut self) {
        self.table.mark();
        self.marks.push(self.puts.len());
    }

    fn clear_mark(&mut self) {
        self.table.clear_mark();
        self.marks.pop();
    }

    fn undo_to_mark(&mut self) {
        self.table.undo_to_mark();
        let mark = self.marks.last().copied().unwrap_or(0);
        self.forget(mark..self.puts.len());
        self.taken_back += 1;
    }
}
