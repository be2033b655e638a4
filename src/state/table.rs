//! The rows of one store: the writes since the last commit, over a cache of committed rows, over the
//! backend.
//!
//! ```text
//!            put                    seal                        committed
//!  (backend) ----> Active ---------------------> Committing -------------------> Clean (cache)
//!                    ^    put: the committing row     |                            |
//!                    +----- moves to `older` <--------+<------------ put ----------+
//!  rollback discards Active and Committing; `older` is the committing row under an active one.
//! ```

pub(super) mod expected;
pub(super) mod groups;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::rc::Rc;

use foldhash::fast::FixedState;

use self::expected::Expected;
use self::groups::Groups;
use super::Backend;
use super::head::Head;
use super::index::Index;
use super::row_limit::RowLimit;
use super::spares::Spares;
use crate::base::Result;

pub(super) type SharedBackend = Rc<RefCell<Box<dyn Backend>>>;
pub(super) type SharedTable = Rc<RefCell<RowTable>>;

/// The overhead of an entry besides its bytes: itself, its slot in the index, what the allocator adds to
/// its bytes, and its share of what has just doubled.
const ENTRY_BYTES: usize = 128;
/// A row with this many bytes of spare room is shrunk.
const MUCH_ROOM: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not in use.
    Free,
    /// The same as in the backend.
    Clean,
    /// Written in the generation being committed.
    Committing,
    /// Written after that.
    Active,
}

/// The committing row under an active one.
#[derive(Debug)]
pub(super) enum Older {
    None,
    Deleted,
    Row(Vec<u8>),
}

#[derive(Debug)]
pub(super) struct Entry {
    /// The key, followed by the row.
    bytes: Vec<u8>,
    key_len: u32,
    pub(super) hash: u32,
    pub(super) state: State,
    /// Whether there is a row; if not, the key is known to be absent.
    present: bool,
    /// Read since the cache's clock hand passed.
    referenced: bool,
    pub(super) older: Older,
}

impl Entry {
    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len as usize]
    }

    #[inline]
    pub(super) fn row(&self) -> Option<&[u8]> {
        self.present.then(|| &self.bytes[self.key_len as usize..])
    }

    #[inline]
    pub(super) fn set_row(&mut self, row: Option<&[u8]>) {
        let key_len = self.key_len as usize;
        let bytes = row.unwrap_or_default();
        if self.bytes.len() == key_len + bytes.len() {
            self.bytes[key_len..].copy_from_slice(bytes);
        } else {
            self.bytes.truncate(key_len);
            // The memory of a row is determined by its length: there is no spare room.
            self.bytes.reserve_exact(bytes.len());
            self.bytes.extend_from_slice(bytes);
            if self.bytes.capacity() > MUCH_ROOM + 2 * self.bytes.len() {
                self.bytes.shrink_to_fit();
            }
        }
        self.present = row.is_some();
    }

    #[inline]
    pub(super) fn cost(&self) -> usize {
        ENTRY_BYTES + self.bytes.len()
    }
}

/// The state of an entry before a write under a mark.
#[derive(Debug)]
pub(super) enum Was {
    /// Not present, as far as was known: remove it.
    Absent,
    /// Clean: remove it, the backend has it.
    Clean,
    /// Its row is in `older`.
    Committing,
    /// This row: its place in [`Undo::bytes`].
    Active(Option<Range<usize>>),
}

#[derive(Debug, Default)]
pub(super) struct Undo {
    /// The existing marks, the innermost last.
    pub(super) marks: Vec<UndoMark>,
    /// The writes since the outermost mark.
    pub(super) writes: Vec<(u32, Was)>,
    /// Rows before the writes, one after another, so that a mark costs no allocation per write.
    pub(super) bytes: Vec<u8>,
}

/// The lengths of everything at a mark.
#[derive(Clone, Copy, Debug)]
pub(super) struct UndoMark {
    pub(super) writes: usize,
    pub(super) bytes: usize,
    pub(super) active: usize,
}

pub(super) struct RowTable {
    pub(super) column: usize,
    pub(super) backend: SharedBackend,
    hashing: FixedState,
    pub(super) index: Index,
    pub(super) entries: Vec<Entry>,
    /// The entry that was read last, if it is still there: it is likely to be written next.
    read: u32,
    pub(super) free: Vec<u32>,
    /// Entries written in the active generation, in the order of their first writes.
    pub(super) active: Vec<u32>,
    /// Those of the generation being committed.
    pub(super) committing: Vec<u32>,
    /// The keys of both in order, once a range has been read.
    pub(super) ordered: Option<BTreeMap<Box<[u8]>, u32>>,
    /// The first keys, if rows are taken from the beginning.
    pub(super) head: Option<Head>,
    /// The entries by segment, if rows expire.
    pub(super) groups: Option<Groups>,
    pub(super) undo: Undo,
    pub(super) limit: RowLimit,
    /// The rows being read ahead, if the backend supports it.
    pub(super) expected: Option<Expected>,
    /// How much of the cache those may use.
    pub(super) ahead_bytes: usize,
    pub(super) dirty_bytes: usize,
    pub(super) clean_bytes: usize,
    pub(super) cache_bytes: usize,
    /// Where the search for rows to evict continues.
    pub(super) hand: usize,
    scratch: Vec<u8>,
    spares: Spares,
}

impl fmt::Debug for RowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowTable")
            .field("column", &self.column)
            .field("entries", &(self.entries.len() - self.free.len()))
            .field("active", &self.active.len())
            .field("committing", &self.committing.len())
            .finish_non_exhaustive()
    }
}

impl RowTable {
    pub(super) fn new(column: usize, backend: SharedBackend, cache_bytes: usize) -> Self {
        Self {
            column,
            backend,
            hashing: FixedState::with_seed(0x6d61_7265_6120),
            index: Index::default(),
            entries: Vec::new(),
            read: 0,
            free: Vec::new(),
            active: Vec::new(),
            committing: Vec::new(),
            ordered: None,
            head: None,
            groups: None,
            undo: Undo::default(),
            limit: RowLimit::none(),
            expected: None,
            ahead_bytes: 0,
            dirty_bytes: 0,
            clean_bytes: 0,
            cache_bytes,
            hand: 0,
            scratch: Vec::new(),
            spares: Spares::default(),
        }
    }

    #[inline]
    pub(super) fn find(&self, hash: u32, key: &[u8]) -> Option<u32> {
        self.index
            .find(hash, |id| self.entries[id as usize].key() == key)
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u32 {
        let mut hasher = self.hashing.build_hasher();
        hasher.write(key);
        let hash = hasher.finish();
        (hash ^ hash >> 32) as u32
    }

    /// The newest row of the key.
    #[inline]
    pub(super) fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        let hash = self.hash(key);
        let id = match self.find(hash, key) {
            Some(id) => id,
            None if self.is_whole(key) => return Ok(None),
            None => self.load(hash, key)?,
        };
        self.read = id;
        let entry = &mut self.entries[id as usize];
        entry.referenced = true;
        Ok(entry.row())
    }

    /// Stores the backend's answer in the cache.
    #[cold]
    fn load(&mut self, hash: u32, key: &[u8]) -> Result<u32> {
        if let Some(id) = self.find_expected(hash, key) {
            return Ok(id);
        }
        if let Some(expected) = &mut self.expected {
            expected.loads += 1;
        }
        let mut row = std::mem::take(&mut self.scratch);
        let found = self.backend.borrow().get(self.column, key, &mut row);
        let present = match found {
            Ok(present) => present,
            Err(error) => {
                self.scratch = row;
                return Err(error);
            }
        };
        self.evict();
        let id = self.insert(hash, key, present.then_some(&row[..]));
        self.scratch = row;
        Ok(id)
    }

    /// Whether the row of the key, or its absence, is in memory.
    pub(super) fn holds(&self, key: &[u8]) -> bool {
        self.find(self.hash(key), key).is_some()
    }

    /// Stores a committed row in the cache, unless a newer one is known.
    pub(super) fn offer(&mut self, key: &[u8], row: &[u8]) {
        let hash = self.hash(key);
        if self.find(hash, key).is_none() {
            self.insert(hash, key, Some(row));
        }
    }

    pub(super) fn insert(&mut self, hash: u32, key: &[u8], row: Option<&[u8]>) -> u32 {
        let needed = key.len() + row.map_or(16, <[u8]>::len);
        let mut bytes = self.spares.take(needed);
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(row.unwrap_or_default());
        let entry = Entry {
            bytes,
            key_len: key.len() as u32,
            hash,
            state: State::Clean,
            present: row.is_some(),
            referenced: true,
            older: Older::None,
        };
        self.clean_bytes += entry.cost();
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                let id = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
                assert!(id < u32::MAX, "an overlay holds fewer than 2^32 rows");
                self.entries.push(entry);
                id
            }
        };
        self.index.insert(hash, id);
        self.join_group(id, key);
        id
    }

    /// Removes the entry, whose cost the caller has subtracted.
    pub(super) fn remove(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        entry.state = State::Free;
        let mut bytes = std::mem::take(&mut entry.bytes);
        entry.key_len = 0;
        let hash = entry.hash;
        if let Older::Row(row) = std::mem::replace(&mut entry.older, Older::None) {
            self.spare(row);
        }
        self.index.remove(hash, id);
        bytes.clear();
        self.spare(bytes);
        self.free.push(id);
    }

    pub(super) fn spare(&mut self, buffer: Vec<u8>) {
        self.spares.give(buffer);
    }

    /// Sets the newest row of the key; `None` deletes it.
    #[inline]
    pub(super) fn put(&mut self, key: &[u8], row: Option<&[u8]>) {
        let (hash, found) = match self.entries.get(self.read as usize) {
            Some(read) if read.key() == key && read.state != State::Free => {
                (read.hash, Some(self.read))
            }
            _ => {
                let hash = self.hash(key);
                (hash, self.find(hash, key))
            }
        };
        if let Some(head) = &mut self.head {
            let lived = found.map(|id| self.entries[id as usize].present);
            if lived != Some(row.is_some()) {
                head.wrote(key, row.is_some());
            }
        }
        let id = match found {
            Some(id) => id,
            None => self.insert(hash, key, None),
        };
        if !self.undo.marks.is_empty() {
            self.remember(id);
        }
        if self.entries[id as usize].state != State::Active {
            self.activate(id);
        }
        let entry = &mut self.entries[id as usize];
        let before = entry.bytes.len();
        entry.set_row(row);
        self.dirty_bytes = self.dirty_bytes + entry.bytes.len() - before;
    }

    fn remember(&mut self, id: u32) {
        let entry = &self.entries[id as usize];
        let was = match entry.state {
            State::Clean if !entry.present => Was::Absent,
            State::Free | State::Clean => Was::Clean,
            State::Committing => Was::Committing,
            State::Active => Was::Active(entry.row().map(|row| {
                let start = self.undo.bytes.len();
                self.undo.bytes.extend_from_slice(row);
                start..self.undo.bytes.len()
            })),
        };
        self.undo.writes.push((id, was));
    }

    fn activate(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        if entry.state == State::Committing {
            entry.older = match entry.row() {
                None => Older::Deleted,
                Some(row) => {
                    let mut older = self.spares.take(row.len());
                    older.extend_from_slice(row);
                    self.dirty_bytes += older.len();
                    Older::Row(older)
                }
            };
        } else {
            self.clean_bytes -= entry.cost();
            self.dirty_bytes += entry.cost();
            if let Some(ordered) = &mut self.ordered {
                ordered.insert(entry.key().into(), id);
            }
        }
        entry.state = State::Active;
        self.active.push(id);
    }

    /// Evicts clean rows that were not read since the clock hand passed, until the cache is small enough.
    pub(super) fn evict(&mut self) {
        let mut steps = self.entries.len() * 2;
        let room = self.cache_bytes.saturating_sub(self.ahead_bytes);
        while self.clean_bytes > room && steps > 0 {
            steps -= 1;
            self.hand = (self.hand + 1) % self.entries.len();
            let entry = &mut self.entries[self.hand];
            if entry.state != State::Clean {
                continue;
            }
            if entry.referenced {
                entry.referenced = false;
                continue;
            }
            self.clean_bytes -= entry.cost();
            if entry.present {
                self.lose_row(self.hand as u32);
            }
            self.remove(self.hand as u32);
        }
    }
}
