//! A store of at most so many rows, which forgets the one that was used longest ago.
//!
//! What it forgets is deleted like anything else: the changelog says so. In which order the rows were used lives in
//! memory alone: after a restart, or a write that was taken back, rows that it does not know count as used
//! before all others, in the order of their keys.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::rc::Rc;

use super::journal::{Journal, SharedJournal};
use super::kind::Site;
use super::table::Table;
use super::{Direction, RowIter};
use crate::base::Result;

/// A handle of an LRU store. A clone is the same store; it stays on its task's thread.
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
    /// How often rows had been taken back when this was right; `None` before it was.
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
    pub(super) fn new(site: Site<'_>, entries_max: usize) -> Self {
        let table = Table::new(site.column, site.backend, site.cache_bytes);
        Self(Rc::new(Inner {
            rows: Rc::new(RefCell::new(Journal::new(table))),
            entries_max,
            uses: RefCell::default(),
        }))
    }

    pub(super) fn rows(&self) -> &SharedJournal {
        &self.0.rows
    }

    /// How many rows it has at most.
    pub fn entries_max(&self) -> usize {
        self.0.entries_max
    }

    /// Shows `read` the row of `key`, which counts as used. `read` must not use the same store.
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

    /// Sets the row of `key`, which counts as used; `None` deletes it. Where there are too many rows then, the
    /// one that was used longest ago is deleted.
    ///
    /// # Errors
    /// `TooLarge` if its changelog would not take the row; those of the backend.
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

    /// All rows as they are now, by key. They do not count as used.
    ///
    /// # Errors
    /// Those of the backend: `Corrupt`, `Unavailable`.
    pub fn all(&self) -> Result<RowIter> {
        let mut rows = self.0.rows.borrow_mut();
        rows.table
            .range(Bound::Unbounded, Bound::Unbounded, Direction::Forward)
    }

    /// Brings the uses in line with the rows, if those were just opened or taken back.
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
