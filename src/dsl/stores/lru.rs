//! The handle by which processors use LRU stores.

use std::fmt;

use super::site::{StoreSite, TypedStore};
use crate::base::Result;
use crate::codec::{Encoded, SharedCodec};
use crate::state::kinds::lru;
use crate::state::typed::key_bytes;

/// A store of one value per key with a limited number of keys: a new key evicts the least recently used one.
pub struct LruStore<K, V> {
    rows: lru::LruStore,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
}

impl<K, V> Clone for LruStore<K, V> {
    fn clone(&self) -> Self {
        Self {
            rows: self.rows.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
        }
    }
}

impl<K, V> fmt::Debug for LruStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.fmt(f)
    }
}

impl<K: 'static, V: 'static> TypedStore for LruStore<K, V> {
    type Key = K;
    type Value = V;

    fn open(site: StoreSite<'_, '_, K, V>) -> Result<Self> {
        site.check_own("an LRU store")?;
        Ok(Self {
            rows: site.wiring.store(site.name)?,
            key: site.key,
            value: site.value,
        })
    }
}

impl<K: 'static, V: 'static> LruStore<K, V> {
    fn encode_key(&self, key: &K) -> Result<Vec<u8>> {
        key_bytes(&*self.key, key)
    }

    /// The value of a key, which counts as used.
    ///
    /// # Errors
    /// `User` if a codec refuses; else errors of the store.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        let read = |row: Option<&[u8]>| row.map(|row| self.value.decode(Some(row))).transpose();
        self.rows.get(&self.encode_key(key)?, read)?
    }

    /// Sets the value of a key, which counts as used; a value that its codec calls null deletes the key.
    ///
    /// # Errors
    /// As [`LruStore::get`]; `TooLarge` if the row is too large for the changelog.
    pub fn put(&self, key: &K, value: &V) -> Result<()> {
        let mut row = Vec::new();
        let encoded = self.value.encode(value, &mut row)?;
        let row = (encoded == Encoded::Bytes).then_some(row);
        self.rows.put(&self.encode_key(key)?, row.as_deref())
    }

    /// Deletes a key; returns its previous value.
    ///
    /// # Errors
    /// As [`LruStore::get`].
    pub fn delete(&self, key: &K) -> Result<Option<V>> {
        let had = self.get(key)?;
        self.rows.put(&self.encode_key(key)?, None)?;
        Ok(had)
    }
}
