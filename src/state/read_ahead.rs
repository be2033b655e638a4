//! Rows that are read before they are asked for: many at once, by another thread where there is one.
//!
//! ```text
//!   keys of records that wait, sorted:   | part | part | part | ......... | part | part |
//!                                          a reader's thread -->   <-- the store's own, if it comes first
//! ```
//!
//! Both take parts until none is left, and neither waits for the other. An answer is a hint: what the
//! store has learned meanwhile counts ([`super::expected`]).

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::base::Result;

/// Keys that are read in one go.
const PART: usize = 64;

/// Reads committed rows on any thread, while the backend is at work on its own.
pub trait PointReads: Send + Sync {
    /// Shows `visit` the row of each key of a column, in their order, which is sorted; `None` where there
    /// is none.
    ///
    /// # Errors
    /// As [`Backend::get`](super::Backend::get).
    fn get_sorted(
        &self,
        column: usize,
        keys: &[&[u8]],
        visit: &mut dyn FnMut(Option<&[u8]>),
    ) -> Result<()>;
}

/// Keys whose rows will be wanted, as they come.
#[derive(Debug, Default)]
pub(crate) struct WantedKeys {
    bytes: Vec<u8>,
    keys: Vec<Range<u32>>,
}

impl WantedKeys {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// What they take, in bytes.
    pub(crate) fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn push(&mut self, key: &[u8]) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(key);
        self.keys.push(start..self.bytes.len() as u32);
    }

    fn key(&self, number: usize) -> &[u8] {
        let Range { start, end } = self.keys[number];
        &self.bytes[start as usize..end as usize]
    }

    /// Sorted, each once.
    fn sort(&mut self) {
        let Self { bytes, keys } = self;
        let key = |at: &Range<u32>| &bytes[at.start as usize..at.end as usize];
        keys.sort_unstable_by(|one, other| key(one).cmp(key(other)));
        keys.dedup_by(|one, other| key(one) == key(other));
    }
}

/// The rows of a part.
struct Answer {
    /// The number of its first key.
    first: usize,
    rows: Vec<u8>,
    /// Where the row of each key ends; `None` where there is none.
    ends: Vec<Option<usize>>,
}

/// Keys of one store, and the rows that were found so far. Threads share it.
pub(crate) struct ReadAhead {
    column: usize,
    /// `None` once nobody wants the rows any more: it keeps a directory open.
    reads: RwLock<Option<Arc<dyn PointReads>>>,
    keys: WantedKeys,
    /// The parts that nobody has taken.
    untaken: Mutex<Range<usize>>,
    answers: Mutex<Vec<Answer>>,
    /// Parts that were answered.
    answered: AtomicUsize,
    /// Bytes of rows; once they pass the limit no part is begun.
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl fmt::Debug for ReadAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadAhead")
            .field("column", &self.column)
            .field("keys", &self.keys.len())
            .field("answered", &self.answered)
            .finish_non_exhaustive()
    }
}

impl ReadAhead {
    pub(super) fn new(
        column: usize,
        reads: Arc<dyn PointReads>,
        mut keys: WantedKeys,
        bytes_max: usize,
    ) -> Self {
        keys.sort();
        Self {
            column,
            reads: RwLock::new(Some(reads)),
            untaken: Mutex::new(0..keys.len().div_ceil(PART)),
            keys,
            answers: Mutex::default(),
            answered: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            bytes_max,
        }
    }

    /// Reads all parts that nobody else takes: what a reader's thread does.
    pub(crate) fn read_all(&self) {
        while self.read(Range::next) {}
    }

    /// Reads one part, from the other end; whether there was one.
    pub(super) fn read_one(&self) -> bool {
        self.read(Range::next_back)
    }

    fn read(&self, take: impl Fn(&mut Range<usize>) -> Option<usize>) -> bool {
        let reads = self.reads.read().unwrap_or_else(PoisonError::into_inner);
        let Some(reads) = &*reads else {
            return false;
        };
        if self.bytes.load(Ordering::Relaxed) >= self.bytes_max {
            return false;
        }
        let taken = take(&mut self.untaken.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(part) = taken else {
            return false;
        };
        let first = part * PART;
        let until = self.keys.len().min(first + PART);
        let keys: Vec<&[u8]> = (first..until).map(|number| self.keys.key(number)).collect();
        let mut answer = Answer {
            first,
            rows: Vec::new(),
            ends: Vec::with_capacity(keys.len()),
        };
        let read = reads.get_sorted(self.column, &keys, &mut |row| {
            answer.rows.extend_from_slice(row.unwrap_or_default());
            answer.ends.push(row.map(|_| answer.rows.len()));
        });
        // What does not answer here is asked for again, and told, when the row is wanted.
        if read.is_ok() {
            self.bytes.fetch_add(answer.rows.len(), Ordering::Relaxed);
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.push(answer);
            self.answered.fetch_add(1, Ordering::Release);
        }
        true
    }

    /// Number of parts that were answered.
    pub(super) fn answered(&self) -> usize {
        self.answered.load(Ordering::Acquire)
    }

    /// Gives the rows that were found since the last call, and the keys that have none.
    pub(super) fn take(&self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        let taken =
            std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        for answer in taken {
            let mut start = 0;
            for (number, end) in answer.ends.iter().enumerate() {
                let row = end.map(|end| &answer.rows[std::mem::replace(&mut start, end)..end]);
                each(self.keys.key(answer.first + number), row);
            }
        }
    }

    /// Nobody wants the rest; waits for a part that is being read.
    pub(super) fn close(&self) {
        *self.reads.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
