//! Rows with one value per key and window.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{Found, Row, Typed};
use crate::base::Result;
use crate::codec::{Codec, OwnCodec, Windowed};
use crate::runtime::View;
use crate::state::{Direction, WindowIter, WindowStore};

/// The rows of a window store in a view: [`View::windows`]. Only windows that have not expired are included.
pub struct WindowRows<'a, K, V>(Typed<'a, K, V>);

impl View {
    /// The rows of a window store, with the types' own codecs; `K` is the key without its window.
    ///
    /// # Errors
    /// `Invalid` if there is no such store, or its keys and values have other types.
    pub fn windows<K: OwnCodec, V: OwnCodec>(&self, store: &str) -> Result<WindowRows<'_, K, V>> {
        self.windows_with(store, K::codec(), V::codec())
    }

    /// Like [`View::windows`], with your own codecs.
    ///
    /// # Errors
    /// As [`View::windows`].
    pub fn windows_with<K: 'static, V: 'static>(
        &self,
        store: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Result<WindowRows<'_, K, V>> {
        let codecs = (Arc::new(key) as _, Arc::new(value) as _);
        Ok(WindowRows(Typed::open(self, store, codecs)?))
    }
}

impl<K: 'static, V: 'static> WindowRows<'_, K, V> {
    /// The row of a key in the window that starts at `start_ms`, in milliseconds since 1970.
    ///
    /// # Errors
    /// `Unavailable` if the key's task is not in this process; `User` if a codec fails.
    pub fn get(&self, key: &K, start_ms: i64) -> Result<Option<Row<V>>> {
        let key = self.0.key(key)?;
        let store: WindowStore = self.0.store_of(&key)?;
        store.fetch(&key, start_ms, |row| {
            row.map(|row| self.0.row(row)).transpose()
        })?
    }

    /// The rows of a key in windows that start in this range, in milliseconds since 1970, by their start.
    ///
    /// # Errors
    /// As [`WindowRows::get`].
    pub fn fetch(
        &self,
        key: &K,
        starts_ms: RangeInclusive<i64>,
    ) -> Result<Found<'_, (Windowed<K>, Row<V>)>> {
        let key = self.0.key(key)?;
        let store: WindowStore = self.0.store_of(&key)?;
        let rows = store.fetch_range(&key, *starts_ms.start(), *starts_ms.end())?;
        Ok(self.found(vec![rows], store.rules().window_size_ms))
    }

    /// The rows of all keys in this process, in windows that start in this range, task by task.
    ///
    /// # Errors
    /// Those of the store.
    pub fn fetch_all(
        &self,
        starts_ms: RangeInclusive<i64>,
    ) -> Result<Found<'_, (Windowed<K>, Row<V>)>> {
        let (mut walks, mut size_ms) = (Vec::new(), 0);
        for store in self.0.stores::<WindowStore>()? {
            let (from_ms, to_ms) = (*starts_ms.start(), *starts_ms.end());
            walks.push(store.fetch_all(from_ms, to_ms, Direction::Forward)?);
            size_ms = store.rules().window_size_ms;
        }
        Ok(self.found(walks, size_ms))
    }

    fn found(&self, walks: Vec<WindowIter>, size_ms: i64) -> Found<'_, (Windowed<K>, Row<V>)> {
        Found::in_turn(walks, move |rows: &mut WindowIter| {
            let Some(row) = rows.next()? else {
                return Ok(None);
            };
            let window = Windowed {
                key: self.0.types.key.decode(Some(row.key))?,
                start_ms: row.start_ms,
                end_ms: row.start_ms.saturating_add(size_ms),
            };
            Ok(Some((window, self.0.row(row.row)?)))
        })
    }
}

impl<K, V> std::fmt::Debug for WindowRows<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WindowRows")
            .field(&self.0.types.store)
            .finish()
    }
}
