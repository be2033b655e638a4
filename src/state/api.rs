//! What the layers above say about a store, and what a store answers.

use crate::base::NO_TIMESTAMP;

/// The rules a store follows and the shape of its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// One row a key.
    KeyValue,
    /// One row a key and window start; or many, when it keeps duplicates.
    Window(WindowRules),
}

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

/// The peer's two kinds of store differ in what they refuse and in their order, wherever they live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Medium {
    /// The rules of Kafka Streams' RocksDB stores: expiry by segment; ranges by segment, key, time.
    #[default]
    Persistent,
    /// The rules of its in-memory stores: expiry at once; ranges by time, then key.
    InMemory,
}

/// Everything about a store that is known when the topology is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSpec {
    /// The store's name: also the name of its column family, and part of its changelog's name.
    pub name: String,
    /// Its rules.
    pub kind: StoreKind,
    /// Which kind of the peer's it behaves like.
    pub medium: Medium,
    /// Whether rows are `timestamp (8 bytes, big-endian) | value`. The changelog then holds the plain
    /// value, and the timestamp is the record's.
    pub timestamped: bool,
    /// Whether it has a changelog topic; without, its rows do not survive the loss of the disk.
    pub logged: bool,
    /// Names of the key's and the value's codec; a change is refused at start.
    pub codecs: (String, String),
}

impl StoreSpec {
    /// The full name of its changelog within an application.
    pub fn changelog_topic(&self, application: &str) -> String {
        format!("{application}-{}-changelog", self.name)
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
