//! What travels on a table's edges.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a table with a store is to send the old row with each change. A consumer that needs it
/// asks while the topology is written; the table's maker looks when a task is wired.
#[derive(Clone, Debug, Default)]
pub struct OldRows {
    asked: Arc<AtomicBool>,
    below: Vec<OldRows>,
}

impl OldRows {
    /// Of a table that makes its old rows of those of other tables.
    pub fn made_of(below: Vec<OldRows>) -> Self {
        Self {
            asked: Arc::default(),
            below,
        }
    }

    /// Asks for old rows.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.below.iter().for_each(Self::ask);
    }

    /// Whether anybody asked.
    pub fn are_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

/// An update of a table's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<V> {
    /// The row from now on; `None` when it was deleted.
    pub new: Option<V>,
    /// The row until now, where a consumer asked for it.
    pub old: Option<V>,
}

impl<V> Change<V> {
    /// An update that nobody asked the old row of.
    pub fn to(new: Option<V>) -> Self {
        Self { new, old: None }
    }
}
