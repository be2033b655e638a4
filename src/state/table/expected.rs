//! What a table does with rows that are read ahead: they become clean rows of its cache, unless it has
//! newer ones.
//!
//! ```text
//!   expect(keys not here) --> ReadAhead --> answers --> cache        taken when a row is missing
//!                                 |
//!                                 a commit in between: its keys are noted, their answers are ignored
//! ```
//!
//! An answer is as old as its [`ReadAhead`]. Since then the row may have been written, committed and
//! evicted from the cache: hence the note.
//!
//! Rows being read ahead are part of the cache: a [`ReadAhead`] reserves its room from the beginning, and
//! clean rows are evicted for it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::RowTable;
use crate::base::Offset;
use crate::state::read_ahead::{PointReads, ReadAhead, WantedKeys};

/// The maximum number of keys that are read ahead at a time.
const KEYS_MAX: usize = 1_024;
/// Fewer are not worth it.
const KEYS_MIN: usize = 32;
/// The share of the cache that the keys and rows of one [`ReadAhead`] may use, and that of notes; beyond
/// the latter, everything expected is dropped.
const SHARE: usize = 16;
/// The share that all of them together may use, for whichever inputs.
const SHARE_OF_ALL: usize = 4;
/// The maximum size of the keys of one, in bytes.
const KEYS_BYTES_MAX: usize = 256 << 10;

/// How much a table would read ahead at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AheadRoom {
    /// Number of keys.
    pub(crate) keys: usize,
    /// Their maximum size, in bytes.
    pub(crate) key_bytes: usize,
}

/// Rows that a table expects to be needed.
pub(in crate::state) struct Expected {
    reads: Arc<dyn PointReads>,
    ahead: VecDeque<Ahead>,
    /// Number of commits so far, while anything is expected.
    commits: u64,
    /// Hashes of the keys in the last of these commits, sorted within each commit.
    noted: VecDeque<Vec<u32>>,
    /// Number of rows that were read one by one.
    pub(in crate::state) loads: u64,
}

struct Ahead {
    rows: Arc<ReadAhead>,
    /// Parts whose answers were taken.
    taken: usize,
    /// The input whose records need the rows, and the last of these records.
    input: usize,
    last: Offset,
    /// [`Expected::commits`] when it was made.
    commits: u64,
    /// The memory it may use; nothing once all of it was taken.
    room_bytes: usize,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.rows.close();
    }
}

impl Expected {
    pub(in crate::state) fn new(reads: Arc<dyn PointReads>) -> Self {
        Self {
            reads,
            ahead: VecDeque::new(),
            commits: 0,
            noted: VecDeque::new(),
            loads: 0,
        }
    }

    /// The memory that all of it may use.
    fn bytes(&self) -> usize {
        let rooms = self.ahead.iter().map(|ahead| ahead.room_bytes);
        let noted = self.noted.iter().map(Vec::capacity).sum::<usize>();
        rooms.sum::<usize>() + noted * size_of::<u32>()
    }

    /// Expects nothing any more.
    pub(in crate::state) fn clear(&mut self) {
        self.ahead.clear();
        self.noted.clear();
    }

    /// These keys were committed. The notes about them may use `bytes_max`.
    fn committed(&mut self, hashes: impl Iterator<Item = u32>, bytes_max: usize) {
        let Some(oldest) = self.ahead.iter().map(|ahead| ahead.commits).min() else {
            self.noted.clear();
            return;
        };
        let mut hashes: Vec<u32> = hashes.collect();
        hashes.sort_unstable();
        self.commits += 1;
        self.noted.push_back(hashes);
        let needed = usize::try_from(self.commits - oldest).unwrap_or(usize::MAX);
        self.noted.drain(..self.noted.len().saturating_sub(needed));
        if self.noted.iter().map(Vec::capacity).sum::<usize>() * size_of::<u32>() > bytes_max {
            self.clear();
        }
    }

    /// Whether a row has been committed since that number of commits.
    fn is_noted(&self, commits: u64, hash: u32) -> bool {
        let since = usize::try_from(self.commits - commits).unwrap_or(usize::MAX);
        let mut since = self.noted.iter().rev().take(since);
        since.any(|hashes| hashes.binary_search(&hash).is_ok())
    }
}

impl RowTable {
    /// How much it would read ahead at a time, given the memory for rows like its own; `None` if that is
    /// too little, if as much as possible is already in flight, or if its backend cannot.
    pub(in crate::state) fn reads_ahead(&self) -> Option<AheadRoom> {
        self.expected.as_ref()?;
        let bytes = self.cache_bytes / SHARE;
        let room = bytes / self.cost_of_a_row();
        let fits = self.ahead_bytes + bytes <= self.cache_bytes / SHARE_OF_ALL;
        let useful = self.head.is_none() && self.groups.is_none() && room >= KEYS_MIN;
        (useful && fits).then(|| AheadRoom {
            keys: room.min(KEYS_MAX),
            key_bytes: (bytes / 2).min(KEYS_BYTES_MAX),
        })
    }

    fn cost_of_a_row(&self) -> usize {
        let rows = self.entries.len() - self.free.len();
        ((self.clean_bytes + self.dirty_bytes) / rows.max(1)).max(128)
    }

    /// Number of rows that were read one by one so far.
    pub(in crate::state) fn loads(&self) -> u64 {
        self.expected.as_ref().map_or(0, |expected| expected.loads)
    }

    /// Has the rows of these keys read, up to the record `last` of an input.
    pub(in crate::state) fn read_for(
        &mut self,
        keys: WantedKeys,
        input: usize,
        last: Offset,
    ) -> Option<Arc<ReadAhead>> {
        let bytes_max = self.cache_bytes / SHARE;
        let expected = self.expected.as_mut()?;
        let reads = Arc::clone(&expected.reads);
        let rows = Arc::new(ReadAhead::new(self.column, reads, keys, bytes_max));
        expected.ahead.push_back(Ahead {
            rows: Arc::clone(&rows),
            taken: 0,
            input,
            last,
            commits: expected.commits,
            room_bytes: bytes_max,
        });
        self.make_room_ahead();
        Some(rows)
    }

    /// The amount being read ahead has changed: clean rows get the rest of the cache.
    fn make_room_ahead(&mut self) {
        self.ahead_bytes = self.expected.as_ref().map_or(0, Expected::bytes);
        self.evict();
    }

    /// The rows of the committing generation are in the backend.
    pub(in crate::state) fn note_committed(&mut self) {
        if let Some(expected) = &mut self.expected {
            let hash = |id: &u32| self.entries[*id as usize].hash;
            let hashes = self.committing.iter().map(hash);
            expected.committed(hashes, self.cache_bytes / SHARE);
            self.ahead_bytes = expected.bytes();
        }
    }

    /// Expects nothing any more.
    pub(in crate::state) fn expect_nothing(&mut self) {
        self.expected.iter_mut().for_each(Expected::clear);
        self.ahead_bytes = 0;
    }

    /// Drops what the records of an input before `position` needed. Returns how much is expected for
    /// later ones.
    pub(in crate::state) fn pass(&mut self, input: usize, position: Offset) -> usize {
        let Some(expected) = &mut self.expected else {
            return 0;
        };
        let passed = |ahead: &Ahead| ahead.input == input && ahead.last < position;
        let before = expected.ahead.len();
        expected.ahead.retain(|ahead| !passed(ahead));
        let left = expected.ahead.len();
        let of_input = |ahead: &&Ahead| ahead.input == input;
        let under_way = expected.ahead.iter().filter(of_input).count();
        if left < before {
            self.ahead_bytes = expected.bytes();
        }
        under_way
    }

    /// The entry of a key that was read ahead, or is now, among others.
    pub(in crate::state) fn find_expected(&mut self, hash: u32, key: &[u8]) -> Option<u32> {
        if self.expected.as_ref()?.ahead.is_empty() {
            return None;
        }
        self.take_answers();
        if let Some(id) = self.find(hash, key) {
            return Some(id);
        }
        // The reader is behind: this thread cannot do better than to help.
        let helped = |expected: &Expected| expected.ahead.iter().any(|ahead| ahead.rows.read_one());
        if self.expected.as_ref().is_some_and(helped) {
            self.take_answers();
        }
        self.find(hash, key)
    }

    fn take_answers(&mut self) {
        let Some(mut expected) = self.expected.take() else {
            return;
        };
        let mut whole = false;
        for number in 0..expected.ahead.len() {
            let ahead = &mut expected.ahead[number];
            let parts = ahead.rows.answered();
            if parts == std::mem::replace(&mut ahead.taken, parts) {
                continue;
            }
            let ahead = &expected.ahead[number];
            ahead.rows.take(|key, row| {
                let hash = self.hash(key);
                if !expected.is_noted(ahead.commits, hash) && self.find(hash, key).is_none() {
                    self.insert(hash, key, row);
                    self.evict();
                }
            });
            if ahead.rows.is_whole() {
                ahead.rows.close();
                expected.ahead[number].room_bytes = 0;
                whole = true;
            }
        }
        if whole {
            self.ahead_bytes = expected.bytes();
        }
        self.expected = Some(expected);
    }
}
