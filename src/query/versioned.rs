//! Rows with a history: which value a key has, and which one it had.

use std::sync::Arc;

use super::Typed;
use crate::base::Result;
use crate::codec::{Codec, OwnCodec};
use crate::runtime::View;
use crate::state::{self, VersionedStore};

/// A value that a key has or had, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version<V> {
    /// The value.
    pub value: V,
    /// Start of its validity, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// End of its validity, in milliseconds since 1970; `None` if it is the newest.
    pub valid_to_ms: Option<i64>,
}

/// The rows of a versioned store in a view: [`View::versioned`].
pub struct VersionedRows<'a, K, V>(Typed<'a, K, V>);

impl View {
    /// The rows of a versioned store, with the types' own codecs.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # use std::time::Duration;
    /// # fn example(application: &Application) -> marea::Result<()> {
    /// // builder.table::<String, f64>("prices-in", Materialized::named("prices").versioned(..))
    /// let view = application.queries().view()?;
    /// let prices = view.versioned::<String, f64>("prices")?;
    /// let wheat = "wheat".to_owned();
    /// let now = prices.get(&wheat)?.map(|version| version.value);
    /// let then = prices.get_as_of(&wheat, 1_764_489_600_000)?.map(|version| version.value);
    /// # drop((now, then));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Invalid` if there is no such store, or its keys and values have other types.
    pub fn versioned<K: OwnCodec, V: OwnCodec>(
        &self,
        store: &str,
    ) -> Result<VersionedRows<'_, K, V>> {
        self.versioned_with(store, K::codec(), V::codec())
    }

    /// Like [`View::versioned`], with your own codecs.
    ///
    /// # Errors
    /// As [`View::versioned`].
    pub fn versioned_with<K: 'static, V: 'static>(
        &self,
        store: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Result<VersionedRows<'_, K, V>> {
        let codecs = (Arc::new(key) as _, Arc::new(value) as _);
        Ok(VersionedRows(Typed::open(self, store, codecs)?))
    }
}

impl<K: 'static, V: 'static> VersionedRows<'_, K, V> {
    /// The newest version of a key; none if it was deleted.
    ///
    /// # Errors
    /// `Unavailable` if the key's task is not in this process; `User` if a codec fails.
    pub fn get(&self, key: &K) -> Result<Option<Version<V>>> {
        let key = self.0.key(key)?;
        let store: VersionedStore = self.0.store_of(&key)?;
        store.get(&key, |version| self.version(version))?
    }

    /// The version of a key that was valid at a time, in milliseconds since 1970; none for a time before the
    /// store's history, unless it is the newest.
    ///
    /// # Errors
    /// As [`VersionedRows::get`].
    pub fn get_as_of(&self, key: &K, as_of_ms: i64) -> Result<Option<Version<V>>> {
        let key = self.0.key(key)?;
        let store: VersionedStore = self.0.store_of(&key)?;
        store.get_as_of(&key, as_of_ms, |version| self.version(version))?
    }

    fn version(&self, version: Option<state::Version<'_>>) -> Result<Option<Version<V>>> {
        let version = version.map(|version| {
            Ok(Version {
                value: self.0.types.value.decode(Some(version.row))?,
                timestamp_ms: version.since_ms,
                valid_to_ms: version.until_ms,
            })
        });
        version.transpose()
    }
}

impl<K, V> std::fmt::Debug for VersionedRows<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("VersionedRows")
            .field(&self.0.types.store)
            .finish()
    }
}
