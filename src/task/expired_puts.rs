//! Puts of user code that stores refused.

use std::cell::Cell;
use std::rc::Rc;

/// Counts the puts that the stores of one node refused as too old, so that the node can count drops. A
/// clone is the same counter.
#[derive(Clone, Debug, Default)]
pub struct ExpiredPuts(Rc<Cell<u64>>);

impl ExpiredPuts {
    /// Counts one.
    pub fn count(&self) {
        self.0.set(self.0.get() + 1);
    }

    /// The number since the last query.
    pub fn take(&self) -> u64 {
        self.0.take()
    }
}
