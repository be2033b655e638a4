//! The kinds of [`TimeOrderedStore`]: by time alone, or also by key.

use std::any::Any;
use std::cell::RefCell;
use std::ops::Bound;
use std::rc::Rc;

use crate::base::Result;
use crate::state::kind::{
    Kind, Mapping, OpenStore, Place, RecordKey, SameKeys, Site, StoredRow, VisitRow,
};
use crate::state::overlay::SharedOverlay;
use crate::state::table::RowTable;
use crate::state::time_ordered::BY_KEY;
use crate::state::{Direction, KeyValueStore, StoreKind, StoreType, TimeOrderedStore, row};

#[derive(Clone, Copy, Debug)]
struct TimeOrdered {
    by_key: bool,
}

impl StoreKind {
    /// Rows ordered by a time and then by key; a key has a row at each of several times. The store is a
    /// [`TimeOrderedStore`]; its rows are those of a key-value store whose keys begin with the time, on
    /// disk and on the changelog.
    pub fn time_ordered() -> Self {
        Self::new(TimeOrdered { by_key: false })
    }

    /// Rows ordered by a time and then by key; a key has one row, which can be found by it. The store is
    /// a [`TimeOrderedStore`]; its changelog has the keys, and the time before each row.
    pub fn time_ordered_by_key() -> Self {
        Self::new(TimeOrdered { by_key: true })
    }
}

impl Kind for TimeOrdered {
    fn name(&self) -> &'static str {
        "time-ordered store"
    }

    /// By time alone, the layout on disk is that of a key-value store of such rows.
    fn descriptor(&self) -> String {
        match self.by_key {
            false => "key-value".to_owned(),
            true => "time-ordered by-key".to_owned(),
        }
    }

    fn describe(&self) -> String {
        match self.by_key {
            false => "time-ordered".to_owned(),
            true => "time-ordered, by key as well".to_owned(),
        }
    }

    fn mapping(&self, _store_type: StoreType) -> Box<dyn Mapping> {
        match self.by_key {
            false => Box::new(SameKeys),
            true => Box::new(ByKey),
        }
    }

    fn open(&self, site: Site<'_>) -> Box<dyn OpenStore> {
        let table = RowTable::new(site.column, site.backend, site.cache_bytes);
        let rows = KeyValueStore::new(Rc::new(RefCell::new(table)));
        let store = TimeOrderedStore::new(rows);
        Box::new(match self.by_key {
            false => store,
            true => store.by_key(),
        })
    }
}

/// The changelog has the rows found by key; those in time order are derived from them.
#[derive(Debug)]
struct ByKey;

impl Mapping for ByKey {
    fn record<'a>(
        &self,
        row_key: &'a [u8],
        _scratch: &'a mut Vec<u8>,
    ) -> Result<Option<RecordKey<'a>>> {
        let key = row_key.strip_prefix(&[BY_KEY]);
        Ok(key.map(|key| RecordKey {
            key,
            timestamp_ms: None,
        }))
    }

    fn place<'a>(
        &self,
        _key: &'a [u8],
        _deletes: bool,
        _scratch: &'a mut Vec<u8>,
    ) -> std::result::Result<Place<'a>, &'static str> {
        Err("a record that is not replayed")
    }

    fn replays(&self) -> bool {
        true
    }
}

impl OpenStore for TimeOrderedStore {
    fn handle(&self) -> &dyn Any {
        self
    }

    fn overlay(&self) -> SharedOverlay {
        self.store().table().clone()
    }

    fn replay(&self, key: &[u8], value: Option<&[u8]>, _timestamp_ms: i64) -> Result<()> {
        match value {
            None => self.remove(key).map(|_| ()),
            Some(value) => {
                let (time_ms, row) = row::split(value)?;
                self.put(time_ms, key, Some(row))
            }
        }
    }

    fn each_row(&self, visit: &mut VisitRow<'_>) -> Result<()> {
        if !self.is_by_key() {
            return self.store().each_row(visit);
        }
        let from = Bound::Included(&[BY_KEY][..]);
        let mut rows = self
            .store()
            .range(from, Bound::Unbounded, Direction::Forward)?;
        while let Some((row_key, whole)) = rows.next()? {
            let (time_ms, row) = row::split(whole)?;
            visit(StoredRow {
                key: row_key.strip_prefix(&[BY_KEY]).unwrap_or(row_key),
                window: None,
                since_ms: Some(time_ms),
                row,
            })?;
        }
        Ok(())
    }
}
