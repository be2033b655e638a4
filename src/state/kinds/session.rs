//! The kind of [`SessionStore`]: a row for each key and session.

use std::any::Any;
use std::cell::RefCell;

use crate::base::Result;
use crate::state::kind::{
    Expiry, Kind, LoggedKey, Mapping, OpenStore, Place, RecordKey, SegmentMap, Site, StoredRow,
    VisitRow,
};
use crate::state::overlay::SharedOverlay;
use crate::state::session_key::{self, SessionLayout};
use crate::state::{ChangelogKeeps, Direction, SessionRules, SessionStore, StoreKind, StoreType};

/// What follows the key on the changelog: end and start.
const BYTES_AROUND_KEY: usize = 16;

#[derive(Debug)]
struct Session(SessionRules);

impl StoreKind {
    /// One row per key, start and end. The store is a [`SessionStore`].
    pub fn session(rules: SessionRules) -> Self {
        Self::new(Session(rules))
    }
}

impl Kind for Session {
    fn name(&self) -> &'static str {
        "session store"
    }

    fn descriptor(&self) -> String {
        format!("session retention={}ms", self.0.retention_ms)
    }

    fn describe(&self) -> String {
        format!("session, retention {} ms", self.0.retention_ms)
    }

    fn keeps(&self) -> ChangelogKeeps {
        ChangelogKeeps::LastOfLiveKeys
    }

    fn bytes_around_key(&self) -> usize {
        BYTES_AROUND_KEY
    }

    fn logged_key<'a>(&self, key: &'a [u8]) -> Option<LoggedKey<'a>> {
        let (key, start_ms, end_ms) = session_key::from_changelog(key)?;
        Some((key, Some((start_ms, end_ms))))
    }

    fn mapping(&self, store_type: StoreType) -> Box<dyn Mapping> {
        Box::new(SessionMapping {
            layout: SessionLayout::new(&self.0),
            store_type,
        })
    }

    fn open(&self, site: Site<'_>) -> Box<dyn OpenStore> {
        Box::new(SessionStore::new(site, &self.0))
    }
}

#[derive(Debug)]
struct SessionMapping {
    layout: SessionLayout,
    store_type: StoreType,
}

impl Mapping for SessionMapping {
    fn record<'a>(
        &self,
        row_key: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> Result<Option<RecordKey<'a>>> {
        let parts = SessionLayout::parts(row_key)?;
        parts.changelog_key(scratch);
        Ok(Some(RecordKey {
            key: scratch,
            timestamp_ms: Some(parts.end_ms),
        }))
    }

    fn place<'a>(
        &self,
        key: &'a [u8],
        deletes: bool,
        scratch: &'a mut Vec<u8>,
    ) -> std::result::Result<Place<'a>, &'static str> {
        let Some((key, start_ms, end_ms)) = session_key::from_changelog(key) else {
            return Err("a key without a session");
        };
        if start_ms < 0 || end_ms < start_ms {
            return Err("a session that ends before it starts, or starts before 1970");
        }
        let segment = self.layout.segment(end_ms);
        SessionLayout::row_key_in(segment, key, (start_ms, end_ms), scratch);
        let observes = !deletes || self.store_type == StoreType::Persistent;
        Ok(Place {
            row_key: scratch,
            segment: Some(segment),
            observed_ms: observes.then_some(end_ms),
        })
    }
}

impl OpenStore for SessionStore {
    fn handle(&self) -> &dyn Any {
        self
    }

    fn overlay(&self) -> SharedOverlay {
        self.table().clone()
    }

    fn expiry(&self) -> Option<&dyn Expiry> {
        Some(self)
    }

    fn each_row(&self, visit: &mut VisitRow<'_>) -> Result<()> {
        let mut rows = self.find_all(0, i64::MAX, Direction::Forward)?;
        while let Some(row) = rows.next()? {
            visit(StoredRow {
                key: row.key,
                window: Some((row.start_ms, row.end_ms)),
                since_ms: None,
                row: row.row,
            })?;
        }
        Ok(())
    }
}

impl Expiry for SessionStore {
    fn segments(&self) -> &RefCell<SegmentMap> {
        Self::segments(self).map()
    }

    fn first_live_sealed(&self) -> i64 {
        self.first_live_segment_sealed()
    }

    fn drop_below(&self, first_live: i64) -> Vec<i64> {
        Self::segments(self).drop_below(first_live)
    }
}
