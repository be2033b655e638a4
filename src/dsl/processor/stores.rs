//! Stores that processors share, declared with their types.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use super::{KeyValueStore, TimestampedKeyValueStore, WindowStore};
use crate::base::Result;
use crate::codec::{Codec, SharedCodec};
use crate::state::{Changelog, Medium, RowForm, StoreKind, StoreSpec, WindowRules};
use crate::task::{OpenStore, Wiring};

/// A handle of a store with its types. A clone is the same store.
///
/// A new kind of store is a type that implements this, and a function of [`Stores`].
pub trait TypedStore: Clone + Sized + 'static {
    /// Type of its keys.
    type Key: 'static;
    /// Type of its values.
    type Value: 'static;

    /// Opens the task's store of that name.
    ///
    /// # Errors
    /// `Internal` if the task has none of that name and kind.
    fn open(
        wiring: &Wiring<'_>,
        name: &str,
        key: SharedCodec<Self::Key>,
        value: SharedCodec<Self::Value>,
    ) -> Result<Self>;
}

/// A store as it is declared, to be added with
/// [`StreamBuilder::add_store`](crate::dsl::StreamBuilder::add_store).
#[must_use = "a store is part of the topology when it is added with `StreamBuilder::add_store`"]
pub struct StoreDeclaration<S: TypedStore> {
    spec: StoreSpec,
    key: SharedCodec<S::Key>,
    value: SharedCodec<S::Value>,
    kind: PhantomData<fn() -> S>,
}

impl<S: TypedStore> StoreDeclaration<S> {
    /// A store of a kind, persistent and with a changelog.
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
                medium: Medium::Persistent,
                row,
                changelog: Changelog::Own,
                codecs: (key.name(), value.name()),
            },
            key,
            value,
            kind: PhantomData,
        }
    }

    /// Keeps it under the rules of Kafka Streams' in-memory stores: see [`Medium`].
    pub fn in_memory(mut self) -> Self {
        self.spec.medium = Medium::InMemory;
        self
    }

    /// Gives it no changelog: its rows do not survive the loss of the disk.
    pub fn not_logged(mut self) -> Self {
        self.spec.changelog = Changelog::None;
        self
    }

    pub(super) fn into_parts(self) -> (StoreSpec, OpenStore) {
        let Self {
            spec, key, value, ..
        } = self;
        let name = spec.name.clone();
        let open: OpenStore = Arc::new(move |wiring| {
            let store = S::open(wiring, &name, key.clone(), value.clone())?;
            Ok(Box::new(store) as Box<dyn Any>)
        });
        (spec, open)
    }
}

/// Declares stores, by kind.
#[derive(Clone, Copy, Debug)]
pub enum Stores {}

impl Stores {
    /// One value a key.
    pub fn key_value<K: 'static, V: 'static>(
        name: impl Into<String>,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> StoreDeclaration<KeyValueStore<K, V>> {
        StoreDeclaration::new(name, StoreKind::key_value(), RowForm::Plain, key, value)
    }

    /// One value a key, with a timestamp.
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

    /// One value a key and window, by the rules of windows.
    pub fn window<K: 'static, V: 'static>(
        name: impl Into<String>,
        key: impl Codec<K>,
        value: impl Codec<V>,
        rules: WindowRules,
    ) -> StoreDeclaration<WindowStore<K, V>> {
        StoreDeclaration::new(name, StoreKind::window(rules), RowForm::Plain, key, value)
    }
}
