//! A store with a maximum number of rows, which evicts the least recently used one. The whole kind is in
//! this file: its rules, its handle and its tests.
//!
//! Evicted rows are deleted like any others: the changelog records it. The order of use is only in
//! memory: after a restart, or a write that was rolled back, rows of unknown use count as used before all
//! others, in the order of their keys.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::rc::Rc;

use crate::base::Result;
use crate::state::journal::{Journal, SharedJournal};
use crate::state::kind::{Kind, Mapping, OpenStore, SameKeys, Site, StoredRow, VisitRow};
use crate::state::overlay::SharedOverlay;
use crate::state::table::RowTable;
use crate::state::{Direction, RowIter, StoreKind, StoreType};

#[derive(Debug)]
struct Lru {
    entries_max: usize,
}

impl StoreKind {
    /// One row per key, for at most `entries_max` keys: a new key evicts the least recently used one. The
    /// store is a [`LruStore`].
    pub fn lru(entries_max: usize) -> Self {
        Self::new(Lru { entries_max })
    }
}

impl Kind for Lru {
    fn name(&self) -> &'static str {
        "LRU store"
    }

    fn descriptor(&self) -> String {
        format!("lru entries={}", self.entries_max)
    }

    fn describe(&self) -> String {
        format!("LRU of {} entries", self.entries_max)
    }

    fn mapping(&self, _store_type: StoreType) -> Box<dyn Mapping> {
        Box::new(SameKeys)
    }

    fn open(&self, site: Site<'_>) -> Box<dyn OpenStore> {
        Box::new(LruStore::new(site, self.entries_max))
    }
}

impl OpenStore for LruStore {
    fn handle(&self) -> &dyn Any {
        self
    }

    fn overlay(&self) -> SharedOverlay {
        self.0.rows.clone()
    }

    fn each_row(&self, visit: &mut VisitRow<'_>) -> Result<()> {
        let mut rows = self.all()?;
        while let Some((key, row)) = rows.next()? {
            visit(StoredRow {
                key,
                window: None,
                since_ms: None,
                row,
            })?;
        }
        Ok(())
    }
}

/// A handle of an LRU store. A clone refers to the same store; it stays on its task's thread.
#[derive(Clone)]
pub struct LruStore(Rc<Inner>);

struct Inner {
    rows: SharedJournal,
    entries_max: usize,
    uses: RefCell<Uses>,
}

/// Which keys there are, and when each was last used.
#[derive(Default)]
struct Uses {
    by_age: BTreeMap<u64, Box<[u8]>>,
    ages: HashMap<Box<[u8]>, u64>,
    next: u64,
    /// The number of rollbacks when this was up to date; `None` before it was.
    as_of: Option<u64>,
}

impl Uses {
    fn touch(&mut self, key: &[u8]) {
        let age = self.next;
        self.next += 1;
        let known = self.ages.insert(key.into(), age);
        if let Some(known) = known {
            self.by_age.remove(&known);
        }
        self.by_age.insert(age, key.into());
    }

    fn forget(&mut self, key: &[u8]) {
        if let Some(age) = self.ages.remove(key) {
            self.by_age.remove(&age);
        }
    }
}

impl fmt::Debug for LruStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LruStore")
            .field("entries_max", &self.0.entries_max)
            .finish_non_exhaustive()
    }
}

impl LruStore {
    fn new(site: Site<'_>, entries_max: usize) -> Self {
        let table = RowTable::new(site.column, site.backend, site.cache_bytes);
        Self(Rc::new(Inner {
            rows: Rc::new(RefCell::new(Journal::new(table))),
            entries_max,
            uses: RefCell::default(),
        }))
    }

    /// The maximum number of rows.
    pub fn entries_max(&self) -> usize {
        self.0.entries_max
    }

    /// Calls `read` with the row of `key`, which counts as used. `read` must not use the same store.
    ///
    /// # Errors
    /// Those of the backend: `Corrupt`, `Unavailable`.
    pub fn get<R>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        self.know_uses()?;
        let mut rows = self.0.rows.borrow_mut();
        let row = rows.table.get(key)?;
        if row.is_some() {
            self.0.uses.borrow_mut().touch(key);
        }
        Ok(read(row))
    }

    /// Calls `read` with the row of `key`, which does not count as used. `read` must not use the same store.
    ///
    /// # Errors
    /// Those of the backend: `Corrupt`, `Unavailable`.
    pub fn peek<R>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        Ok(read(self.0.rows.borrow_mut().table.get(key)?))
    }

    /// Sets the row of `key`, which counts as used; `None` deletes it. If there are then too many rows,
    /// the least recently used one is deleted.
    ///
    /// # Errors
    /// `TooLarge` if the row is too large for its changelog; those of the backend.
    pub fn put(&self, key: &[u8], row: Option<&[u8]>) -> Result<()> {
        self.know_uses()?;
        let table = &mut self.0.rows.borrow_mut().table;
        table.limit.check(key, row)?;
        let uses = &mut *self.0.uses.borrow_mut();
        if row.is_none() {
            if table.get(key)?.is_some() {
                table.put(key, None);
                uses.forget(key);
            }
            return Ok(());
        }
        table.put(key, row);
        uses.touch(key);
        while uses.by_age.len() > self.0.entries_max
            && let Some((_, eldest)) = uses.by_age.pop_first()
        {
            uses.ages.remove(&eldest);
            table.put(&eldest, None);
        }
        Ok(())
    }

    /// All rows as of now, by key. They do not count as used.
    ///
    /// # Errors
    /// Those of the backend: `Corrupt`, `Unavailable`.
    pub fn all(&self) -> Result<RowIter> {
        self.range(Bound::Unbounded, Bound::Unbounded)
    }

    /// The rows between two keys as of now, by key. They do not count as used.
    ///
    /// # Errors
    /// Those of the backend: `Corrupt`, `Unavailable`.
    pub fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<RowIter> {
        let mut rows = self.0.rows.borrow_mut();
        rows.table.range(from, to, Direction::Forward)
    }

    /// Updates the uses from the rows, if those were just opened or rolled back.
    fn know_uses(&self) -> Result<()> {
        let taken_back = self.0.rows.borrow().taken_back;
        if self.0.uses.borrow().as_of == Some(taken_back) {
            return Ok(());
        }
        let mut rows = self.all()?;
        let mut keys = Vec::new();
        while let Some((key, _)) = rows.next()? {
            keys.push(Box::<[u8]>::from(key));
        }
        let uses = &mut *self.0.uses.borrow_mut();
        let known = std::mem::take(&mut uses.by_age);
        let (new, mut live): (Vec<_>, Vec<_>) = keys
            .into_iter()
            .partition(|key| !uses.ages.contains_key(key));
        live.sort_unstable();
        let kept = known.into_values();
        let kept = kept.filter(|key| live.binary_search(key).is_ok());
        uses.by_age = (0..).zip(new.into_iter().chain(kept)).collect();
        uses.ages = uses
            .by_age
            .iter()
            .map(|(age, key)| (key.clone(), *age))
            .collect();
        uses.next = uses.by_age.len() as u64;
        uses.as_of = Some(taken_back);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::{Bench, Changelogs, of_kind};

    #[test]
    fn what_an_lru_store_forgets_is_deleted_on_its_changelog() {
        let spec = of_kind("s", StoreKind::lru(2));
        Bench::on_both(&[spec], |bench| {
            let store: LruStore = bench.state.store("s").expect("is there");
            let mut logs = Changelogs::default();
            let put = |key: &str| store.put(key.as_bytes(), Some(b"x")).expect("puts");
            let has = |store: &LruStore, key: &str| {
                let read = |row: Option<&[u8]>| row.is_some();
                store.get(key.as_bytes(), read).expect("reads")
            };
            ["a", "b"].iter().for_each(|key| put(key));
            assert!(has(&store, "a"), "and is the last one used");
            logs.commit(bench);
            // After a rollback, the evicted row is there again.
            bench.state.marks().set();
            put("c");
            assert!(!has(&store, "b"));
            bench.state.marks().undo().expect("undoes");
            assert!(has(&store, "b") && !has(&store, "c"));
            put("d");
            logs.commit(bench);
            assert!(has(&store, "b") && has(&store, "d") && !has(&store, "a"));
            let before = bench.state.checksum().expect("reads");
            logs.restore(&mut bench.state, true, &[0, 1]);
            assert_eq!(bench.state.checksum().expect("reads"), before);
            let store: LruStore = bench.state.store("s").expect("is there");
            store.put(b"e", Some(b"x")).expect("puts");
            assert!(!has(&store, "b"), "what is not known counts by key");
        });
    }
}
