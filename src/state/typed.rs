//! Typed stores: codecs and scratch buffers over the stores of bytes, so that operators need none.
//!
//! A view is owned by one operator; several views of one store see the same rows. Rows have a form:
//! [`Plain`] is the value, [`Timestamped`] the value after its timestamp.

mod window;

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

pub use window::{TimestampedWindow, Window, WindowEntry, WindowView, Windows};

use super::{Direction, KeyValueStore, RowIter, row};
use crate::base::{Error, Result};
use crate::codec::{Codec, Encoded, SharedCodec};

/// How a row holds a value. Implemented by [`Plain`] and [`Timestamped`] only.
pub trait Form<V>: sealed::Sealed {
    /// The result of reading.
    type Read;
    /// The argument of a put.
    type Write<'a>
    where
        V: 'a;

    /// Writes the row of `value` to `out`, replacing its content.
    ///
    /// # Errors
    /// `User` if the codec refuses.
    fn encode(codec: &dyn Codec<V>, value: Self::Write<'_>, out: &mut Vec<u8>) -> Result<Encoded>;

    /// Splits a row.
    ///
    /// # Errors
    /// `User` if the codec refuses, `Corrupt` if the row is too short.
    fn decode(codec: &dyn Codec<V>, row: &[u8]) -> Result<Self::Read>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Plain {}
    impl Sealed for super::Timestamped {}
}

/// The row is the value.
#[derive(Debug)]
pub struct Plain;

/// The row is a timestamp and the value ([`row`]).
#[derive(Debug)]
pub struct Timestamped;

impl<V: 'static> Form<V> for Plain {
    type Read = V;
    type Write<'a>
        = &'a V
    where
        V: 'a;

    fn encode(codec: &dyn Codec<V>, value: &V, out: &mut Vec<u8>) -> Result<Encoded> {
        out.clear();
        codec.encode(value, out)
    }

    fn decode(codec: &dyn Codec<V>, row: &[u8]) -> Result<V> {
        codec.decode(Some(row))
    }
}

impl<V: 'static> Form<V> for Timestamped {
    type Read = (V, i64);
    type Write<'a>
        = (&'a V, i64)
    where
        V: 'a;

    fn encode(
        codec: &dyn Codec<V>,
        (value, timestamp_ms): (&V, i64),
        out: &mut Vec<u8>,
    ) -> Result<Encoded> {
        row::begin(timestamp_ms, out);
        codec.encode(value, out)
    }

    fn decode(codec: &dyn Codec<V>, row: &[u8]) -> Result<(V, i64)> {
        let (timestamp_ms, value) = row::split(row)?;
        Ok((codec.decode(Some(value))?, timestamp_ms))
    }
}

/// The codecs of a view, and its buffers.
struct Bytes<K, V> {
    key_codec: SharedCodec<K>,
    value_codec: SharedCodec<V>,
    key: Vec<u8>,
    row: Vec<u8>,
}

impl<K: 'static, V: 'static> Bytes<K, V> {
    fn new(key_codec: SharedCodec<K>, value_codec: SharedCodec<V>) -> Self {
        Self {
            key_codec,
            value_codec,
            key: Vec::new(),
            row: Vec::new(),
        }
    }

    fn encode_key(&mut self, key: &K) -> Result<()> {
        self.key.clear();
        encode_key(&*self.key_codec, key, &mut self.key)
    }

    /// Encodes into `self.row`; returns whether there is a row, or the codec says null.
    fn encode_row<F: Form<V>>(&mut self, value: Option<F::Write<'_>>) -> Result<bool> {
        match value {
            None => Ok(false),
            Some(value) => {
                let encoded = F::encode(&*self.value_codec, value, &mut self.row)?;
                Ok(encoded == Encoded::Bytes)
            }
        }
    }
}

/// The bytes of a store's key.
///
/// # Errors
/// `User` if the key cannot be encoded or is null.
pub(crate) fn key_bytes<K: 'static>(codec: &dyn Codec<K>, key: &K) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    encode_key(codec, key, &mut out)?;
    Ok(out)
}

/// Appends the bytes of a store's key to `out`.
///
/// # Errors
/// `User` if the key cannot be encoded or is null.
pub(crate) fn encode_key<K: 'static>(
    codec: &dyn Codec<K>,
    key: &K,
    out: &mut Vec<u8>,
) -> Result<()> {
    match codec.encode(key, out)? {
        Encoded::Bytes => Ok(()),
        Encoded::Null => Err(Error::user("a store cannot have a row for a null key")),
    }
}

/// Bounds of keys, as bytes.
#[derive(Clone, Debug)]
pub struct KeyBounds(Bound<Vec<u8>>, Bound<Vec<u8>>);

impl KeyBounds {
    /// Those of two keys.
    ///
    /// # Errors
    /// `User` if a key cannot be encoded or is null.
    pub fn encode<K: 'static>(
        codec: &dyn Codec<K>,
        from: Bound<&K>,
        to: Bound<&K>,
    ) -> Result<Self> {
        let encode = |bound: Bound<&K>| -> Result<Bound<Vec<u8>>> {
            let mut out = Vec::new();
            if let Bound::Included(key) | Bound::Excluded(key) = bound {
                encode_key(codec, key, &mut out)?;
            }
            Ok(bound.map(|_| out))
        };
        Ok(Self(encode(from)?, encode(to)?))
    }

    /// Those of all keys that begin with `prefix`.
    pub fn of_prefix(prefix: &[u8]) -> Self {
        let mut after = prefix.to_vec();
        while after.pop_if(|last| *last == u8::MAX).is_some() {}
        let to = match after.last_mut() {
            Some(last) => {
                *last += 1;
                Bound::Excluded(after)
            }
            None => Bound::Unbounded,
        };
        Self(Bound::Included(prefix.to_vec()), to)
    }

    /// Both as slices.
    pub fn as_slices(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let slice = |bound| Bound::map(bound, Vec::as_slice);
        (slice(self.0.as_ref()), slice(self.1.as_ref()))
    }

    /// Whether a key is within.
    pub fn contain(&self, key: &[u8]) -> bool {
        RangeBounds::<[u8]>::contains(&self.as_slices(), key)
    }
}

/// A typed key-value store.
pub struct KeyValueView<K, V, F> {
    store: KeyValueStore,
    bytes: Bytes<K, V>,
    form: PhantomData<fn() -> F>,
}

/// A key-value store of values.
pub type KeyValue<K, V> = KeyValueView<K, V, Plain>;
/// A key-value store of values with timestamps.
pub type TimestampedKeyValue<K, V> = KeyValueView<K, V, Timestamped>;

impl<K, V, F> fmt::Debug for KeyValueView<K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

impl<K: 'static, V: 'static, F: Form<V>> KeyValueView<K, V, F> {
    /// A view of `store` with these codecs.
    pub fn new(
        store: KeyValueStore,
        key_codec: SharedCodec<K>,
        value_codec: SharedCodec<V>,
    ) -> Self {
        Self {
            store,
            bytes: Bytes::new(key_codec, value_codec),
            form: PhantomData,
        }
    }

    /// The codec of its keys.
    pub fn key_codec(&self) -> &SharedCodec<K> {
        &self.bytes.key_codec
    }

    /// The row of `key`, to be read and written while the key is encoded only once.
    ///
    /// # Errors
    /// `User` if the key cannot be encoded or is null.
    #[inline]
    pub fn entry(&mut self, key: &K) -> Result<KeyValueEntry<'_, K, V, F>> {
        self.bytes.encode_key(key)?;
        Ok(KeyValueEntry(self))
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// `User` if a codec refuses; those of the store.
    pub fn get(&mut self, key: &K) -> Result<Option<F::Read>> {
        self.entry(key)?.get()
    }

    /// Sets the value of `key`; `None`, or a value that the codec calls null, deletes it.
    ///
    /// # Errors
    /// As [`KeyValueView::get`].
    pub fn put(&mut self, key: &K, value: Option<F::Write<'_>>) -> Result<()> {
        self.entry(key)?.put(value)
    }

    /// The rows between two keys as of now, in the byte order of the keys.
    ///
    /// # Errors
    /// As [`KeyValueView::get`].
    pub fn range(
        &self,
        from: Bound<&K>,
        to: Bound<&K>,
        direction: Direction,
    ) -> Result<KeyValues<K, V, F>> {
        let bounds = KeyBounds::encode(&*self.bytes.key_codec, from, to)?;
        self.range_of(&bounds, direction)
    }

    /// The rows whose encoded keys are within bounds, as [`KeyValueView::range`].
    ///
    /// # Errors
    /// Those of the store.
    pub fn range_of(&self, bounds: &KeyBounds, direction: Direction) -> Result<KeyValues<K, V, F>> {
        let (from, to) = bounds.as_slices();
        Ok(KeyValues {
            rows: self.store.range(from, to, direction)?,
            key_codec: self.bytes.key_codec.clone(),
            value_codec: self.bytes.value_codec.clone(),
            form: PhantomData,
        })
    }
}

/// A key of a [`KeyValueView`], encoded.
pub struct KeyValueEntry<'a, K, V, F>(&'a mut KeyValueView<K, V, F>);

impl<K, V, F> fmt::Debug for KeyValueEntry<'_, K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyValueEntry").field(&self.0).finish()
    }
}

impl<K: 'static, V: 'static, F: Form<V>> KeyValueEntry<'_, K, V, F> {
    /// The value.
    ///
    /// # Errors
    /// As [`KeyValueView::get`].
    #[inline]
    pub fn get(&self) -> Result<Option<F::Read>> {
        let Bytes {
            key, value_codec, ..
        } = &self.0.bytes;
        let read = |row: Option<&[u8]>| row.map(|row| F::decode(&**value_codec, row)).transpose();
        self.0.store.get(key, read)?
    }

    /// Sets the value; `None`, or a value that the codec calls null, deletes it.
    ///
    /// # Errors
    /// As [`KeyValueView::get`].
    #[inline]
    pub fn put(&mut self, value: Option<F::Write<'_>>) -> Result<()> {
        let present = self.0.bytes.encode_row::<F>(value)?;
        let Bytes { key, row, .. } = &self.0.bytes;
        self.0.store.put(key, present.then_some(row))
    }
}

/// The rows of a range, decoded one by one.
pub struct KeyValues<K, V, F> {
    rows: RowIter,
    key_codec: SharedCodec<K>,
    value_codec: SharedCodec<V>,
    form: PhantomData<fn() -> F>,
}

impl<K, V, F> fmt::Debug for KeyValues<K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.fmt(f)
    }
}

impl<K: 'static, V: 'static, F: Form<V>> Iterator for KeyValues<K, V, F> {
    type Item = Result<(K, F::Read)>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rows.next() {
            Err(error) => Some(Err(error)),
            Ok(None) => None,
            Ok(Some((key, row))) => Some(self.key_codec.decode(Some(key)).and_then(|key| {
                let value = F::decode(&*self.value_codec, row)?;
                Ok((key, value))
            })),
        }
    }
}
