//! The kind of [`VersionedStore`]: the versions of each key within a history.

use std::any::Any;
use std::cell::RefCell;

use crate::base::Result;
use crate::state::kind::{
    Expiry, Kind, Mapping, OpenStore, Place, RecordKey, SegmentMap, Site, StoredRow, VisitRecord,
    VisitRow,
};
use crate::state::overlay::SharedOverlay;
use crate::state::versioned_key as keys;
use crate::state::{ChangelogKeeps, StoreKind, StoreType, VersionedRules, VersionedStore, row};

/// A day: how much longer than the history uncompacted records are kept, in milliseconds.
const SPARED_LONGER_MS: i64 = 86_400_000;

#[derive(Debug)]
struct Versioned(VersionedRules);

impl StoreKind {
    /// The versions of each key within a history. The store is a [`VersionedStore`]; its rows are plain,
    /// since the kind stores their timestamps itself.
    pub fn versioned(rules: VersionedRules) -> Self {
        Self::new(Versioned(rules))
    }
}

impl Kind for Versioned {
    fn name(&self) -> &'static str {
        "versioned store"
    }

    fn descriptor(&self) -> String {
        format!("versioned history={}ms", self.0.history_ms)
    }

    fn describe(&self) -> String {
        format!("versioned, history {} ms", self.0.history_ms)
    }

    /// The last record of a key is its newest version ([`VersionedStore::put`]). Its history must be
    /// there too: records are exempt from compaction for as long, plus a day, as in Kafka Streams, since
    /// the history is in stream time and compaction uses the wall clock.
    fn keeps(&self) -> ChangelogKeeps {
        ChangelogKeeps::Recent(self.0.history_ms.saturating_add(SPARED_LONGER_MS))
    }

    fn mapping(&self, _store_type: StoreType) -> Box<dyn Mapping> {
        Box::new(Puts)
    }

    fn open(&self, site: Site<'_>) -> Box<dyn OpenStore> {
        Box::new(VersionedStore::new(site, &self.0))
    }
}

/// The changelog has the puts.
#[derive(Debug)]
struct Puts;

impl Mapping for Puts {
    fn record<'a>(
        &self,
        _row_key: &'a [u8],
        _scratch: &'a mut Vec<u8>,
    ) -> Result<Option<RecordKey<'a>>> {
        Ok(None)
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

impl OpenStore for VersionedStore {
    fn handle(&self) -> &dyn Any {
        self
    }

    fn overlay(&self) -> SharedOverlay {
        self.rows().clone()
    }

    fn expiry(&self) -> Option<&dyn Expiry> {
        Some(self)
    }

    fn records(&self, visit: &mut VisitRecord<'_>) -> Result<bool> {
        self.rows().borrow().records(visit)?;
        Ok(true)
    }

    fn replay(&self, key: &[u8], value: Option<&[u8]>, timestamp_ms: i64) -> Result<()> {
        self.put_again(key, value, timestamp_ms)
    }

    /// The newest versions, as returned by reading without a time.
    fn each_row(&self, visit: &mut VisitRow<'_>) -> Result<()> {
        let mut rows = self.all_current()?;
        while let Some((row_key, stored)) = rows.next()? {
            let (since_ms, value) = row::split(stored)?;
            visit(StoredRow {
                key: keys::parts(row_key)?.0,
                window: None,
                since_ms: Some(since_ms),
                row: value,
            })?;
        }
        Ok(())
    }
}

impl Expiry for VersionedStore {
    fn segments(&self) -> &RefCell<SegmentMap> {
        Self::segments(self).map()
    }

    fn first_live_sealed(&self) -> i64 {
        self.first_live_segment_sealed()
    }

    fn drop_below(&self, first_live: i64) -> Vec<i64> {
        Self::segments(self).drop_below(first_live)
    }

    /// A version without an end may be on the changelog as far back as its start.
    fn purges(&self) -> bool {
        false
    }
}
