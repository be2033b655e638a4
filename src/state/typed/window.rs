//! Typed window stores.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Bound;

use super::{Bytes, Form, KeyBounds, Plain, Timestamped};
use crate::base::Result;
use crate::codec::SharedCodec;
use crate::state::{Direction, Put, WindowIter, WindowStore};

/// A typed window store.
pub struct WindowView<K, V, F> {
    store: WindowStore,
    bytes: Bytes<K, V>,
    form: PhantomData<fn() -> F>,
}

/// A window store of values.
pub type Window<K, V> = WindowView<K, V, Plain>;
/// A window store of values with timestamps.
pub type TimestampedWindow<K, V> = WindowView<K, V, Timestamped>;

impl<K, V, F> fmt::Debug for WindowView<K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

impl<K: 'static, V: 'static, F: Form<V>> WindowView<K, V, F> {
    /// A view of `store` with these codecs.
    pub fn new(store: WindowStore, key_codec: SharedCodec<K>, value_codec: SharedCodec<V>) -> Self {
        Self {
            store,
            bytes: Bytes::new(key_codec, value_codec),
            form: PhantomData,
        }
    }

    /// The store of bytes, for its times.
    pub fn store(&self) -> &WindowStore {
        &self.store
    }

    /// All windows of `key`, to be read and written while the key is encoded only once.
    ///
    /// # Errors
    /// `User` if the key cannot be encoded or is null.
    #[inline]
    pub fn entry(&mut self, key: &K) -> Result<WindowEntry<'_, K, V, F>> {
        self.bytes.encode_key(key)?;
        Ok(WindowEntry(self))
    }

    /// The value of `key` in the window that starts at `start_ms`, as [`WindowStore::fetch`].
    ///
    /// # Errors
    /// `User` if a codec refuses; those of the store.
    pub fn fetch(&mut self, key: &K, start_ms: i64) -> Result<Option<F::Read>> {
        self.entry(key)?.fetch(start_ms)
    }

    /// Sets that value, as [`WindowStore::put`]; a value that the codec calls null removes it.
    ///
    /// # Errors
    /// As [`WindowView::fetch`].
    pub fn put(&mut self, key: &K, start_ms: i64, value: Option<F::Write<'_>>) -> Result<Put> {
        self.entry(key)?.put(start_ms, value)
    }

    /// The rows of one key, as [`WindowStore::fetch_range`].
    ///
    /// # Errors
    /// As [`WindowView::fetch`].
    pub fn fetch_range(
        &mut self,
        key: &K,
        from_ms: i64,
        to_ms: i64,
        direction: Direction,
    ) -> Result<Windows<K, V, F>> {
        self.entry(key)?.fetch_range(from_ms, to_ms, direction)
    }

    /// The rows of all keys, as [`WindowStore::fetch_all`].
    ///
    /// # Errors
    /// Those of the store.
    pub fn fetch_all(
        &self,
        from_ms: i64,
        to_ms: i64,
        direction: Direction,
    ) -> Result<Windows<K, V, F>> {
        Ok(self.windows(self.store.fetch_all(from_ms, to_ms, direction)?))
    }

    /// The rows of the keys between two keys, in the order of [`WindowStore::fetch_all`]; rows of other
    /// keys are read too, and skipped.
    ///
    /// # Errors
    /// As [`WindowView::fetch`].
    pub fn fetch_keys(
        &self,
        (from, to): (Bound<&K>, Bound<&K>),
        (from_ms, to_ms): (i64, i64),
        direction: Direction,
    ) -> Result<Windows<K, V, F>> {
        let keys = KeyBounds::encode(&*self.bytes.key_codec, from, to)?;
        let mut found = self.fetch_all(from_ms, to_ms, direction)?;
        found.keys = Some(keys);
        Ok(found)
    }

    fn windows(&self, rows: WindowIter) -> Windows<K, V, F> {
        Windows {
            rows,
            key_codec: self.bytes.key_codec.clone(),
            value_codec: self.bytes.value_codec.clone(),
            keys: None,
            form: PhantomData,
        }
    }
}

/// A key of a [`WindowView`], encoded.
pub struct WindowEntry<'a, K, V, F>(&'a mut WindowView<K, V, F>);

impl<K, V, F> fmt::Debug for WindowEntry<'_, K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WindowEntry").field(&self.0).finish()
    }
}

impl<K: 'static, V: 'static, F: Form<V>> WindowEntry<'_, K, V, F> {
    /// As [`WindowView::fetch`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn fetch(&self, start_ms: i64) -> Result<Option<F::Read>> {
        let Bytes {
            key, value_codec, ..
        } = &self.0.bytes;
        let read = |row: Option<&[u8]>| row.map(|row| F::decode(&**value_codec, row)).transpose();
        self.0.store.fetch(key, start_ms, read)?
    }

    /// As [`WindowView::put`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn put(&mut self, start_ms: i64, value: Option<F::Write<'_>>) -> Result<Put> {
        let present = self.0.bytes.encode_row::<F>(value)?;
        let Bytes { key, row, .. } = &self.0.bytes;
        self.0.store.put(key, start_ms, present.then_some(row))
    }

    /// As [`WindowView::fetch_range`].
    ///
    /// # Errors
    /// As there.
    pub fn fetch_range(
        &self,
        from_ms: i64,
        to_ms: i64,
        direction: Direction,
    ) -> Result<Windows<K, V, F>> {
        let key = &self.0.bytes.key;
        let rows = self
            .0
            .store
            .fetch_range_toward(key, from_ms, to_ms, direction)?;
        Ok(self.0.windows(rows))
    }
}

/// The rows of a window store, decoded one by one: key, start, value.
pub struct Windows<K, V, F> {
    rows: WindowIter,
    key_codec: SharedCodec<K>,
    value_codec: SharedCodec<V>,
    /// The keys it returns; all if not set.
    keys: Option<KeyBounds>,
    form: PhantomData<fn() -> F>,
}

impl<K, V, F> fmt::Debug for Windows<K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.fmt(f)
    }
}

impl<K: 'static, V: 'static, F: Form<V>> Iterator for Windows<K, V, F> {
    type Item = Result<(K, i64, F::Read)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let row = match self.rows.next() {
                Err(error) => return Some(Err(error)),
                Ok(None) => return None,
                Ok(Some(row)) => row,
            };
            if self
                .keys
                .as_ref()
                .is_some_and(|keys| !keys.contain(row.key))
            {
                continue;
            }
            return Some(self.key_codec.decode(Some(row.key)).and_then(|key| {
                let value = F::decode(&*self.value_codec, row.row)?;
                Ok((key, row.start_ms, value))
            }));
        }
    }
}
