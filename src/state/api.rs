//! Rules that the layers above choose for a store, and a store's answers.

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

/// The rules of a session store, which are part of the semantics (`tests/conformance/README.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRules {
    /// A row is readable only while its end is larger than the store's time minus this, in milliseconds.
    pub retention_ms: i64,
}

impl SessionRules {
    /// Length of a segment: half the retention, at least a minute. A persistent store accepts puts until
    /// their whole segment is past the retention.
    pub fn segment_interval_ms(&self) -> i64 {
        (self.retention_ms / 2).max(60_000)
    }
}

/// The two kinds of store in Kafka Streams differ in what they refuse and in their order, wherever their
/// rows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StoreType {
    /// The rules of Kafka Streams' RocksDB stores: expiry by segment; ranges by segment, key, time.
    #[default]
    Persistent,
    /// The rules of its in-memory stores: expiry at once; ranges by time, then key.
    InMemory,
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
