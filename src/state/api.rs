//! How the layers above describe a store, and a store's answers.

use super::{RowForm, StoreKind};
use crate::base::NO_TIMESTAMP;

/// The rules of a window store, which are part of the semantics (`tests/conformance/README.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowRules {
    /// Size of its windows, in milliseconds.
    pub window_size_ms: i64,
    /// A row is readable only while its start is larger than the store's time minus this, in
    /// milliseconds.
    pub retention_ms: i64,
    /// Whether puts of one key and start add rows (each side of a stream-stream join) instead of
    /// replacing; a null value is then ignored.
    pub duplicates: bool,
}

impl WindowRules {
    /// Length of a segment: half the retention, at least a minute. A persistent store accepts puts until
    /// their whole segment is past the retention.
    pub fn segment_interval_ms(&self) -> i64 {
        (self.retention_ms / 2).max(60_000)
    }
}

/// The two kinds of store in Kafka Streams differ in what they refuse and in their order, wherever their
/// rows are kept.
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
    /// To its own topic, [`StoreSpec::changelog_topic`].
    #[default]
    Own,
    /// They are in a topic already: the store holds the newest record of each key of this topic, given by
    /// its full name, and a restore reads that topic. A record without a key is skipped.
    Source(String),
}

impl Changelog {
    /// Its own topic, if `logged`.
    pub fn own_if(logged: bool) -> Self {
        match logged {
            true => Self::Own,
            false => Self::None,
        }
    }
}

/// The specification of a store, known when the topology is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSpec {
    /// The store's name: also the name of its column family, and part of its changelog's name.
    pub name: String,
    /// Its rules.
    pub kind: StoreKind,
    /// Which kind of Kafka Streams store it behaves like.
    pub medium: Medium,
    /// What a row holds besides the value. A changelog holds the plain value; timestamp and headers are
    /// those of the record.
    pub row: RowForm,
    /// Where its changes go.
    pub changelog: Changelog,
    /// Names of the key's and the value's codecs; a change is refused at start.
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

    /// The full name of the topic with its changes within an application; for a store without a
    /// changelog, the one that it would have.
    pub fn changelog_topic(&self, application: &str) -> String {
        match &self.changelog {
            Changelog::Source(topic) => topic.clone(),
            Changelog::None | Changelog::Own => format!("{application}-{}-changelog", self.name),
        }
    }
}

/// Whether a window store accepted a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It did (even though a row past the retention is never read again).
    Stored,
    /// The row is too old for the store; the operator counts a drop.
    Expired,
}

/// In which direction a range is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Forward,
    /// Largest first.
    Backward,
}

/// A store's time before anything was put.
pub const NO_TIME: i64 = NO_TIMESTAMP;
