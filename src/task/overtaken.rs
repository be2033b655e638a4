//! Out-of-order changes of versioned tables: a later change of their key came first.
//!
//! Such a table stores and forwards them, since they are part of its history. Operators on its newest
//! rows ignore them: so a mark goes with the record through the graph, as far as the next store.

use super::Context;
use crate::base::Result;

impl Context {
    /// Whether the change being handled, of a versioned table, is older than the newest row of its key.
    pub fn is_overtaken(&self) -> bool {
        self.overtaken
    }

    /// Passes on a change as out of order or not.
    ///
    /// # Errors
    /// Those of `push`.
    pub fn with_overtaken(
        &mut self,
        overtaken: bool,
        push: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let outer = std::mem::replace(&mut self.overtaken, overtaken);
        let pushed = push(self);
        self.overtaken = outer;
        pushed
    }
}
