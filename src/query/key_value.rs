//! Rows with one value per key: of tables, aggregations without windows, stores of processors, and global stores.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use super::one_per_key::{OnePerKey, Walk};
use super::{Found, Row};
use crate::base::Result;
use crate::codec::{Codec, OwnCodec};
use crate::runtime::View;
use crate::state::typed::KeyBounds;

/// The rows of a key-value store in a view: [`View::key_value`].
pub struct KeyValueRows<'a, K, V>(OnePerKey<'a, K, V>);

impl View {
    /// The rows of a key-value store, with the types' own codecs. An LRU store is one too, and so is a global
    /// store, which is read as it is at the moment, not as of the view.
    ///
    /// # Errors
    /// `Invalid` if there is no such store, or its keys and values have other types.
    pub fn key_value<K: OwnCodec, V: OwnCodec>(
        &self,
        store: &str,
    ) -> Result<KeyValueRows<'_, K, V>> {
        self.key_value_with(store, K::codec(), V::codec())
    }

    /// Like [`View::key_value`], with your own codecs.
    ///
    /// # Errors
    /// As [`View::key_value`].
    pub fn key_value_with<K: 'static, V: 'static>(
        &self,
        store: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Result<KeyValueRows<'_, K, V>> {
        let codecs = (Arc::new(key) as _, Arc::new(value) as _);
        Ok(KeyValueRows(OnePerKey::open(self, store, codecs)?))
    }
}

impl<K: 'static, V: 'static> KeyValueRows<'_, K, V> {
    /// The row of a key, in the task that the key's bytes determine. If a custom partitioner placed the records,
    /// use [`KeyValueRows::range`].
    ///
    /// # Errors
    /// `Unavailable` if that task is not in this process; `User` if a codec fails.
    pub fn get(&self, key: &K) -> Result<Option<Row<V>>> {
        let types = self.0.types();
        let read = |row: Option<&[u8]>| row.map(|row| types.row(row)).transpose();
        self.0.get(&types.key(key)?, read)?
    }

    /// All rows in this process, task by task, each in the order of its keys' bytes.
    ///
    /// # Errors
    /// Those of the store.
    pub fn all(&self) -> Result<Found<'_, (K, Row<V>)>> {
        self.range(..)
    }

    /// The rows between two keys, in the order of their bytes.
    ///
    /// # Errors
    /// `User` if a codec fails; those of the store.
    pub fn range(&self, keys: impl RangeBounds<K>) -> Result<Found<'_, (K, Row<V>)>> {
        let (from, to) = (keys.start_bound(), keys.end_bound());
        let bounds = KeyBounds::encode(&*self.0.types().key, from, to)?;
        let (from, to) = bounds.as_slices();
        self.between(from, to)
    }

    /// The rows whose keys, as their codec encodes them, begin with these bytes.
    ///
    /// # Errors
    /// Those of the store.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Found<'_, (K, Row<V>)>> {
        let bounds = KeyBounds::of_prefix(prefix.as_ref());
        let (from, to) = bounds.as_slices();
        self.between(from, to)
    }

    /// The rows of these keys after the key with the given bytes, each with the bytes of its key: a page of a list
    /// continues where the last one ended.
    #[cfg(feature = "admin")]
    pub(crate) fn behind(
        &self,
        keys: &Keys<K>,
        last: Option<&[u8]>,
    ) -> Result<Found<'_, (Vec<u8>, K, Row<V>)>> {
        let bounds = match keys {
            Keys::Between(from, to) => {
                let from = from.as_ref().map_or(Bound::Unbounded, Bound::Included);
                let to = to.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                KeyBounds::encode(&*self.0.types().key, from, to)?
            }
            Keys::Prefix(prefix) => KeyBounds::of_prefix(prefix),
        };
        let (from, to) = bounds.as_slices();
        let from = match (last, from) {
            (None, from) => from,
            // The key is from a list with other bounds and precedes all of these keys.
            (Some(last), Bound::Included(first)) if last < first => from,
            (Some(last), _) => Bound::Excluded(last),
        };
        let types = self.0.types();
        Ok(Found::in_turn(
            self.0.walks(from, to)?,
            |rows: &mut Walk| {
                let Some((bytes, row)) = rows.next()? else {
                    return Ok(None);
                };
                let key = types.key.decode(Some(bytes))?;
                Ok(Some((bytes.to_vec(), key, types.row(row)?)))
            },
        ))
    }

    fn between(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<Found<'_, (K, Row<V>)>> {
        let types = self.0.types();
        Ok(Found::in_turn(
            self.0.walks(from, to)?,
            |rows: &mut Walk| {
                let Some((key, row)) = rows.next()? else {
                    return Ok(None);
                };
                let key = types.key.decode(Some(key))?;
                Ok(Some((key, types.row(row)?)))
            },
        ))
    }
}

/// Which keys of a key-value store.
#[cfg(feature = "admin")]
pub(crate) enum Keys<K> {
    /// From the first, inclusive, to the second, exclusive, in the order of their bytes.
    Between(Option<K>, Option<K>),
    /// Those whose bytes begin with these.
    Prefix(Vec<u8>),
}

impl<K: 'static, V: 'static> std::fmt::Debug for KeyValueRows<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeyValueRows")
            .field(&self.0.types().store)
            .finish()
    }
}
