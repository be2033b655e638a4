//! Walks over the rows of a [`RowTable`], and its beginning.

use std::ops::Bound;

use super::head::Head;
use super::iter::{RowIter, Rowset, is_empty_range};
use super::table::{RowTable, State};
use super::{Direction, Scan};
use crate::base::Result;

/// How many committed rows are read at once if one that is due is not in memory.
const READ_AHEAD: usize = 512;

impl RowTable {
    /// The rows between two keys as of now.
    pub(super) fn range(
        &mut self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<RowIter> {
        self.walk(from, to, direction, usize::MAX)
    }

    /// A walk that is complete for its first `rows_max` rows from a key on; later results may be
    /// incomplete.
    pub(super) fn first(&mut self, from: Bound<&[u8]>, rows_max: usize) -> Result<RowIter> {
        self.walk(from, Bound::Unbounded, Direction::Forward, rows_max)
    }

    fn walk(
        &mut self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        direction: Direction,
        rows_max: usize,
    ) -> Result<RowIter> {
        let mut overlay = Rowset::default();
        if is_empty_range(from, to) {
            return Ok(RowIter::new(overlay, None, direction));
        }
        let (entries, active, committing) = (&self.entries, &self.active, &self.committing);
        let ordered = self.ordered.get_or_insert_with(|| {
            let dirty = active.iter().chain(committing);
            dirty
                .map(|id| (entries[*id as usize].key().into(), *id))
                .collect()
        });
        let range = ordered.range::<[u8], _>((from, to));
        // In the overlay, the row of a number is not after that of the same number here, apart from
        // deletions.
        let mut live = 0;
        let mut take = |id: &u32| {
            let entry = &entries[*id as usize];
            overlay.push(entry.key(), entry.row());
            live += usize::from(entry.row().is_some());
            live < rows_max
        };
        let mut ids = range.map(|(_, id)| id);
        match direction {
            Direction::Forward => ids.all(&mut take),
            Direction::Backward => ids.rev().all(&mut take),
        };
        // Each row of the backend is returned or hidden by one of the overlay.
        let rows_max = rows_max.saturating_add(overlay.len());
        let backend = self.backend.borrow();
        let scan = backend.scan_some(self.column, from, to, direction, rows_max)?;
        drop(backend);
        Ok(RowIter::new(overlay, Some(scan), direction))
    }

    /// Makes the table keep track of its beginning from now on, in about `limit_bytes`.
    pub(super) fn know_head(&mut self, limit_bytes: usize) {
        if self.head.is_none() {
            self.head = Some(Head::new(limit_bytes));
        }
    }

    /// The smallest live key of a table that keeps track of its beginning.
    pub(super) fn first_key(&mut self) -> Result<Option<&[u8]>> {
        while let Some(head) = &self.head
            && head.first().is_none()
            && let Some(end) = head.end()
        {
            let (from, wanted) = (end.to_vec(), head.wanted());
            self.find_first_keys(&from, wanted)?;
        }
        Ok(self.head.as_ref().and_then(Head::first))
    }

    #[cold]
    fn find_first_keys(&mut self, from: &[u8], wanted: usize) -> Result<()> {
        let mut rows = self.first(Bound::Included(from), wanted)?;
        let mut keys = Vec::new();
        while keys.len() < wanted
            && let Some((key, _)) = rows.next()?
        {
            keys.push(key.into());
        }
        let complete = keys.len() < wanted;
        if complete {
            // No walk is expected soon, so writes need not keep their keys in order.
            self.ordered = None;
        }
        if let Some(head) = &mut self.head {
            head.extend(keys, complete);
        }
        Ok(())
    }

    /// Takes out the first row before `to`, if there is one, and copies its key and itself to these
    /// buffers.
    pub(super) fn pop(&mut self, to: &[u8], key: &mut Vec<u8>, row: &mut Vec<u8>) -> Result<bool> {
        match self.first_key()? {
            Some(first) if first < to => {
                key.clear();
                key.extend_from_slice(first);
            }
            _ => return Ok(false),
        }
        if !self.holds(key) {
            self.read_ahead(key, to)?;
        }
        row.clear();
        let found = self.get(key)?;
        row.extend_from_slice(found.unwrap_or_default());
        self.put(key, None);
        Ok(true)
    }

    /// Loads committed rows from a key on into the cache.
    #[cold]
    fn read_ahead(&mut self, from: &[u8], to: &[u8]) -> Result<()> {
        self.evict();
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        let backend = self.backend.borrow();
        let mut rows: Box<dyn Scan> = backend.scan_some(
            self.column,
            bounds.0,
            bounds.1,
            Direction::Forward,
            READ_AHEAD,
        )?;
        drop(backend);
        for _ in 0..READ_AHEAD {
            let Some((key, row)) = rows.next()? else {
                break;
            };
            self.offer(key, row);
        }
        Ok(())
    }

    /// The committed row of a time-ordered table is useless once it is removed.
    pub(super) fn forget_removed(&mut self, id: u32) {
        let entry = &self.entries[id as usize];
        if self.head.is_some() && entry.state == State::Clean && entry.row().is_none() {
            self.clean_bytes -= entry.cost();
            self.remove(id);
        }
    }
}
