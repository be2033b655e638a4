//! The kind of [`KeyValueStore`]: one row per key.

use std::any::Any;
use std::cell::RefCell;
use std::ops::Bound;
use std::rc::Rc;

use crate::base::Result;
use crate::state::kind::{Kind, Mapping, OpenStore, SameKeys, Site, StoredRow, VisitRow};
use crate::state::overlay::SharedOverlay;
use crate::state::table::RowTable;
use crate::state::table::expected::Expected;
use crate::state::{Direction, KeyValueStore, StoreKind, StoreType};

#[derive(Debug)]
struct KeyValue;

impl StoreKind {
    /// One row per key. The store is a [`KeyValueStore`].
    pub fn key_value() -> Self {
        Self::new(KeyValue)
    }
}

impl Kind for KeyValue {
    fn name(&self) -> &'static str {
        "key-value store"
    }

    fn descriptor(&self) -> String {
        "key-value".to_owned()
    }

    fn describe(&self) -> String {
        "key-value".to_owned()
    }

    fn mapping(&self, _store_type: StoreType) -> Box<dyn Mapping> {
        Box::new(SameKeys)
    }

    fn open(&self, site: Site<'_>) -> Box<dyn OpenStore> {
        let reads = site.backend.borrow().reads();
        let mut table = RowTable::new(site.column, site.backend, site.cache_bytes);
        table.expected = reads.map(Expected::new);
        Box::new(KeyValueStore::new(Rc::new(RefCell::new(table))))
    }
}

impl OpenStore for KeyValueStore {
    fn handle(&self) -> &dyn Any {
        self
    }

    fn overlay(&self) -> SharedOverlay {
        self.table().clone()
    }

    fn each_row(&self, visit: &mut VisitRow<'_>) -> Result<()> {
        let mut rows = self.range(Bound::Unbounded, Bound::Unbounded, Direction::Forward)?;
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

    fn close(&self) {
        if let Ok(mut table) = self.table().try_borrow_mut() {
            table.expected = None;
        }
    }
}
