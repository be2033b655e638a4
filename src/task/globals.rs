//! Stores that one task fills and all others in the instance read, on any thread.
//!
//! ```text
//!  global topics -> task -> its own stores --(one write a step)--> GlobalRows <- other tasks
//! ```
//!
//! They are not part of any commit: a reader sees the newest row that exists when it looks.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{Error, Result};
use crate::state::{GlobalRows, StoreSpec};

/// The global stores of an instance, by name. A clone refers to the same ones.
#[derive(Clone, Debug, Default)]
pub struct GlobalStores(Arc<BTreeMap<String, GlobalRows>>);

impl GlobalStores {
    /// Stores without rows.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let stores = names.into_iter().map(|name| (name, GlobalRows::default()));
        Self(Arc::new(stores.collect()))
    }

    /// The rows of these stores, in their order.
    ///
    /// # Errors
    /// `Internal` if one of them is not a global store.
    pub fn of(&self, specs: &[StoreSpec]) -> Result<Vec<GlobalRows>> {
        let rows = specs.iter().map(|spec| {
            let rows = self.get(&spec.name);
            rows.ok_or_else(|| Error::internal(format!("{:?} is no global store", spec.name)))
        });
        rows.collect()
    }

    /// What the rows take of the memory, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.0.values().map(GlobalRows::memory_bytes).sum()
    }

    /// The rows of that store, if it is one of these.
    pub fn get(&self, name: &str) -> Option<GlobalRows> {
        self.0.get(name).cloned()
    }
}
