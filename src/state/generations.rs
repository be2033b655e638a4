//! The commit protocol of a [`RowTable`]: its generations, and the undoing of one record's writes.

use super::head::Head;
use super::overlay::{Overlay, Visit};
use super::row_limit::RowLimit;
use super::table::groups::Groups;
use super::table::{Older, RowTable, State, UndoMark, Was};
use crate::base::Result;

impl Overlay for RowTable {
    fn column(&self) -> usize {
        self.column
    }

    fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    fn clean_bytes(&self) -> usize {
        self.clean_bytes + self.ahead_bytes
    }

    fn set_cache_bytes(&mut self, cache_bytes: usize) {
        self.cache_bytes = cache_bytes;
        self.evict();
    }

    fn set_limit(&mut self, limit: RowLimit) {
        self.limit = limit;
    }

    fn seal(&mut self) {
        assert!(self.committing.is_empty(), "one commit at a time");
        assert!(
            self.undo.marks.is_empty(),
            "no commit in the middle of a record"
        );
        std::mem::swap(&mut self.active, &mut self.committing);
        for id in &self.committing {
            self.entries[*id as usize].state = State::Committing;
        }
        self.head.iter_mut().for_each(Head::seal);
    }

    fn committing_len(&self) -> usize {
        self.committing.len()
    }

    fn committing(&self, visit: &mut Visit<'_>) -> Result<()> {
        self.committing.iter().try_for_each(|id| {
            let entry = &self.entries[*id as usize];
            let row = match (&entry.state, &entry.older) {
                (State::Active, Older::Row(row)) => Some(&row[..]),
                (State::Active, _) => None,
                _ => entry.row(),
            };
            visit(entry.key(), row)
        })
    }

    fn committed(&mut self) {
        self.note_committed();
        let mut committing = std::mem::take(&mut self.committing);
        for id in committing.drain(..) {
            let entry = &mut self.entries[id as usize];
            if entry.state == State::Active {
                if let Older::Row(row) = std::mem::replace(&mut entry.older, Older::None) {
                    self.dirty_bytes -= row.len();
                    self.spare(row);
                }
                continue;
            }
            entry.state = State::Clean;
            self.dirty_bytes -= entry.cost();
            self.clean_bytes += entry.cost();
            if let Some(ordered) = &mut self.ordered {
                ordered.remove(entry.key());
            }
            self.forget_removed(id);
        }
        self.committing = committing;
        self.head.iter_mut().for_each(Head::committed);
        self.evict();
    }

    fn rollback(&mut self) {
        for id in self.active.split_off(0) {
            self.remove(id);
        }
        for id in self.committing.split_off(0) {
            // A row that was written again was removed with the active ones, or its number was not
            // reused.
            if self.entries[id as usize].state != State::Free {
                self.remove(id);
            }
        }
        if let Some(ordered) = &mut self.ordered {
            ordered.clear();
        }
        self.undo.marks.clear();
        self.undo.writes.clear();
        self.undo.bytes.clear();
        self.dirty_bytes = 0;
        // Rows written over committed ones were removed without them.
        self.groups.iter_mut().for_each(Groups::lose_all);
        self.head.iter_mut().for_each(Head::rollback);
        self.expect_nothing();
    }

    fn forget_below(&mut self, first_live: i64) {
        self.drop_groups_below(first_live);
    }

    fn mark(&mut self) {
        self.undo.marks.push(UndoMark {
            writes: self.undo.writes.len(),
            bytes: self.undo.bytes.len(),
            active: self.active.len(),
        });
        self.head.iter_mut().for_each(Head::mark);
    }

    fn clear_mark(&mut self) {
        self.undo.marks.pop();
        if self.undo.marks.is_empty() {
            self.undo.writes.clear();
            self.undo.bytes.clear();
        }
        self.head.iter_mut().for_each(Head::clear_mark);
    }

    fn undo_to_mark(&mut self) {
        assert!(!self.undo.marks.is_empty(), "undo goes back to a mark");
        let mark = self.undo.marks[self.undo.marks.len() - 1];
        let mut writes = std::mem::take(&mut self.undo.writes);
        for (id, was) in writes.drain(mark.writes..).rev() {
            let entry = &mut self.entries[id as usize];
            match was {
                Was::Absent | Was::Clean => {
                    self.dirty_bytes -= entry.cost();
                    if let Some(ordered) = &mut self.ordered {
                        ordered.remove(entry.key());
                    }
                    if matches!(was, Was::Clean) {
                        self.lose_row(id);
                    }
                    self.remove(id);
                }
                Was::Committing => {
                    let before = entry.cost();
                    entry.state = State::Committing;
                    match std::mem::replace(&mut entry.older, Older::None) {
                        Older::Row(row) => {
                            entry.set_row(Some(&row));
                            self.dirty_bytes -= row.len();
                        }
                        _ => entry.set_row(None),
                    }
                    self.dirty_bytes = self.dirty_bytes + entry.cost() - before;
                }
                Was::Active(row) => {
                    let before = entry.cost();
                    entry.set_row(row.map(|row| &self.undo.bytes[row]));
                    self.dirty_bytes = self.dirty_bytes + entry.cost() - before;
                }
            }
        }
        self.undo.writes = writes;
        self.undo.bytes.truncate(mark.bytes);
        self.active.truncate(mark.active);
        self.head.iter_mut().for_each(Head::undo_to_mark);
    }
}
