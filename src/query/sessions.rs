//! Rows with one value per key and session.

use std::sync::Arc;

use super::{Found, Row, Typed};
use crate::base::Result;
use crate::codec::{Codec, OwnCodec, Windowed};
use crate::runtime::View;
use crate::state::{Direction, SessionIter, SessionStore};

/// The rows of a session store in a view: [`View::sessions`]. Only sessions that have not expired are included.
pub struct SessionRows<'a, K, V>(Typed<'a, K, V>);

impl View {
    /// The rows of a session store, with the types' own codecs; `K` is the key without its session.
    ///
    /// # Errors
    /// `Invalid` if there is no such store, or its keys and values have other types.
    pub fn sessions<K: OwnCodec, V: OwnCodec>(&self, store: &str) -> Result<SessionRows<'_, K, V>> {
        self.sessions_with(store, K::codec(), V::codec())
    }

    /// Like [`View::sessions`], with your own codecs.
    ///
    /// # Errors
    /// As [`View::sessions`].
    pub fn sessions_with<K: 'static, V: 'static>(
        &self,
        store: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Result<SessionRows<'_, K, V>> {
        let codecs = (Arc::new(key) as _, Arc::new(value) as _);
        Ok(SessionRows(Typed::open(self, store, codecs)?))
    }
}

impl<K: 'static, V: 'static> SessionRows<'_, K, V> {
    /// The sessions of a key, by their end.
    ///
    /// # Errors
    /// `Unavailable` if the key's task is not in this process; `User` if a codec fails.
    pub fn fetch(&self, key: &K) -> Result<Found<'_, (Windowed<K>, Row<V>)>> {
        let key = self.0.key(key)?;
        let store: SessionStore = self.0.store_of(&key)?;
        Ok(self.found(vec![store.fetch_all(&key)?]))
    }

    /// All sessions in this process, task by task.
    ///
    /// # Errors
    /// Those of the store.
    pub fn all(&self) -> Result<Found<'_, (Windowed<K>, Row<V>)>> {
        let mut walks = Vec::new();
        for store in self.0.stores::<SessionStore>()? {
            walks.push(store.find_all(0, i64::MAX, Direction::Forward)?);
        }
        Ok(self.found(walks))
    }

    fn found(&self, walks: Vec<SessionIter>) -> Found<'_, (Windowed<K>, Row<V>)> {
        Found::in_turn(walks, |rows: &mut SessionIter| {
            let Some(row) = rows.next()? else {
                return Ok(None);
            };
            let session = Windowed {
                key: self.0.types.key.decode(Some(row.key))?,
                start_ms: row.start_ms,
                end_ms: row.end_ms,
            };
            Ok(Some((session, self.0.row(row.row)?)))
        })
    }
}

impl<K, V> std::fmt::Debug for SessionRows<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SessionRows")
            .field(&self.0.types.store)
            .finish()
    }
}
