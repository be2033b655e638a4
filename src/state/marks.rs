//! Marks over all the state of a task, to which later writes can be rolled back.
//!
//! ```text
//!  set       record            set    held row     undo: the row's writes go    undo: all go
//!   | - - - - writes - - - - - - | - - writes - - -|  - - - - writes - - - - - -|
//!   outermost                    inside                  clear instead keeps them, for the one around
//! ```

use std::cell::Cell;
use std::rc::Rc;

use super::overlay::SharedOverlay;
use super::times::Times;
use crate::base::{Error, Result};

/// The marks of a task's state. They nest; a clone refers to the same ones.
#[derive(Clone)]
pub struct Marks {
    overlays: Rc<[SharedOverlay]>,
    times: Times,
    depth: Rc<Cell<usize>>,
}

impl std::fmt::Debug for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Marks")
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl Marks {
    pub(super) fn new(overlays: Vec<SharedOverlay>, times: Times) -> Self {
        Self {
            overlays: overlays.into(),
            times,
            depth: Rc::default(),
        }
    }

    /// Whether one is set.
    pub(super) fn are_set(&self) -> bool {
        self.depth.get() > 0
    }

    /// Sets a mark, for [`Marks::undo`], inside the existing ones.
    pub fn set(&self) {
        for rows in &*self.overlays {
            rows.borrow_mut().mark();
        }
        self.times.mark();
        self.depth.set(self.depth.get() + 1);
    }

    /// Rolls back all writes and times since the innermost mark, and removes that mark.
    ///
    /// # Errors
    /// `Internal` if no mark is set.
    pub fn undo(&self) -> Result<()> {
        if !self.are_set() {
            let message = "a task undoes a record without a mark";
            return Err(Error::internal(message));
        }
        for rows in &*self.overlays {
            rows.borrow_mut().undo_to_mark();
        }
        self.times.undo_to_mark();
        self.clear();
        Ok(())
    }

    /// Removes the innermost mark: later writes stay, or belong to the surrounding mark.
    pub fn clear(&self) {
        for rows in &*self.overlays {
            rows.borrow_mut().clear_mark();
        }
        self.times.clear_mark();
        self.depth.set(self.depth.get().saturating_sub(1));
    }

    /// Removes all marks, when everything written since the last commit is discarded.
    pub(super) fn forget(&self) {
        self.depth.set(0);
    }
}
