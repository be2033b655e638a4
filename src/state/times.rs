//! Named times that commit with the rows: of partitions, operators, stores and origins.
//!
//! A task behind a wide repartition topic has hundreds of them and changes only a few between two
//! commits, so differences from the backend are kept in a list, and changes since a mark in another.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::NO_TIME;

/// The name of the task's own time, the largest timestamp it has processed: deletions from key-value
/// stores carry it on their changelogs.
pub const TASK_TIME: &str = "task";

#[derive(Debug)]
struct Slot {
    name: Box<str>,
    /// The value for operators.
    value: Cell<i64>,
    /// The value being committed.
    sealed: Cell<i64>,
    /// The value in the backend.
    committed: Cell<i64>,
    /// Whether the slot is in the list of changes.
    listed: Cell<bool>,
    journal: Rc<Journal>,
}

/// What all slots of a task share.
#[derive(Debug, Default)]
struct Journal {
    /// The slots that may differ from the backend.
    changed: RefCell<Vec<StoredTime>>,
    /// Where the changes since each mark begin, the innermost last.
    marks: RefCell<Vec<usize>>,
    /// Values since the outermost mark, before each change.
    before: RefCell<Vec<(StoredTime, i64)>>,
}

/// One number that commits and rolls back with its task's state; [`NO_TIME`] at first. A clone refers to
/// the same slot.
#[derive(Clone, Debug)]
pub struct StoredTime(Rc<Slot>);

impl StoredTime {
    /// The newest value.
    #[inline]
    pub fn get(&self) -> i64 {
        self.0.value.get()
    }

    /// Sets the value; [`NO_TIME`] removes it from the log and the disk.
    #[inline]
    pub fn set(&self, time: i64) {
        let slot = &*self.0;
        if slot.value.get() == time {
            return;
        }
        if !slot.journal.marks.borrow().is_empty() {
            let before = (self.clone(), slot.value.get());
            slot.journal.before.borrow_mut().push(before);
        }
        slot.value.set(time);
        if !slot.listed.replace(true) {
            slot.journal.changed.borrow_mut().push(self.clone());
        }
    }

    /// Sets the value if it is larger than the one before; returns whether it was.
    #[inline]
    pub fn raise(&self, time: i64) -> bool {
        let larger = time > self.get();
        if larger {
            self.set(time);
        }
        larger
    }

    /// Sets a value that the log already has.
    pub(super) fn restore(&self, time: i64) {
        self.0.value.set(time);
        self.0.sealed.set(time);
        self.0.committed.set(time);
    }

    pub(super) fn sealed(&self) -> i64 {
        self.0.sealed.get()
    }

    fn is_as_committed(&self) -> bool {
        let Slot {
            value,
            sealed,
            committed,
            ..
        } = &*self.0;
        value.get() == committed.get() && sealed.get() == committed.get()
    }

    pub(super) fn committed(&self) -> i64 {
        self.0.committed.get()
    }
}

/// The times of a task by name, for code that creates some later. A clone refers to the same ones.
#[derive(Clone, Debug, Default)]
pub struct NamedTimes(Times);

impl NamedTimes {
    pub(super) fn of(times: &Times) -> Self {
        Self(times.clone())
    }

    /// The time of that name, as [`TaskState::time`](super::TaskState::time).
    pub fn slot(&self, name: &str) -> StoredTime {
        self.0.slot(name)
    }

    /// The times that are set and whose names have this prefix: the rest of the name, and the time.
    pub fn set_under(&self, prefix: &str) -> Vec<(String, i64)> {
        let slots = self.0.slots.borrow();
        let under = slots.range(prefix.to_owned()..);
        let under = under.map_while(|(name, slot)| Some((name.strip_prefix(prefix)?, slot)));
        let set = under.filter(|(_, slot)| slot.get() != NO_TIME);
        set.map(|(name, slot)| (name.to_owned(), slot.get()))
            .collect()
    }
}

/// All slots of a task. A clone refers to the same slots.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    slots: Rc<RefCell<BTreeMap<String, StoredTime>>>,
    journal: Rc<Journal>,
}

impl Times {
    pub(super) fn slot(&self, name: &str) -> StoredTime {
        if let Some(slot) = self.slots.borrow().get(name) {
            return slot.clone();
        }
        let slot = StoredTime(Rc::new(Slot {
            name: name.into(),
            value: Cell::new(NO_TIME),
            sealed: Cell::new(NO_TIME),
            committed: Cell::new(NO_TIME),
            listed: Cell::new(false),
            journal: self.journal.clone(),
        }));
        self.slots
            .borrow_mut()
            .insert(name.to_owned(), slot.clone());
        slot
    }

    pub(super) fn seal(&self) {
        let changed = self.journal.changed.borrow();
        changed
            .iter()
            .for_each(|slot| slot.0.sealed.set(slot.get()));
    }

    /// The values being committed that differ from the backend's, by name.
    pub(super) fn changes(&self, mut visit: impl FnMut(&str, i64)) {
        let mut changed = self.journal.changed.borrow_mut();
        changed.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        for StoredTime(slot) in &*changed {
            if slot.sealed.get() != slot.committed.get() {
                visit(&slot.name, slot.sealed.get());
            }
        }
    }

    /// Whether some value differs from the backend's.
    pub(super) fn are_new(&self) -> bool {
        let changed = self.journal.changed.borrow();
        let differs = |slot: &StoredTime| slot.get() != slot.0.committed.get();
        changed.iter().any(differs)
    }

    pub(super) fn committed(&self) {
        let mut changed = self.journal.changed.borrow_mut();
        changed.retain(|slot| {
            slot.0.committed.set(slot.sealed());
            let keep = !slot.is_as_committed();
            slot.0.listed.set(keep);
            keep
        });
    }

    pub(super) fn rollback(&self) {
        self.journal.marks.borrow_mut().clear();
        self.journal.before.borrow_mut().clear();
        for slot in self.journal.changed.borrow_mut().drain(..) {
            slot.restore(slot.0.committed.get());
            slot.0.listed.set(false);
        }
    }

    /// Sets a mark inside the existing ones.
    pub(super) fn mark(&self) {
        let before = self.journal.before.borrow().len();
        self.journal.marks.borrow_mut().push(before);
    }

    /// Removes the innermost mark.
    pub(super) fn clear_mark(&self) {
        let mut marks = self.journal.marks.borrow_mut();
        marks.pop();
        if marks.is_empty() {
            self.journal.before.borrow_mut().clear();
        }
    }

    /// Rolls back to the innermost mark, which stays.
    pub(super) fn undo_to_mark(&self) {
        let start = self.journal.marks.borrow().last().copied().unwrap_or(0);
        let undone = self.journal.before.borrow_mut().split_off(start);
        // A slot that changed twice gets its oldest value last.
        for (StoredTime(slot), value) in undone.into_iter().rev() {
            slot.value.set(value);
        }
    }

    /// Every slot that has a time, by name.
    pub(super) fn all(&self, mut visit: impl FnMut(&str, i64)) {
        for (name, slot) in &*self.slots.borrow() {
            if slot.get() != NO_TIME {
                visit(name, slot.get());
            }
        }
    }
}
