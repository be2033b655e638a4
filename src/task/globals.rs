//! Stores that one task fills and all others in the instance read, on any thread.
//!
//! ```text
//!  global topics -> task -> its own stores --(changes, after each step)--> GlobalRows <- other tasks
//! ```
//!
//! They are not part of any commit: a reader sees the newest row that exists when it looks.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use super::{CLOCK_HEADER, StepLimits, Task};
use crate::base::Result;
use crate::batch::BatchesBuilder;

/// The rows of a global store. A clone refers to the same ones.
#[derive(Clone, Debug, Default)]
pub struct GlobalRows(Arc<RwLock<BTreeMap<Vec<u8>, Vec<u8>>>>);

/// A row with its key, both as bytes.
pub type GlobalRow = (Vec<u8>, Vec<u8>);

impl GlobalRows {
    /// Calls `read` with the row of `key` as of now.
    pub fn get<R>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> R) -> R {
        let rows = self.0.read().unwrap_or_else(PoisonError::into_inner);
        read(rows.get(key).map(Vec::as_slice))
    }

    /// The rows between two keys as of now, in the byte order of the keys.
    pub fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Vec<GlobalRow> {
        let rows = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let inside = |key: &[u8]| {
            let above = match from {
                Bound::Included(from) => key >= from,
                Bound::Excluded(from) => key > from,
                Bound::Unbounded => true,
            };
            above
                && match to {
                    Bound::Included(to) => key <= to,
                    Bound::Excluded(to) => key < to,
                    Bound::Unbounded => true,
                }
        };
        let first = match from {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &[],
        };
        let rows = rows.range::<[u8], _>((Bound::Included(first), Bound::Unbounded));
        let rows = rows.skip_while(|(key, _)| !inside(key));
        let rows = rows.take_while(|(key, _)| inside(key));
        rows.map(|(key, row)| (key.clone(), row.clone())).collect()
    }
}

/// The global stores of an instance, by name. A clone refers to the same ones.
#[derive(Clone, Debug, Default)]
pub struct GlobalStores(Arc<BTreeMap<String, GlobalRows>>);

impl GlobalStores {
    /// Stores without rows.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let stores = names.into_iter().map(|name| (name, GlobalRows::default()));
        Self(Arc::new(stores.collect()))
    }

    /// The rows of that store, if it is one of these.
    pub fn get(&self, name: &str) -> Option<GlobalRows> {
        self.0.get(name).cloned()
    }
}

impl Task {
    /// Processes all records of the inputs and publishes the changed rows to the readers of `stores`: the
    /// work of a task of global stores. It commits nowhere.
    ///
    /// # Errors
    /// As [`Task::process`].
    pub fn fill(&mut self, stores: &GlobalStores, wall_ms: i64) -> Result<()> {
        self.begin(wall_ms)?;
        while self.process(StepLimits::records(1_000), wall_ms)?.more {}
        self.state.seal()?;
        let specs = self.state.specs().to_vec();
        let mut builder = BatchesBuilder::default();
        for (index, spec) in specs.iter().enumerate() {
            self.state.changelog(index, &mut builder)?;
            let Some(shared) = stores.get(&spec.name) else {
                continue;
            };
            for batch in builder.seal() {
                let mut cursor = batch.cursor(0);
                let mut rows = shared.0.write().unwrap_or_else(PoisonError::into_inner);
                while let Some(record) = cursor.next_record()? {
                    let key = record.key.unwrap_or_default();
                    match record.value {
                        None => drop(rows.remove(key)),
                        Some(value) => {
                            let headers = record.headers_without(CLOCK_HEADER)?;
                            let mut row = Vec::with_capacity(value.len());
                            spec.row.begin(record.timestamp_ms, &headers, &mut row);
                            row.extend_from_slice(value);
                            rows.insert(key.to_vec(), row);
                        }
                    }
                }
            }
        }
        let ends = vec![None; specs.len() + 1];
        self.state.applied(&ends)
    }
}
