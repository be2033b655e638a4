//! The commit protocol of a [`Table`]: its generations, and the undoing of one record's writes.

use super::head::Head;
use super::table::{Older, State, Table, UndoMark, Was};

impl Table {
    /// Makes the active generation the one being committed.
    pub(super) fn seal(&mut self) {
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

    /// The keys of the active generation, in the order of their first writes.
    pub(super) fn active_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.active
            .iter()
            .map(|id| self.entries[*id as usize].key())
    }

    /// Number of rows being committed.
    pub(super) fn committing_len(&self) -> usize {
        self.committing.len()
    }

    /// The rows being committed, in the order of their first writes; `None` is a deletion.
    pub(super) fn committing(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.committing.iter().map(|id| {
            let entry = &self.entries[*id as usize];
            let row = match (&entry.state, &entry.older) {
                (State::Active, Older::Row(row)) => Some(&row[..]),
                (State::Active, _) => None,
                _ => entry.row(),
            };
            (entry.key(), row)
        })
    }

    /// The backend has the rows that were being committed.
    pub(super) fn committed(&mut self) {
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

    /// Forgets both generations.
    pub(super) fn rollback(&mut self) {
        for id in self.active.split_off(0) {
            self.remove(id);
        }
        for id in self.committing.split_off(0) {
            // One that was written again went with the active ones, or its number went to no other.
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
        self.head.iter_mut().for_each(Head::rollback);
    }

    /// Sets a mark inside those that are set.
    pub(super) fn mark(&mut self) {
        self.undo.marks.push(UndoMark {
            writes: self.undo.writes.len(),
            bytes: self.undo.bytes.len(),
            active: self.active.len(),
        });
        self.head.iter_mut().for_each(Head::mark);
    }

    /// Takes off the innermost mark: what was written since belongs to the one around it.
    pub(super) fn clear_mark(&mut self) {
        self.undo.marks.pop();
        if self.undo.marks.is_empty() {
            self.undo.writes.clear();
            self.undo.bytes.clear();
        }
        self.head.iter_mut().for_each(Head::clear_mark);
    }

    /// Takes back all writes since the innermost mark; the mark stays.
    pub(super) fn undo_to_mark(&mut self) {
        assert!(!self.undo.marks.is_empty(), "undo goes back to a mark");
        let mark = self.undo.marks[self.undo.marks.len() - 1];
        let mut writes = std::mem::take(&mut self.undo.writes);
        for (id, was) in writes.drain(mark.writes..).rev() {
            let entry = &mut self.entries[id as usize];
            match was {
                Was::Clean => {
                    self.dirty_bytes -= entry.cost();
                    if let Some(ordered) = &mut self.ordered {
                        ordered.remove(entry.key());
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
