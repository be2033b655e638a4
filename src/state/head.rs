//! The first keys of a store that is read from its beginning, known without reading the store.
//!
//! ```text
//!   removed ...... | k1 k2 k3 ... kn | end ......... keys nobody has looked at ........
//!                    all that live      (none: there is no more, all are known)
//! ```
//!
//! The live keys below the end are known exactly: a put adds its key, a removal takes it out. So taking
//! rows from the front never meets removed rows, neither in the overlay nor as RocksDB's tombstones. A
//! walk is made only when all known keys are used up, and it begins where the last one ended.

use std::collections::BTreeSet;
use std::ops::Range;

/// The overhead of a key besides its bytes.
const KEY_BYTES: usize = 48;

type Key = Box<[u8]>;

/// The known beginning of a table; updated on every write, commit and undo.
#[derive(Debug)]
pub(super) struct Head {
    keys: BTreeSet<Key>,
    /// Every live key below this is in `keys`; `None` when all are.
    end: Option<Key>,
    bytes: usize,
    /// Beyond this, the later half is dropped.
    limit_bytes: usize,
    /// No row of the generation being committed has a smaller key; `None` when it has no row.
    sealed: Option<Key>,
    /// The same of the backend's rows.
    committed: Option<Key>,
    /// Where the changes since each mark begin, the innermost last.
    marks: Vec<usize>,
    /// Keys written since the outermost mark: where each is in `undo_bytes`, and whether it was live
    /// before, if that was known.
    undo: Vec<(Range<usize>, Option<bool>)>,
    undo_bytes: Vec<u8>,
}

impl Head {
    /// A beginning of which nothing is known yet.
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            keys: BTreeSet::new(),
            end: Some(Key::default()),
            bytes: 0,
            limit_bytes,
            sealed: Some(Key::default()),
            committed: Some(Key::default()),
            marks: Vec::new(),
            undo: Vec::new(),
            undo_bytes: Vec::new(),
        }
    }

    /// The smallest live key, if one is known.
    #[inline]
    pub(super) fn first(&self) -> Option<&[u8]> {
        self.keys.first().map(|key| &key[..])
    }

    /// Where to look for unknown keys; `None` if there are none.
    pub(super) fn end(&self) -> Option<&[u8]> {
        self.end.as_deref()
    }

    fn knows(&self, key: &[u8]) -> bool {
        self.end.as_deref().is_none_or(|end| key < end)
    }

    /// A key was put, or removed.
    pub(super) fn wrote(&mut self, key: &[u8], lives: bool) {
        let known = self.knows(key);
        if !self.marks.is_empty() {
            let start = self.undo_bytes.len();
            self.undo_bytes.extend_from_slice(key);
            let before = known.then(|| self.keys.contains(key));
            self.undo.push((start..self.undo_bytes.len(), before));
        }
        if known {
            self.set(key, lives);
        }
    }

    fn set(&mut self, key: &[u8], lives: bool) {
        if !lives {
            if self.keys.remove(key) {
                self.bytes -= KEY_BYTES + key.len();
            }
        } else if self.keys.insert(key.into()) {
            self.bytes += KEY_BYTES + key.len();
            if self.bytes > self.limit_bytes && self.keys.len() > 1 {
                let middle = self.keys.iter().nth(self.keys.len() / 2).cloned();
                middle.into_iter().for_each(|middle| self.cut(middle));
            }
        }
    }

    /// Forgets the keys from `end` on.
    fn cut(&mut self, end: Key) {
        let cut = self.keys.split_off(&end);
        self.bytes -= cut.iter().map(|key| KEY_BYTES + key.len()).sum::<usize>();
        self.end = Some(end);
    }

    /// Takes the result of a walk from the end on: these keys, and more after the last of them unless it
    /// reached the table's end.
    pub(super) fn extend(&mut self, keys: Vec<Key>, complete: bool) {
        self.end = match keys.last() {
            _ if complete => None,
            // The smallest key above the last.
            Some(last) => Some([last, &[0][..]].concat().into()),
            None => return,
        };
        self.bytes += keys.iter().map(|key| KEY_BYTES + key.len()).sum::<usize>();
        self.keys.extend(keys);
    }

    /// How many keys a walk should find.
    pub(super) fn wanted(&self) -> usize {
        (self.limit_bytes / (2 * KEY_BYTES)).max(1)
    }

    fn lowest(&self) -> Option<Key> {
        self.keys.first().cloned().or_else(|| self.end.clone())
    }

    pub(super) fn seal(&mut self) {
        self.sealed = self.lowest();
    }

    pub(super) fn committed(&mut self) {
        self.committed = self.sealed.clone();
    }

    pub(super) fn rollback(&mut self) {
        self.keys.clear();
        self.bytes = 0;
        self.end = self.committed.clone();
        self.marks.clear();
        self.undo.clear();
        self.undo_bytes.clear();
    }

    /// Sets a mark inside the existing ones.
    pub(super) fn mark(&mut self) {
        self.marks.push(self.undo.len());
    }

    /// Removes the innermost mark.
    pub(super) fn clear_mark(&mut self) {
        self.marks.pop();
        if self.marks.is_empty() {
            self.undo.clear();
            self.undo_bytes.clear();
        }
    }

    /// Rolls back what was written since the innermost mark, which stays.
    pub(super) fn undo_to_mark(&mut self) {
        let start = self.marks.last().copied().unwrap_or(0);
        let undo = self.undo.split_off(start);
        let bytes = std::mem::take(&mut self.undo_bytes);
        for (key, lived) in undo.into_iter().rev() {
            let key = &bytes[key];
            match lived {
                _ if !self.knows(key) => {}
                Some(lived) => self.set(key, lived),
                // It came to be known since.
                None => self.cut(key.into()),
            }
        }
        self.undo_bytes = bytes;
    }
}
