//! The handles by which processors use stores of one value a key.

use std::fmt;
use std::ops::RangeBounds;

use super::access::{Access, StoreRows};
use super::{StoreSite, TypedStore};
use crate::base::Result;
use crate::state::Direction;
use crate::state::typed::{KeyBounds, Plain, Timestamped};

/// A store of one value a key.
pub struct KeyValueStore<K, V>(Access<K, V, Plain>);

/// A store of one value a key, with a timestamp in milliseconds.
pub struct TimestampedKeyValueStore<K, V>(Access<K, V, Timestamped>);

macro_rules! shared {
    ($name:ident) => {
        impl<K, V> Clone for $name<K, V> {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl<K, V> fmt::Debug for $name<K, V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

shared!(KeyValueStore);
shared!(TimestampedKeyValueStore);

impl<K: 'static, V: 'static> TypedStore for KeyValueStore<K, V> {
    type Key = K;
    type Value = V;

    fn open(site: StoreSite<'_, '_, K, V>) -> Result<Self> {
        Ok(Self(Access::open(site)?))
    }
}

impl<K: 'static, V: 'static> KeyValueStore<K, V> {
    /// The value of a key.
    ///
    /// # Errors
    /// `User` when a codec refuses; those of the store.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        self.0.get(key)
    }

    /// Sets the value of a key; one that its codec calls null deletes it.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`]; `TooLarge` if the changelog would not take the row.
    pub fn put(&self, key: &K, value: &V) -> Result<()> {
        self.0.put(key, Some(value))
    }

    /// Sets the value of a key that has none; returns the one that it has.
    ///
    /// # Errors
    /// As [`KeyValueStore::put`].
    pub fn put_if_absent(&self, key: &K, value: &V) -> Result<Option<V>> {
        let had = self.0.get(key)?;
        if had.is_none() {
            self.0.put(key, Some(value))?;
        }
        Ok(had)
    }

    /// Deletes a key; returns the value that it had.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub fn delete(&self, key: &K) -> Result<Option<V>> {
        let had = self.0.get(key)?;
        self.0.put(key, None)?;
        Ok(had)
    }

    /// All rows as they are now, in the order of their keys' bytes; what is written meanwhile does not show.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub fn all(&self) -> Result<StoreRows<K, V, Plain>> {
        self.range(.., Direction::Forward)
    }

    /// The same between two keys, in either direction.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub fn range(
        &self,
        keys: impl RangeBounds<K>,
        direction: Direction,
    ) -> Result<StoreRows<K, V, Plain>> {
        self.0.range(keys, direction)
    }

    /// The rows whose keys begin with these bytes, as their codec writes them, in the order of the bytes.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub fn prefix_scan(&self, prefix: impl AsRef<[u8]>) -> Result<StoreRows<K, V, Plain>> {
        let keys = KeyBounds::of_prefix(prefix.as_ref());
        self.0.range_of(&keys, Direction::Forward)
    }
}

impl<K: 'static, V: 'static> TypedStore for TimestampedKeyValueStore<K, V> {
    type Key = K;
    type Value = V;

    fn open(site: StoreSite<'_, '_, K, V>) -> Result<Self> {
        Ok(Self(Access::open(site)?))
    }
}

impl<K: 'static, V: 'static> TimestampedKeyValueStore<K, V> {
    /// The value of a key and its timestamp.
    ///
    /// # Errors
    /// `User` when a codec refuses; those of the store.
    pub fn get(&self, key: &K) -> Result<Option<(V, i64)>> {
        self.0.get(key)
    }

    /// Sets the value of a key and its timestamp; a value that its codec calls null deletes the key.
    ///
    /// # Errors
    /// As [`TimestampedKeyValueStore::get`]; `TooLarge` if the changelog would not take the row.
    pub fn put(&self, key: &K, value: &V, timestamp_ms: i64) -> Result<()> {
        self.0.put(key, Some((value, timestamp_ms)))
    }

    /// Deletes a key; returns the value that it had.
    ///
    /// # Errors
    /// As [`TimestampedKeyValueStore::get`].
    pub fn delete(&self, key: &K) -> Result<Option<(V, i64)>> {
        let had = self.0.get(key)?;
        self.0.put(key, None)?;
        Ok(had)
    }

    /// All rows as they are now, in the order of their keys' bytes; what is written meanwhile does not show.
    ///
    /// # Errors
    /// As [`TimestampedKeyValueStore::get`].
    pub fn all(&self) -> Result<StoreRows<K, V, Timestamped>> {
        self.range(.., Direction::Forward)
    }

    /// The same between two keys, in either direction.
    ///
    /// # Errors
    /// As [`TimestampedKeyValueStore::get`].
    pub fn range(
        &self,
        keys: impl RangeBounds<K>,
        direction: Direction,
    ) -> Result<StoreRows<K, V, Timestamped>> {
        self.0.range(keys, direction)
    }

    /// The rows whose keys begin with these bytes, as their codec writes them, in the order of the bytes.
    ///
    /// # Errors
    /// As [`TimestampedKeyValueStore::get`].
    pub fn prefix_scan(&self, prefix: impl AsRef<[u8]>) -> Result<StoreRows<K, V, Timestamped>> {
        let keys = KeyBounds::of_prefix(prefix.as_ref());
        self.0.range_of(&keys, Direction::Forward)
    }
}
