//! The kind of [`WindowStore`]: one row per key and window start, or one per put.

use std::any::Any;
use std::cell::RefCell;

use crate::base::Result;
use crate::state::kind::{
    Expiry, Kind, LoggedKey, Mapping, OpenStore, Place, RecordKey, SegmentMap, Site, StoredRow,
    VisitRow,
};
use crate::state::overlay::SharedOverlay;
use crate::state::window_iter::too_short;
use crate::state::window_key::{Layout, from_changelog};
use crate::state::{ChangelogKeeps, StoreKind, StoreType, WindowRules, WindowStore};

/// What follows the key on the changelog: start and sequence.
const BYTES_AROUND_KEY: usize = 12;

#[derive(Debug)]
struct Window(WindowRules);

impl StoreKind {
    /// One row per key and window start; or many, if it keeps duplicates. The store is a [`WindowStore`].
    pub fn window(rules: WindowRules) -> Self {
        Self::new(Window(rules))
    }
}

impl Kind for Window {
    fn name(&self) -> &'static str {
        "window store"
    }

    fn descriptor(&self) -> String {
        let WindowRules {
            window_size_ms,
            retention_ms,
            duplicates,
        } = self.0;
        format!("window size={window_size_ms}ms retention={retention_ms}ms duplicates={duplicates}")
    }

    fn describe(&self) -> String {
        let WindowRules {
            window_size_ms,
            retention_ms,
            duplicates,
        } = self.0;
        let duplicates = if duplicates { ", duplicates" } else { "" };
        format!("window of {window_size_ms} ms, retention {retention_ms} ms{duplicates}")
    }

    fn keeps(&self) -> ChangelogKeeps {
        ChangelogKeeps::LastOfLiveKeys
    }

    fn bytes_around_key(&self) -> usize {
        BYTES_AROUND_KEY
    }

    fn logged_key<'a>(&self, key: &'a [u8]) -> Option<LoggedKey<'a>> {
        let (key, start_ms, _) = from_changelog(key)?;
        let end_ms = start_ms.saturating_add(self.0.window_size_ms);
        Some((key, Some((start_ms, end_ms))))
    }

    fn mapping(&self, store_type: StoreType) -> Box<dyn Mapping> {
        Box::new(Layout::new(store_type, &self.0))
    }

    fn open(&self, site: Site<'_>) -> Box<dyn OpenStore> {
        Box::new(WindowStore::new(site, &self.0))
    }
}

impl Mapping for Layout {
    fn record<'a>(
        &self,
        row_key: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> Result<Option<RecordKey<'a>>> {
        let parts = self.parts(row_key).ok_or_else(|| too_short(row_key))?;
        parts.changelog_key(scratch);
        Ok(Some(RecordKey {
            key: scratch,
            timestamp_ms: Some(parts.start_ms),
        }))
    }

    fn place<'a>(
        &self,
        key: &'a [u8],
        _deletes: bool,
        scratch: &'a mut Vec<u8>,
    ) -> std::result::Result<Place<'a>, &'static str> {
        let Some((key, start_ms, sequence)) = from_changelog(key) else {
            return Err("a key without a window");
        };
        if start_ms < 0 {
            return Err("a window of negative start");
        }
        let segment = self.segment(start_ms);
        self.row_key_in(segment, key, start_ms, sequence, scratch);
        Ok(Place {
            row_key: scratch,
            segment: Some(segment),
            observed_ms: Some(start_ms),
        })
    }
}

impl OpenStore for WindowStore {
    fn handle(&self) -> &dyn Any {
        self
    }

    fn overlay(&self) -> SharedOverlay {
        self.shared()
    }

    fn expiry(&self) -> Option<&dyn Expiry> {
        Some(self)
    }

    fn each_row(&self, visit: &mut VisitRow<'_>) -> Result<()> {
        let size_ms = self.rules().window_size_ms;
        let mut rows = self.all()?;
        while let Some(row) = rows.next()? {
            visit(StoredRow {
                key: row.key,
                window: Some((row.start_ms, row.start_ms.saturating_add(size_ms))),
                since_ms: None,
                row: row.row,
            })?;
        }
        Ok(())
    }
}

impl Expiry for WindowStore {
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
