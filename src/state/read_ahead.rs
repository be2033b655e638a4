//! Rows that are read before they are requested: many at once, by another thread if there is one.
//!
//! ```text
//!   keys of records that wait, sorted:   | part | part | part | ......... | part | part |
//!                                          a reader's thread -->   <-- the store's own, if it comes first
//! ```
//!
//! Both take parts until none is left, and neither waits for the other. An answer is only a hint: what
//! the store has learned in the meantime takes precedence ([`super::table::expected`]). Keys and rows
//! stay below a limit, however large the rows turn out to be, and are dropped as soon as they are not
//! needed.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::base::Result;

/// Number of keys read in one go.
const PART: usize = 64;

/// Reads committed rows on any thread, while the backend works on its own.
pub trait PointReads: Send + Sync {
    /// Calls `visit` with the row of each key of a column; the keys must be sorted; `None` if there is
    /// none.
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

/// Keys whose rows will be needed, in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct WantedKeys {
    bytes: Vec<u8>,
    keys: Vec<Range<u32>>,
}

impl WantedKeys {
    /// The number of keys.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Their size, in bytes.
    pub(crate) fn byte_len(&self) -> usize {
        self.bytes.len() + self.keys.len() * size_of::<Range<u32>>()
    }

    pub(super) fn push(&mut self, key: &[u8]) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(key);
        self.keys.push(start..self.bytes.len() as u32);
    }

    /// Their memory use.
    fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.keys.capacity() * size_of::<Range<u32>>()
    }

    fn key(&self, number: usize) -> &[u8] {
        let Range { start, end } = self.keys[number];
        &self.bytes[start as usize..end as usize]
    }

    /// Sorted, each once, without spare room.
    fn sort(&mut self) {
        let Self { bytes, keys } = self;
        let key = |at: &Range<u32>| &bytes[at.start as usize..at.end as usize];
        keys.sort_unstable_by(|one, other| key(one).cmp(key(other)));
        keys.dedup_by(|one, other| key(one) == key(other));
        keys.shrink_to_fit();
        bytes.shrink_to_fit();
    }
}

/// The rows of a part, or the first of them.
struct Answer {
    /// The number of its first key.
    first: usize,
    rows: Vec<u8>,
    /// Where the row of each key ends; `None` if there is none.
    ends: Vec<Option<usize>>,
}

/// What to read, and from where.
struct Asked {
    reads: Arc<dyn PointReads>,
    keys: WantedKeys,
}

/// Keys of one store, and the rows that were found so far. Shared by threads.
pub(crate) struct ReadAhead {
    column: usize,
    /// `None` once the rows are no longer needed: it keeps a directory open, and memory.
    asked: RwLock<Option<Asked>>,
    parts: usize,
    /// The parts that nobody has taken; none any more once there are too many rows.
    untaken: Mutex<Range<usize>>,
    answers: Mutex<Vec<Answer>>,
    /// Number of parts that were answered.
    answered: AtomicUsize,
    /// The size of found rows, including those taken since; at most the limit.
    rows_bytes: AtomicUsize,
    rows_bytes_max: usize,
}

impl fmt::Debug for ReadAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadAhead")
            .field("column", &self.column)
            .field("parts", &self.parts)
            .field("answered", &self.answered)
            .finish_non_exhaustive()
    }
}

impl ReadAhead {
    /// `bytes_max`: the limit for keys and found rows.
    pub(super) fn new(
        column: usize,
        reads: Arc<dyn PointReads>,
        mut keys: WantedKeys,
        bytes_max: usize,
    ) -> Self {
        keys.sort();
        let parts = keys.len().div_ceil(PART);
        Self {
            column,
            parts,
            untaken: Mutex::new(0..parts),
            answers: Mutex::default(),
            answered: AtomicUsize::new(0),
            rows_bytes: AtomicUsize::new(0),
            rows_bytes_max: bytes_max.saturating_sub(keys.held_bytes()),
            asked: RwLock::new(Some(Asked { reads, keys })),
        }
    }

    /// Reads all parts that are not taken otherwise: the work of a reader's thread.
    pub(crate) fn read_all(&self) {
        while self.read(Range::next) {}
    }

    /// Reads one part, from the other end; returns whether there was one.
    pub(super) fn read_one(&self) -> bool {
        self.read(Range::next_back)
    }

    fn read(&self, take: impl Fn(&mut Range<usize>) -> Option<usize>) -> bool {
        let asked = self.asked.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Asked { reads, keys }) = &*asked else {
            return false;
        };
        let taken = take(&mut self.untaken());
        let Some(part) = taken else {
            return false;
        };
        let first = part * PART;
        let until = keys.len().min(first + PART);
        let part: Vec<&[u8]> = (first..until).map(|number| keys.key(number)).collect();
        let mut answer = Answer {
            first,
            rows: Vec::new(),
            ends: Vec::with_capacity(part.len()),
        };
        let mut fits = true;
        let read = reads.get_sorted(self.column, &part, &mut |row| {
            let bytes = row.unwrap_or_default();
            fits = fits && self.has_room(bytes.len() + size_of::<Option<usize>>());
            if fits {
                answer.rows.extend_from_slice(bytes);
                answer.ends.push(row.map(|_| answer.rows.len()));
            }
        });
        if !fits {
            *self.untaken() = 0..0;
        }
        // A read that fails here is repeated, and its error reported, when the row is needed.
        if read.is_ok() {
            answer.rows.shrink_to_fit();
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.push(answer);
            self.answered.fetch_add(1, Ordering::Release);
        }
        true
    }

    fn untaken(&self) -> MutexGuard<'_, Range<usize>> {
        self.untaken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves room for a row, if there is any.
    fn has_room(&self, bytes: usize) -> bool {
        let before = self.rows_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= self.rows_bytes_max;
        if !fits {
            self.rows_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Number of parts that were answered.
    pub(super) fn answered(&self) -> usize {
        self.answered.load(Ordering::Acquire)
    }

    /// Whether all parts were answered.
    pub(super) fn is_whole(&self) -> bool {
        self.answered() == self.parts
    }

    /// Returns the rows that were found since the last call, and the keys that have none.
    pub(super) fn take(&self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        let asked = self.asked.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Asked { keys, .. }) = &*asked else {
            return;
        };
        for answer in self.taken() {
            let mut start = 0;
            for (number, end) in answer.ends.iter().enumerate() {
                let row = end.map(|end| &answer.rows[std::mem::replace(&mut start, end)..end]);
                each(keys.key(answer.first + number), row);
            }
        }
    }

    fn taken(&self) -> Vec<Answer> {
        std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The rest is no longer needed; waits for a part that is being read.
    pub(super) fn close(&self) {
        *self.asked.write().unwrap_or_else(PoisonError::into_inner) = None;
        drop(self.taken());
    }

    /// Its current memory use.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        let asked = self.asked.read().unwrap_or_else(PoisonError::into_inner);
        let keys = asked.as_ref().map_or(0, |asked| asked.keys.held_bytes());
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |answer: &Answer| {
            answer.rows.capacity() + answer.ends.capacity() * size_of::<Option<usize>>()
        };
        keys + answers.iter().map(held).sum::<usize>()
    }
}
