//! The handles by which processors use stores of one value per key.

use std::fmt;
use std::ops::RangeBounds;

use super::access::{Access, StoreRows};
use super::site::{StoreSite, TypedStore};
use crate::base::Result;
use crate::state::Direction;
use crate::state::typed::{KeyBounds, Plain, Timestamped};

/// A store of one value per key.
pub struct KeyValueStore<K, V>(Access<K, V, Plain>);

/// A store of one value per key, with a timestamp in milliseconds.
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
    /// `User` if a codec refuses; else errors of the store.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        self.0.get(key)
    }

    /// Sets the value of a key; a value that its codec calls null deletes the key.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`]; `TooLarge` if the row is too large for the changelog.
    pub fn put(&self, key: &K, value: &V) -> Result<()> {
        self.0.put(key, Some(value))
    }

    /// Sets the value of a key if it has none; returns the existing one otherwise.
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

    /// Deletes a key; returns its previous value.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub fn delete(&self, key: &K) -> Result<Option<V>> {
        let had = self.0.get(key)?;
        self.0.put(key, None)?;
        Ok(had)
    }

    /// All rows as of now, in the byte order of their keys; later writes do not show.
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

    /// The rows whose encoded keys begin with these bytes, in byte order.
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
    /// `User` if a codec refuses; else errors of the store.
    pub fn get(&self, key: &K) -> Result<Option<(V, i64)>> {
        self.0.get(key)
    }

    /// Sets the value of a key and its timestamp; a value that its codec calls null deletes the key.
    ///
    /// # Errors
    /// As [`TimestampedKeyValueStore::get`]; `TooLarge` if the row is too large for the changelog.
    pub fn put(&self, key: &K, value: &V, timestamp_ms: i64) -> Result<()> {
        self.0.put(key, Some((value, timestamp_ms)))
    }

    /// Deletes a key; returns its previous value.
    ///
    /// # Errors
    /// As [`TimestampedKeyValueStore::get`].
    pub fn delete(&self, key: &K) -> Result<Option<(V, i64)>> {
        let had = self.0.get(key)?;
        self.0.put(key, None)?;
        Ok(had)
    }

    /// All rows as of now, in the byte order of their keys; later writes do not show.
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

    /// The rows whose encoded keys begin with these bytes, in byte order.
    ///
    /// # Errors
    /// As [`TimestampedKeyValueStore::get`].
    pub fn prefix_scan(&self, prefix: impl AsRef<[u8]>) -> Result<StoreRows<K, V, Timestamped>> {
        let keys = KeyBounds::of_prefix(prefix.as_ref());
        self.0.range_of(&keys, Direction::Forward)
    }
}
