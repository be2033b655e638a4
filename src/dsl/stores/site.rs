//! How a typed store is opened within a task.

use std::any::Any;
use std::sync::Arc;

use crate::base::{Error, Result};
use crate::codec::SharedCodec;
use crate::task::{ExpiredPuts, OpenStore, Wiring};

/// A typed handle of a store. A clone refers to the same store.
///
/// A new kind of store is a type that implements this trait, and a function of [`Stores`](super::Stores).
pub trait TypedStore: Clone + Sized + 'static {
    /// Type of its keys.
    type Key: 'static;
    /// Type of its values.
    type Value: 'static;

    /// Opens the task's store of that name.
    ///
    /// # Errors
    /// `Internal` if the task has no store of that name and kind.
    fn open(site: StoreSite<'_, '_, Self::Key, Self::Value>) -> Result<Self>;
}

/// What is needed to open a store: where it is, its name, and its codecs.
pub struct StoreSite<'a, 'w, K, V> {
    pub(in crate::dsl) wiring: &'a Wiring<'w>,
    pub(in crate::dsl) name: &'a str,
    pub(in crate::dsl) key: SharedCodec<K>,
    pub(in crate::dsl) value: SharedCodec<V>,
    /// Counts the records it refuses.
    pub(in crate::dsl) expired: &'a ExpiredPuts,
}

impl<K, V> StoreSite<'_, '_, K, V> {
    /// Refuses a global store, which has one value per key.
    pub(in crate::dsl) fn check_own(&self, kind: &str) -> Result<()> {
        match self.wiring.global_rows(self.name) {
            None => Ok(()),
            Some(_) => Err(Error::invalid(format!(
                "store {:?} is global and {kind}; a global store has one value per key",
                self.name
            ))),
        }
    }
}

/// Opens a store by its name as a handle of type `S`.
pub(in crate::dsl) fn opens<S: TypedStore>(
    name: String,
    key: SharedCodec<S::Key>,
    value: SharedCodec<S::Value>,
) -> OpenStore {
    Arc::new(move |wiring, expired| {
        let (key, value) = (key.clone(), value.clone());
        let store = S::open(StoreSite {
            wiring,
            name: &name,
            key,
            value,
            expired,
        })?;
        Ok(Box::new(store) as Box<dyn Any>)
    })
}
