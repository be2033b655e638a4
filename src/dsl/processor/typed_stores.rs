//! The handles by which processors use stores.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeBounds;
use std::rc::Rc;

use super::TypedStore;
use super::access::{Access, StoreRows};
use crate::base::{Error, Result};
use crate::codec::SharedCodec;
use crate::state::typed::{Plain, Timestamped, Window, Windows};
use crate::state::{Direction, Put};
use crate::task::Wiring;

/// A store of one value a key.
pub struct KeyValueStore<K, V>(Access<K, V, Plain>);

/// A store of one value a key, with a timestamp in milliseconds.
pub struct TimestampedKeyValueStore<K, V>(Access<K, V, Timestamped>);

/// A store of one value a key and window, which is known by its start; or of several, where the rules say
/// that duplicates are kept.
pub struct WindowStore<K, V>(Rc<RefCell<Window<K, V>>>);

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
shared!(WindowStore);

impl<K: 'static, V: 'static> TypedStore for KeyValueStore<K, V> {
    type Key = K;
    type Value = V;

    fn open(
        wiring: &Wiring<'_>,
        name: &str,
        key: SharedCodec<K>,
        value: SharedCodec<V>,
    ) -> Result<Self> {
        Ok(Self(Access::open(wiring, name, key, value)?))
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
}

impl<K: 'static, V: 'static> TypedStore for TimestampedKeyValueStore<K, V> {
    type Key = K;
    type Value = V;

    fn open(
        wiring: &Wiring<'_>,
        name: &str,
        key: SharedCodec<K>,
        value: SharedCodec<V>,
    ) -> Result<Self> {
        Ok(Self(Access::open(wiring, name, key, value)?))
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
}

impl<K: 'static, V: 'static> TypedStore for WindowStore<K, V> {
    type Key = K;
    type Value = V;

    fn open(
        wiring: &Wiring<'_>,
        name: &str,
        key: SharedCodec<K>,
        value: SharedCodec<V>,
    ) -> Result<Self> {
        if wiring.global_rows(name).is_some() {
            return Err(Error::invalid(format!(
                "store {name:?} is global and of windows; a global store has one value a key"
            )));
        }
        let view = Window::new(wiring.window(name)?, key, value);
        Ok(Self(Rc::new(RefCell::new(view))))
    }
}

impl<K: 'static, V: 'static> WindowStore<K, V> {
    /// The value of a key in the window that starts at `start_ms`.
    ///
    /// # Errors
    /// `User` when a codec refuses; those of the store.
    pub fn fetch(&self, key: &K, start_ms: i64) -> Result<Option<V>> {
        self.0.borrow_mut().fetch(key, start_ms)
    }

    /// Sets that value, unless it is older than the store keeps; one that its codec calls null removes it.
    ///
    /// # Errors
    /// As [`WindowStore::fetch`]; `TooLarge` if the changelog would not take the row.
    pub fn put(&self, key: &K, value: &V, start_ms: i64) -> Result<Put> {
        self.0.borrow_mut().put(key, start_ms, Some(value))
    }

    /// The windows of a key that start between two times, both included.
    ///
    /// # Errors
    /// As [`WindowStore::fetch`].
    pub fn fetch_range(
        &self,
        key: &K,
        from_ms: i64,
        to_ms: i64,
        direction: Direction,
    ) -> Result<Windows<K, V, Plain>> {
        let mut view = self.0.borrow_mut();
        view.fetch_range(key, from_ms, to_ms, direction)
    }

    /// The windows of all keys that start between two times, both included, in the store's order.
    ///
    /// # Errors
    /// As [`WindowStore::fetch`].
    pub fn fetch_all(
        &self,
        from_ms: i64,
        to_ms: i64,
        direction: Direction,
    ) -> Result<Windows<K, V, Plain>> {
        self.0.borrow().fetch_all(from_ms, to_ms, direction)
    }
}
