//! What the layers above say about a store, and what a store answers.

use super::{RowForm, StoreKind};
use crate::base::NO_TIMESTAMP;

/// The rules of a window store, which are part of the semantics (`tests/conformance/README.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowRules {
    /// Size of its windows, in milliseconds.
    pub window_size_ms: i64,
    /// A row is read only while its start is larger than the store's time minus this, in milliseconds.
    pub retention_ms: i64,
    /// Whether puts of one key and start add rows (the two sides of a stream-stream join) instead of
    /// replacing; a null value is then ignored.
    pub duplicates: bool,
}

impl WindowRules {
    /// Length of a segment: half the retention, at least a minute. A persistent store takes puts
    /// until their whole segment is past the retention.
    pub fn segment_interval_ms(&self) -> i64 {
        (self.retention_ms / 2).max(60_000)
    }
}

/// The two kinds of store of Kafka Streams differ in what they refuse and in their order, wherever they live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Medium {
    /// The rules of Kafka Streams' RocksDB stores: expiry by segment; ranges by segment, key, time.
    #[default]
    Persistent,
    /// The rules of its in-memory stores: expiry at once; ranges by time, then key.
    InMemory,
}

/// Where the changes of a store go, and where a restore reads them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Changelog {
    /// Nowhere: its rows do not survive the loss of the disk.
    None,
    /// To a topic of its own, [`StoreSpec::changelog_topic`].
    #[default]
    Own,
    /// They are there already: the store holds the newest record of each key of this topic, whose full name it
    /// is, and a restore reads that topic. A record without a key is passed over.
    Source(String),
}

impl Changelog {
    /// A topic of its own, if `logged`.
    pub fn own_if(logged: bool) -> Self {
        match logged {
            true => Self::Own,
            false => Self::None,
        }
    }
}

/// Everything about a store that is known when the topology is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSpec {
    /// The store's name: also the name of its column family, and part of its changelog's name.
    pub name: String,
    /// Its rules.
    pub kind: StoreKind,
    /// Which of those kinds it behaves like.
    pub medium: Medium,
    /// What a row holds beside the value. A changelog holds the plain value; timestamp and headers are the
    /// record's.
    pub row: RowForm,
    /// Where its changes go.
    pub changelog: Changelog,
    /// Names of the key's and the value's codec; a change is refused at start.
    pub codecs: (String, String),
}

impl StoreSpec {
    /// A persistent store with a changelog, whose rows are plain values. `codecs` are the names of the key's
    /// and the value's.
    pub fn new(name: impl Into<String>, kind: StoreKind, codecs: (String, String)) -> Self {
        Self {
            name: name.into(),
            kind,
            medium: Medium::Persistent,
            row: RowForm::Plain,
            changelog: Changelog::Own,
            codecs,
        }
    }

    /// Whether it writes a changelog of its own.
    pub fn is_logged(&self) -> bool {
        self.changelog == Changelog::Own
    }

    /// Whether its rows can be restored.
    pub fn is_restored(&self) -> bool {
        self.changelog != Changelog::None
    }

    /// The full name of the topic that its changes are on within an application; of a store without a
    /// changelog, the one that it would have.
    pub fn changelog_topic(&self, application: &str) -> String {
        match &self.changelog {
            Changelog::Source(topic) => topic.clone(),
            Changelog::None | Changelog::Own => format!("{application}-{}-changelog", self.name),
        }
    }
}

/// Whether a window store took a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It did (even though a row past the retention is never read again).
    Stored,
    /// The row is past what the store takes; the operator counts a drop.
    Expired,
}

/// Which way a range is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Forward,
    /// Largest first.
    Backward,
}

/// A store's time before anything was put.
pub const NO_TIME: i64 = NO_TIMESTAMP;
