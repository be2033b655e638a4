//! A typed record as it moves between operators.

use super::Headers;

/// The time of a record, an operator or a store that has none yet.
pub const NO_TIMESTAMP: i64 = -1;

/// A key, a value, the time of the event and headers, moving by value from operator to operator.
///
/// If a key or a value may be absent, its type is an `Option`.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<K, V> {
    /// The key; determines the partition.
    pub key: K,
    /// The value.
    pub value: V,
    /// The time of the event, in milliseconds since 1970; never negative inside a topology.
    pub timestamp_ms: i64,
    /// The headers.
    pub headers: Headers,
}

impl<K, V> Record<K, V> {
    /// A record without headers.
    pub fn new(key: K, value: V, timestamp_ms: i64) -> Self {
        Self {
            key,
            value,
            timestamp_ms,
            headers: Headers::default(),
        }
    }

    /// The same record with the key and value that `map` returns.
    #[inline]
    pub fn map<L, W>(self, map: impl FnOnce(K, V) -> (L, W)) -> Record<L, W> {
        let (key, value) = map(self.key, self.value);
        Record {
            key,
            value,
            timestamp_ms: self.timestamp_ms,
            headers: self.headers,
        }
    }

    /// The same record with the value that `map` returns.
    #[inline]
    pub fn map_value<W>(self, map: impl FnOnce(&K, V) -> W) -> Record<K, W> {
        let value = map(&self.key, self.value);
        Record {
            key: self.key,
            value,
            timestamp_ms: self.timestamp_ms,
            headers: self.headers,
        }
    }

    /// The same record with the value that `map` returns, if any.
    #[inline]
    pub(crate) fn filter_map_value<W>(
        self,
        map: impl FnOnce(&K, V) -> Option<W>,
    ) -> Option<Record<K, W>> {
        let value = map(&self.key, self.value)?;
        Some(Record {
            key: self.key,
            value,
            timestamp_ms: self.timestamp_ms,
            headers: self.headers,
        })
    }
}
