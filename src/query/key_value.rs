//! Rows of one value a key: of tables, aggregations without windows, and stores of processors.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use super::{Found, Row, Typed};
use crate::base::Result;
use crate::codec::{Codec, OwnCodec};
use crate::runtime::View;
use crate::state::typed::KeyBounds;
use crate::state::{Direction, KeyValueStore, RowIter};

/// The rows of a key-value store in a view: [`View::key_value`].
pub struct KeyValueRows<'a, K, V>(Typed<'a, K, V>);

impl View {
    /// The rows of a key-value store, with the types' own codecs.
    ///
    /// # Errors
    /// `Invalid` if there is no such store, or its keys and values have other types.
    pub fn key_value<K: OwnCodec, V: OwnCodec>(
        &self,
        store: &str,
    ) -> Result<KeyValueRows<'_, K, V>> {
        self.key_value_with(store, K::codec(), V::codec())
    }

    /// The same with codecs of your own.
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
        Ok(KeyValueRows(Typed::open(self, store, codecs)?))
    }
}

impl<K: 'static, V: 'static> KeyValueRows<'_, K, V> {
    /// The row of a key, in the task that the key's bytes lead to. Where the records came by a partitioner of
    /// their own, use [`KeyValueRows::range`].
    ///
    /// # Errors
    /// `Unavailable` if that task is not in this process; `User` when a codec refuses.
    pub fn get(&self, key: &K) -> Result<Option<Row<V>>> {
        let key = self.0.key(key)?;
        let store: KeyValueStore = self.0.task_of(&key)?.store(&self.0.store)?;
        store.get(&key, |row| row.map(|row| self.0.row(row, None)).transpose())?
    }

    /// All rows that are in this process, task by task, each in the order of its keys' bytes.
    ///
    /// # Errors
    /// Those of the store.
    pub fn all(&self) -> Result<Found<'_, (K, Row<V>)>> {
        self.range(..)
    }

    /// The same between two keys, in the order of their bytes.
    ///
    /// # Errors
    /// `User` when a codec refuses; those of the store.
    pub fn range(&self, keys: impl RangeBounds<K>) -> Result<Found<'_, (K, Row<V>)>> {
        let (from, to) = (keys.start_bound(), keys.end_bound());
        let bounds = KeyBounds::encode(&*self.0.key, from, to)?;
        let (from, to) = bounds.as_slices();
        self.between(from, to)
    }

    /// The rows whose keys begin with these bytes, as their codec writes them.
    ///
    /// # Errors
    /// Those of the store.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Found<'_, (K, Row<V>)>> {
        let bounds = KeyBounds::of_prefix(prefix.as_ref());
        let (from, to) = bounds.as_slices();
        self.between(from, to)
    }

    fn between(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<Found<'_, (K, Row<V>)>> {
        let stores = self.0.stores::<KeyValueStore>()?;
        let mut walks = Vec::with_capacity(stores.len());
        for store in stores {
            walks.push(store.range(from, to, Direction::Forward)?);
        }
        Ok(Found::in_turn(walks, |rows: &mut RowIter| {
            let Some((key, row)) = rows.next()? else {
                return Ok(None);
            };
            let key = self.0.key.decode(Some(key))?;
            Ok(Some((key, self.0.row(row, None)?)))
        }))
    }
}

impl<K, V> std::fmt::Debug for KeyValueRows<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeyValueRows").field(&self.0.store).finish()
    }
}
