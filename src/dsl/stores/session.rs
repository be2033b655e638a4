//! The handle by which processors use session stores.

use std::fmt;
use std::ops::RangeBounds;

use super::site::{StoreSite, TypedStore};
use crate::base::Result;
use crate::codec::{Encoded, SharedCodec, Windowed};
use crate::state::typed::{KeyBounds, key_bytes};
use crate::state::{self, Direction, Put, SessionIter};
use crate::task::ExpiredPuts;

/// A store of one value per key and session. A session is identified by its start and its end: the first
/// and the last timestamp in it.
pub struct SessionStore<K, V> {
    rows: state::SessionStore,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    expired: ExpiredPuts,
}

impl<K, V> Clone for SessionStore<K, V> {
    fn clone(&self) -> Self {
        Self {
            rows: self.rows.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            expired: self.expired.clone(),
        }
    }
}

impl<K, V> fmt::Debug for SessionStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.fmt(f)
    }
}

impl<K: 'static, V: 'static> TypedStore for SessionStore<K, V> {
    type Key = K;
    type Value = V;

    fn open(site: StoreSite<'_, '_, K, V>) -> Result<Self> {
        site.check_own("of sessions")?;
        Ok(Self {
            rows: site.wiring.store(site.name)?,
            key: site.key,
            value: site.value,
            expired: site.expired.clone(),
        })
    }
}

impl<K: 'static, V: 'static> SessionStore<K, V> {
    fn encode_key(&self, key: &K) -> Result<Vec<u8>> {
        key_bytes(&*self.key, key)
    }

    /// The value of a key in exactly this session.
    ///
    /// # Errors
    /// `User` if a codec refuses; else errors of the store.
    pub fn fetch(&self, key: &K, start_ms: i64, end_ms: i64) -> Result<Option<V>> {
        let read = |row: Option<&[u8]>| row.map(|row| self.value.decode(Some(row))).transpose();
        self.rows
            .fetch(&self.encode_key(key)?, start_ms, end_ms, read)?
    }

    /// Sets the value of a session, unless it is older than what the store keeps, which counts as a drop;
    /// a value that its codec calls null removes the session.
    ///
    /// # Errors
    /// As [`SessionStore::fetch`]; `User` if the session ends before it starts, `TooLarge` if the row is
    /// too large for the changelog.
    pub fn put(&self, session: &Windowed<K>, value: &V) -> Result<Put> {
        let mut row = Vec::new();
        if self.value.encode(value, &mut row)? == Encoded::Null {
            self.remove(session)?;
            return Ok(Put::Stored);
        }
        let key = self.encode_key(&session.key)?;
        let put = self
            .rows
            .put(&key, session.start_ms, session.end_ms, &row)?;
        if put == Put::Expired {
            self.expired.count();
        }
        Ok(put)
    }

    /// Removes a session.
    ///
    /// # Errors
    /// As [`SessionStore::put`].
    pub fn remove(&self, session: &Windowed<K>) -> Result<()> {
        let key = self.encode_key(&session.key)?;
        self.rows.remove(&key, session.start_ms, session.end_ms)
    }

    /// The sessions of a key that end at `earliest_end_ms` or later and start at `latest_start_ms` or earlier.
    ///
    /// # Errors
    /// As [`SessionStore::fetch`].
    pub fn find_sessions(
        &self,
        key: &K,
        earliest_end_ms: i64,
        latest_start_ms: i64,
        direction: Direction,
    ) -> Result<StoreSessions<K, V>> {
        let key = self.encode_key(key)?;
        let rows = self
            .rows
            .find_sessions(&key, earliest_end_ms, latest_start_ms, direction)?;
        Ok(self.decoding(rows, None))
    }

    /// The same for the keys between two keys, in the store's order: a persistent one returns them by
    /// segment, key and time, an in-memory one by time and key. Sessions of other keys are skipped.
    ///
    /// # Errors
    /// As [`SessionStore::fetch`].
    pub fn find_keys(
        &self,
        keys: impl RangeBounds<K>,
        earliest_end_ms: i64,
        latest_start_ms: i64,
        direction: Direction,
    ) -> Result<StoreSessions<K, V>> {
        let keys = KeyBounds::encode(&*self.key, keys.start_bound(), keys.end_bound())?;
        let rows = self
            .rows
            .find_all(earliest_end_ms, latest_start_ms, direction)?;
        Ok(self.decoding(rows, Some(keys)))
    }

    fn decoding(&self, rows: SessionIter, keys: Option<KeyBounds>) -> StoreSessions<K, V> {
        StoreSessions {
            rows,
            keys,
            key: self.key.clone(),
            value: self.value.clone(),
        }
    }
}

/// Sessions as of the start of the iteration, decoded one by one.
#[must_use = "rows are read as they are asked for"]
pub struct StoreSessions<K, V> {
    rows: SessionIter,
    /// The keys it returns; all if not set.
    keys: Option<KeyBounds>,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
}

impl<K: 'static, V: 'static> Iterator for StoreSessions<K, V> {
    type Item = Result<(Windowed<K>, V)>;

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
            return Some(self.key.decode(Some(row.key)).and_then(|key| {
                let session = Windowed {
                    key,
                    start_ms: row.start_ms,
                    end_ms: row.end_ms,
                };
                Ok((session, self.value.decode(Some(row.row))?))
            }));
        }
    }
}
