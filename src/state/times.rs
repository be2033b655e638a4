//! Named times that commit with the rows: of partitions, operators, stores and origins.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::NO_TIME;

/// The name of the task's own time, the largest timestamp it has taken: deletions from key-value
/// stores carry it on their changelogs.
pub const TASK_TIME: &str = "task";

#[derive(Debug)]
pub(super) struct Slot {
    /// What the operators see.
    value: Cell<i64>,
    /// What is being committed.
    sealed: Cell<i64>,
    /// What the backend has.
    committed: Cell<i64>,
}

/// One number that commits and rolls back with its task's state; [`NO_TIME`] at first. A clone is the
/// same slot.
#[derive(Clone, Debug)]
pub struct TimeSlot(Rc<Slot>);

impl TimeSlot {
    /// The newest value.
    #[inline]
    pub fn get(&self) -> i64 {
        self.0.value.get()
    }

    /// Sets the value; [`NO_TIME`] removes it from the log and the disk.
    #[inline]
    pub fn set(&self, time: i64) {
        self.0.value.set(time);
    }

    /// Sets the value as one that the log has already.
    pub(super) fn restore(&self, time: i64) {
        self.0.value.set(time);
        self.0.sealed.set(time);
        self.0.committed.set(time);
    }

    pub(super) fn sealed(&self) -> i64 {
        self.0.sealed.get()
    }
}

/// All slots of a task. A clone has the same slots.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    slots: Rc<RefCell<BTreeMap<String, TimeSlot>>>,
    marked: Rc<RefCell<Marked>>,
}

#[derive(Debug, Default)]
struct Marked {
    /// The values at each mark, one mark behind the other.
    values: Vec<(TimeSlot, i64)>,
    /// Where those of each mark begin, the innermost last.
    starts: Vec<usize>,
}

impl Times {
    pub(super) fn slot(&self, name: &str) -> TimeSlot {
        if let Some(slot) = self.slots.borrow().get(name) {
            return slot.clone();
        }
        let slot = TimeSlot(Rc::new(Slot {
            value: Cell::new(NO_TIME),
            sealed: Cell::new(NO_TIME),
            committed: Cell::new(NO_TIME),
        }));
        self.slots
            .borrow_mut()
            .insert(name.to_owned(), slot.clone());
        slot
    }

    fn each(&self, mut visit: impl FnMut(&str, &Slot)) {
        let slots = self.slots.borrow();
        slots.iter().for_each(|(name, slot)| visit(name, &slot.0));
    }

    pub(super) fn seal(&self) {
        self.each(|_, slot| slot.sealed.set(slot.value.get()));
    }

    /// The values being committed that differ from the backend's.
    pub(super) fn changes(&self, mut visit: impl FnMut(&str, i64)) {
        self.each(|name, slot| {
            if slot.sealed.get() != slot.committed.get() {
                visit(name, slot.sealed.get());
            }
        });
    }

    /// Whether some value is not what the backend has.
    pub(super) fn are_new(&self) -> bool {
        let mut new = false;
        self.each(|_, slot| new |= slot.value.get() != slot.committed.get());
        new
    }

    pub(super) fn committed(&self) {
        self.each(|_, slot| slot.committed.set(slot.sealed.get()));
    }

    pub(super) fn rollback(&self) {
        let marked = &mut *self.marked.borrow_mut();
        marked.values.clear();
        marked.starts.clear();
        self.each(|_, slot| {
            slot.value.set(slot.committed.get());
            slot.sealed.set(slot.committed.get());
        });
    }

    /// Sets a mark inside those that are set.
    pub(super) fn mark(&self) {
        let marked = &mut *self.marked.borrow_mut();
        marked.starts.push(marked.values.len());
        let slots = self.slots.borrow();
        let now = slots.values().map(|slot| (slot.clone(), slot.get()));
        marked.values.extend(now);
    }

    /// Takes off the innermost mark.
    pub(super) fn clear_mark(&self) {
        let marked = &mut *self.marked.borrow_mut();
        if let Some(start) = marked.starts.pop() {
            marked.values.truncate(start);
        }
    }

    /// Goes back to the innermost mark, which stays.
    pub(super) fn undo_to_mark(&self) {
        // Slots are never removed, so the marked ones come in the same order. One made since the mark
        // had no time then.
        let marked = self.marked.borrow();
        let start = marked.starts.last().copied().unwrap_or(0);
        let mut values = marked.values[start..].iter().peekable();
        self.each(|_, slot| {
            let then = values.next_if(|(marked, _)| std::ptr::eq(&*marked.0, slot));
            slot.value.set(then.map_or(NO_TIME, |(_, time)| *time));
        });
    }

    /// Every slot that has a time, by name.
    pub(super) fn all(&self, mut visit: impl FnMut(&str, i64)) {
        self.each(|name, slot| {
            if slot.value.get() != NO_TIME {
                visit(name, slot.value.get());
            }
        });
    }

    /// Gives every slot no time, as before the first record.
    pub(super) fn clear(&self) {
        let slots = self.slots.borrow();
        slots.values().for_each(|slot| slot.restore(NO_TIME));
    }
}
