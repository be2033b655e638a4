//! Declares stores.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::key_value::{KeyValueStore, TimestampedKeyValueStore};
use super::lru::LruStore;
use super::session::SessionStore;
use super::site::{TypedStore, opens};
use super::versioned::VersionedStore;
use super::window::{TimestampedWindowStore, WindowStore};
use crate::base::Result;
use crate::codec::{Codec, SharedCodec};
use crate::dsl::windows::millis;
use crate::state::{
    Changelog, RowForm, SessionRules, StoreKind, StoreSpec, StoreType, VersionedRules, WindowRules,
};
use crate::task::OpenStore;

/// A store declaration, to be added with
/// [`StreamBuilder::add_store`](crate::dsl::StreamBuilder::add_store).
#[must_use = "a store is part of the topology when it is added with `StreamBuilder::add_store`"]
pub struct StoreDeclaration<S: TypedStore> {
    spec: StoreSpec,
    key: SharedCodec<S::Key>,
    value: SharedCodec<S::Value>,
    kind: PhantomData<fn() -> S>,
}

impl<S: TypedStore> StoreDeclaration<S> {
    /// A store of a given kind, persistent and with a changelog.
    pub fn new(
        name: impl Into<String>,
        kind: StoreKind,
        row: RowForm,
        key: impl Codec<S::Key>,
        value: impl Codec<S::Value>,
    ) -> Self {
        let (key, value): (SharedCodec<_>, SharedCodec<_>) = (Arc::new(key), Arc::new(value));
        Self {
            spec: StoreSpec {
                name: name.into(),
                kind,
                store_type: StoreType::Persistent,
                row,
                changelog: Changelog::Own,
                codecs: (key.name(), value.name()),
            },
            key,
            value,
            kind: PhantomData,
        }
    }

    /// Keeps it in memory, under the rules of Kafka Streams' in-memory stores: see [`StoreType`].
    pub fn in_memory(mut self) -> Self {
        self.spec.store_type = StoreType::InMemory;
        self
    }

    /// Without a changelog: its rows do not survive the loss of the disk.
    pub fn not_logged(mut self) -> Self {
        self.spec.changelog = Changelog::None;
        self
    }

    pub(in crate::dsl) fn into_parts(self) -> (StoreSpec, OpenStore) {
        let Self {
            spec, key, value, ..
        } = self;
        let open = opens::<S>(spec.name.clone(), key, value);
        (spec, open)
    }
}

/// Declares stores, by kind.
#[derive(Clone, Copy, Debug)]
pub enum Stores {}

impl Stores {
    /// One value per key.
    pub fn key_value<K: 'static, V: 'static>(
        name: impl Into<String>,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> StoreDeclaration<KeyValueStore<K, V>> {
        StoreDeclaration::new(name, StoreKind::key_value(), RowForm::Plain, key, value)
    }

    /// One value per key, with a timestamp.
    pub fn timestamped_key_value<K: 'static, V: 'static>(
        name: impl Into<String>,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> StoreDeclaration<TimestampedKeyValueStore<K, V>> {
        StoreDeclaration::new(
            name,
            StoreKind::key_value(),
            RowForm::Timestamped,
            key,
            value,
        )
    }

    /// One value per key and window, by the rules of windows.
    pub fn window<K: 'static, V: 'static>(
        name: impl Into<String>,
        key: impl Codec<K>,
        value: impl Codec<V>,
        rules: WindowRules,
    ) -> StoreDeclaration<WindowStore<K, V>> {
        StoreDeclaration::new(name, StoreKind::window(rules), RowForm::Plain, key, value)
    }

    /// One value per key and window, with a timestamp, by the rules of windows.
    pub fn timestamped_window<K: 'static, V: 'static>(
        name: impl Into<String>,
        key: impl Codec<K>,
        value: impl Codec<V>,
        rules: WindowRules,
    ) -> StoreDeclaration<TimestampedWindowStore<K, V>> {
        let kind = StoreKind::window(rules);
        StoreDeclaration::new(name, kind, RowForm::Timestamped, key, value)
    }

    /// One value per key and session, readable until its end is `retention` behind the largest end put.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// # use marea::codec::{I64, Utf8};
    /// # let builder = StreamBuilder::new();
    /// builder.add_store(Stores::session("visits", Utf8, I64, Duration::from_secs(3_600))?);
    /// # Ok::<(), marea::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if the retention has more milliseconds than an `i64`.
    pub fn session<K: 'static, V: 'static>(
        name: impl Into<String>,
        key: impl Codec<K>,
        value: impl Codec<V>,
        retention: Duration,
    ) -> Result<StoreDeclaration<SessionStore<K, V>>> {
        let retention_ms = millis(retention, "a retention")?;
        let kind = StoreKind::session(SessionRules { retention_ms });
        Ok(StoreDeclaration::new(
            name,
            kind,
            RowForm::Plain,
            key,
            value,
        ))
    }

    /// The values that each key had over `history`, back from the largest timestamp put.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// # use marea::codec::{I64, Utf8};
    /// # let builder = StreamBuilder::new();
    /// builder.add_store(Stores::versioned("prices", Utf8, I64, Duration::from_secs(3_600))?);
    /// # Ok::<(), marea::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if the history has more milliseconds than an `i64`.
    pub fn versioned<K: 'static, V: 'static>(
        name: impl Into<String>,
        key: impl Codec<K>,
        value: impl Codec<V>,
        history: Duration,
    ) -> Result<StoreDeclaration<VersionedStore<K, V>>> {
        let history_ms = millis(history, "a history")?;
        let kind = StoreKind::versioned(VersionedRules { history_ms });
        Ok(StoreDeclaration::new(
            name,
            kind,
            RowForm::Plain,
            key,
            value,
        ))
    }

    /// One value per key, for at most `entries_max` keys: a new key evicts the least recently used one.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// # use marea::codec::{I64, Utf8};
    /// # let builder = StreamBuilder::new();
    /// builder.add_store(Stores::lru("recent", Utf8, I64, 1_000));
    /// # Ok::<(), marea::Error>(())
    /// ```
    pub fn lru<K: 'static, V: 'static>(
        name: impl Into<String>,
        key: impl Codec<K>,
        value: impl Codec<V>,
        entries_max: usize,
    ) -> StoreDeclaration<LruStore<K, V>> {
        let kind = StoreKind::lru(entries_max);
        StoreDeclaration::new(name, kind, RowForm::Plain, key, value)
    }
}
