//! All differences between kinds of stores in one place: the rest of `state` works with any kind.
//!
//! ```text
//!  StoreKind (rules) --mapping--> Mapping     row key <-> key of the changelog's record; on any thread
//!       |                                     (restores)
//!       +-----------open---> OpenStore        handle, overlay, rows; on the thread of its task
//!                               +--expiry---> Expiry    segments, and which of them hold no live row
//! ```
//!
//! A new kind is a file in `kinds/` and a line in `kinds/mod.rs`.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::StoreType;
use super::overlay::SharedOverlay;
use super::table::SharedBackend;
use super::times::Times;
use crate::base::{Error, Offset, Result};

/// Which records the changelog of a store must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangelogKeeps {
    /// The last record of each key.
    LastOfKeys,
    /// The last record of each key, until it is before [`super::TaskState::purge_before`].
    LastOfLiveKeys,
    /// The last record of each key, and all that are younger than this by the wall clock, in
    /// milliseconds.
    Recent(i64),
}

/// The rules of a store and the shape of its rows. Each file of `kinds` makes one.
#[derive(Clone)]
pub struct StoreKind(Arc<dyn Kind>);

impl StoreKind {
    pub(super) fn new(kind: impl Kind + 'static) -> Self {
        Self(Arc::new(kind))
    }

    pub(super) fn rules(&self) -> &dyn Kind {
        &*self.0
    }

    /// The name of such a store in messages, for example "window store".
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// The parts of the key of a changelog's record: the key that was put, and start and end of its window or
    /// session, in milliseconds. `None` for a key that no store of this kind writes.
    pub fn logged_key<'a>(&self, key: &'a [u8]) -> Option<LoggedKey<'a>> {
        self.0.logged_key(key)
    }

    /// Which records its changelog keeps.
    pub fn keeps(&self) -> ChangelogKeeps {
        self.0.keeps()
    }

    /// Its text in a description of the topology.
    pub fn describe(&self) -> String {
        self.0.describe()
    }
}

impl fmt::Debug for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialEq for StoreKind {
    /// Two are equal if rows of one may be read as rows of the other.
    fn eq(&self, other: &Self) -> bool {
        self.0.descriptor() == other.0.descriptor()
    }
}

impl Eq for StoreKind {}

/// A key, and start and end of its window or session in milliseconds, if the kind has them.
pub type LoggedKey<'a> = (&'a [u8], Option<(i64, i64)>);

/// The rules of a kind of store.
pub(super) trait Kind: fmt::Debug + Send + Sync {
    /// The name of such a store in messages, such as "window store".
    fn name(&self) -> &'static str;

    /// Its part of the descriptor in the task's own rows: everything that must not change while rows are
    /// kept.
    fn descriptor(&self) -> String;

    /// Its text in a description of the topology.
    fn describe(&self) -> String;

    /// Which records its changelog keeps.
    fn keeps(&self) -> ChangelogKeeps {
        ChangelogKeeps::LastOfKeys
    }

    /// How much longer the key of a changelog's record is than the key of a put, in bytes.
    fn bytes_around_key(&self) -> usize {
        0
    }

    /// The parts of the key of a changelog's record; `None` for one that cannot be of this kind.
    fn logged_key<'a>(&self, key: &'a [u8]) -> Option<LoggedKey<'a>> {
        Some((key, None))
    }

    /// Between its rows and the records of its changelog.
    fn mapping(&self, store_type: StoreType) -> Box<dyn Mapping>;

    /// A store over the rows of a column.
    fn open(&self, site: Site<'_>) -> Box<dyn OpenStore>;
}

/// Where a store is opened, and what is known about its content.
pub(super) struct Site<'a> {
    pub(super) name: &'a str,
    pub(super) column: usize,
    pub(super) backend: SharedBackend,
    pub(super) cache_bytes: usize,
    pub(super) store_type: StoreType,
    pub(super) times: &'a Times,
    /// The segments that have rows, with the first offset of each on the changelog.
    pub(super) segments: BTreeMap<i64, Option<Offset>>,
}

/// The key of a changelog's record.
pub(super) struct RecordKey<'a> {
    pub(super) key: &'a [u8],
    /// The record's timestamp, if neither the row nor the task's time determines it, in milliseconds.
    pub(super) timestamp_ms: Option<i64>,
}

/// Where the row of a changelog's record goes.
pub(super) struct Place<'a> {
    pub(super) row_key: &'a [u8],
    pub(super) segment: Option<i64>,
    /// How far it advances the store's time, in milliseconds.
    pub(super) observed_ms: Option<i64>,
}

/// From rows to the records of a changelog, and back.
pub(super) trait Mapping: Send {
    /// The key of a row's record; `None` if the row is derived from others and not logged.
    ///
    /// # Errors
    /// `Corrupt` if the row key is too short.
    fn record<'a>(
        &self,
        row_key: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> Result<Option<RecordKey<'a>>>;

    /// The place of a record's row; or the error in the record.
    fn place<'a>(
        &self,
        key: &'a [u8],
        deletes: bool,
        scratch: &'a mut Vec<u8>,
    ) -> std::result::Result<Place<'a>, &'static str>;

    /// Whether a record yields more than its own row, so that a restore passes the records to
    /// [`OpenStore::replay`], in their order, instead of placing them.
    fn replays(&self) -> bool {
        false
    }
}

/// Receives a record: key, value, timestamp in milliseconds.
pub(super) type VisitRecord<'a> = dyn FnMut(&[u8], Option<&[u8]>, i64) -> Result<()> + 'a;
/// Receives a row.
pub(super) type VisitRow<'a> = dyn FnMut(StoredRow<'_>) -> Result<()> + 'a;

/// A row as returned by reading a store of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRow<'a> {
    /// The key's bytes.
    pub key: &'a [u8],
    /// Start and end of its window or session, in milliseconds.
    pub window: Option<(i64, i64)>,
    /// The row's time, if the kind knows it and the row does not: the start of a version's validity, or
    /// the time when a row is due. In milliseconds.
    pub since_ms: Option<i64>,
    /// The row's bytes.
    pub row: &'a [u8],
}

/// A store of some kind on the thread of its task.
pub(super) trait OpenStore {
    /// The handle that [`super::TaskState::store`] returns a copy of.
    fn handle(&self) -> &dyn Any;

    /// Its rows in the commit protocol.
    fn overlay(&self) -> SharedOverlay;

    /// The segments of a kind whose rows expire.
    fn expiry(&self) -> Option<&dyn Expiry> {
        None
    }

    /// Calls `visit` with the records of the committing generation, if they differ from its rows; returns
    /// `false` if they do not.
    ///
    /// # Errors
    /// Those of `visit`.
    fn records(&self, visit: &mut VisitRecord<'_>) -> Result<bool> {
        let _ = visit;
        Ok(false)
    }

    /// Applies a record of the changelog, if [`Mapping::replays`].
    ///
    /// # Errors
    /// `Corrupt` if the record cannot belong to this changelog; those of the backend.
    fn replay(&self, key: &[u8], value: Option<&[u8]>, timestamp_ms: i64) -> Result<()> {
        let _ = (key, value, timestamp_ms);
        Err(Error::internal("records of this store are placed"))
    }

    /// Calls `visit` with all rows that reading returns, in the store's order.
    ///
    /// # Errors
    /// Those of the backend and of `visit`.
    fn each_row(&self, visit: &mut VisitRow<'_>) -> Result<()>;

    /// Releases whatever would keep the task's directory open.
    fn close(&self) {}
}

/// The segments that may have rows, with the first offset of each on the changelog; no offset yet if
/// nothing of the segment was committed.
pub(super) type SegmentMap = BTreeMap<i64, Option<Offset>>;

/// A store whose rows expire by segments.
pub(super) trait Expiry {
    /// Its segments.
    fn segments(&self) -> &RefCell<SegmentMap>;

    /// Segments below this hold no live row, according to the times being committed.
    fn first_live_sealed(&self) -> i64;

    /// Removes the segments below `first_live` and returns them.
    fn drop_below(&self, first_live: i64) -> Vec<i64>;

    /// Whether records below the first one of a live segment may be deleted from the changelog.
    fn purges(&self) -> bool {
        true
    }
}

/// An open store, with what the task needs of it for each record and commit.
pub(super) struct Opened {
    pub(super) store: Box<dyn OpenStore>,
    pub(super) overlay: SharedOverlay,
    pub(super) mapping: Box<dyn Mapping>,
}

impl Opened {
    pub(super) fn new(kind: &StoreKind, site: Site<'_>) -> Self {
        let mapping = kind.rules().mapping(site.store_type);
        let store = kind.rules().open(site);
        let overlay = store.overlay();
        Self {
            store,
            overlay,
            mapping,
        }
    }

    pub(super) fn overlay(&self) -> SharedOverlay {
        Rc::clone(&self.overlay)
    }
}

/// The mapping of a kind whose row keys are the keys.
#[derive(Debug)]
pub(super) struct SameKeys;

impl Mapping for SameKeys {
    #[inline]
    fn record<'a>(
        &self,
        row_key: &'a [u8],
        _scratch: &'a mut Vec<u8>,
    ) -> Result<Option<RecordKey<'a>>> {
        Ok(Some(RecordKey {
            key: row_key,
            timestamp_ms: None,
        }))
    }

    #[inline]
    fn place<'a>(
        &self,
        key: &'a [u8],
        _deletes: bool,
        _scratch: &'a mut Vec<u8>,
    ) -> std::result::Result<Place<'a>, &'static str> {
        Ok(Place {
            row_key: key,
            segment: None,
            observed_ms: None,
        })
    }
}
