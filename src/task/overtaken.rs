//! Changes of versioned tables that a later one of their key has overtaken.
//!
//! Such a table keeps and passes them, since they are part of its history. What stands on its newest rows
//! leaves them out: so their mark goes with the record through the graph, as far as the next store.

use super::Context;
use crate::base::Result;

impl Context {
    /// Whether the change being handled, of a versioned table, is older than the newest row of its key.
    pub fn is_overtaken(&self) -> bool {
        self.overtaken
    }

    /// Passes a change on as one that is overtaken or not.
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
