//! The kind of [`LruStore`]: at most so many rows, of which the one that was used longest ago goes.

use std::any::Any;

use crate::base::Result;
use crate::state::kind::{Kind, Mapping, OpenStore, SameKeys, Site, StoredRow, VisitRow};
use crate::state::overlay::SharedOverlay;
use crate::state::{LruStore, Medium, StoreKind};

#[derive(Debug)]
struct Lru {
    entries_max: usize,
}

impl StoreKind {
    /// One row a key, of at most `entries_max` keys: the one that was used longest ago goes for a new one.
    /// The store is a [`LruStore`].
    pub fn lru(entries_max: usize) -> Self {
        Self::new(Lru { entries_max })
    }
}

impl Kind for Lru {
    fn name(&self) -> &'static str {
        "LRU store"
    }

    fn descriptor(&self) -> String {
        format!("lru entries={}", self.entries_max)
    }

    fn describe(&self) -> String {
        format!("LRU of {} entries", self.entries_max)
    }

    fn mapping(&self, _medium: Medium) -> Box<dyn Mapping> {
        Box::new(SameKeys)
    }

    fn open(&self, site: Site<'_>) -> Box<dyn OpenStore> {
        Box::new(LruStore::new(site, self.entries_max))
    }
}

impl OpenStore for LruStore {
    fn handle(&self) -> &dyn Any {
        self
    }

    fn overlay(&self) -> SharedOverlay {
        self.rows().clone()
    }

    fn each_row(&self, visit: &mut VisitRow<'_>) -> Result<()> {
        let mut rows = self.all()?;
        while let Some((key, row)) = rows.next()? {
            visit(StoredRow {
                key,
                window: None,
                since_ms: None,
                row,
            })?;
        }
        Ok(())
    }
}
