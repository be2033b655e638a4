//! The handle by which processors use versioned stores.

use std::fmt;

use super::site::{StoreSite, TypedStore};
use crate::base::Result;
use crate::codec::{Encoded, SharedCodec};
use crate::state::typed::key_bytes;
use crate::state::{self, Version, VersionedPut};
use crate::task::ExpiredPuts;

/// A store that knows which value a key had at any time of its recent history.
///
/// ```
/// # use marea::prelude::*;
/// # fn example(context: &mut ProcessorContext<'_, String, f64>) -> marea::Result<()> {
/// let prices = context.store::<VersionedStore<String, f64>>("prices")?;
/// let key = "wheat".to_owned();
/// prices.put(&key, &2.5, 1_000)?;
/// prices.put(&key, &2.7, 3_000)?;
/// let then = prices.get_as_of(&key, 2_000)?.map(|version| version.value);
/// assert_eq!(then, Some(2.5));
/// # Ok(())
/// # }
/// ```
pub struct VersionedStore<K, V> {
    rows: state::VersionedStore,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    expired: ExpiredPuts,
}

/// A value, and the time of its validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionedRecord<V> {
    /// The value.
    pub value: V,
    /// Start of its validity, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// End of its validity, in milliseconds since 1970; `None` if it is the newest.
    pub valid_to_ms: Option<i64>,
}

impl<K, V> Clone for VersionedStore<K, V> {
    fn clone(&self) -> Self {
        Self {
            rows: self.rows.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            expired: self.expired.clone(),
        }
    }
}

impl<K, V> fmt::Debug for VersionedStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.fmt(f)
    }
}

impl<K: 'static, V: 'static> TypedStore for VersionedStore<K, V> {
    type Key = K;
    type Value = V;

    fn open(site: StoreSite<'_, '_, K, V>) -> Result<Self> {
        site.check_own("versioned")?;
        Ok(Self {
            rows: site.wiring.store(site.name)?,
            key: site.key,
            value: site.value,
            expired: site.expired.clone(),
        })
    }
}

impl<K: 'static, V: 'static> VersionedStore<K, V> {
    fn encode_key(&self, key: &K) -> Result<Vec<u8>> {
        key_bytes(&*self.key, key)
    }

    fn decode(&self, version: Option<Version<'_>>) -> Result<Option<VersionedRecord<V>>> {
        let decode = |version: Version<'_>| {
            Ok(VersionedRecord {
                value: self.value.decode(Some(version.row))?,
                timestamp_ms: version.since_ms,
                valid_to_ms: version.until_ms,
            })
        };
        version.map(decode).transpose()
    }

    /// The newest value of a key.
    ///
    /// # Errors
    /// `User` if a codec refuses; else errors of the store.
    pub fn get(&self, key: &K) -> Result<Option<VersionedRecord<V>>> {
        let key = self.encode_key(key)?;
        self.rows.get(&key, |version| self.decode(version))?
    }

    /// The value that a key had at a time; none for a time before the store's history, unless it is the
    /// newest.
    ///
    /// # Errors
    /// As [`VersionedStore::get`].
    pub fn get_as_of(&self, key: &K, as_of_ms: i64) -> Result<Option<VersionedRecord<V>>> {
        let key = self.encode_key(key)?;
        self.rows
            .get_as_of(&key, as_of_ms, |version| self.decode(version))?
    }

    /// Sets the value of a key from a time on, until the next known version; a value that its codec calls
    /// null deletes the key for that time. A version before the store's history is refused, which counts
    /// as a drop.
    ///
    /// # Errors
    /// As [`VersionedStore::get`]; `TooLarge` if the row is too large for the changelog.
    pub fn put(&self, key: &K, value: &V, timestamp_ms: i64) -> Result<VersionedPut> {
        let mut row = Vec::new();
        let encoded = self.value.encode(value, &mut row)?;
        let row = (encoded == Encoded::Bytes).then_some(row);
        self.write(&self.encode_key(key)?, row.as_deref(), timestamp_ms)
    }

    /// Deletes a key from a time on, until the next known version; returns the value that it had then.
    ///
    /// # Errors
    /// As [`VersionedStore::put`].
    pub fn delete(&self, key: &K, timestamp_ms: i64) -> Result<Option<VersionedRecord<V>>> {
        let had = self.get_as_of(key, timestamp_ms)?;
        let put = self.write(&self.encode_key(key)?, None, timestamp_ms)?;
        Ok(had.filter(|_| put != VersionedPut::Expired))
    }

    fn write(&self, key: &[u8], row: Option<&[u8]>, timestamp_ms: i64) -> Result<VersionedPut> {
        let put = self.rows.put(key, row, timestamp_ms)?;
        if put == VersionedPut::Expired {
            self.expired.count();
        }
        Ok(put)
    }
}
