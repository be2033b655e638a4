//! `map_values` of a table: a computation over each row, with no store of its own.

use std::marker::PhantomData;

use super::Change;
use crate::base::{Record, Result};
use crate::task::{Context, Edges, Process, View, ViewPort};

/// Maps the rows of a table; a tombstone stays one, and a row that maps to `None` becomes one.
pub struct TableMapValues<F, K, V, W> {
    map: F,
    types: PhantomData<fn(K, V) -> W>,
}

impl<F: Fn(&K, V) -> Option<W>, K, V, W> TableMapValues<F, K, V, W> {
    /// Applies `map` to each row.
    pub fn new(map: F) -> Self {
        Self {
            map,
            types: PhantomData,
        }
    }
}

impl<F, K, V, W> Process for TableMapValues<F, K, V, W>
where
    F: Fn(&K, V) -> Option<W> + 'static,
    K: 'static,
    V: 'static,
    W: 'static,
{
    type KeyIn = K;
    type ValueIn = Change<V>;
    type KeyOut = K;
    type ValueOut = Change<W>;

    fn process(
        &self,
        record: Record<K, Change<V>>,
        out: &Edges<K, Change<W>>,
        cx: &mut Context,
    ) -> Result<()> {
        let mapped = record.map_value(|key, change| Change {
            new: change.new.and_then(|row| (self.map)(key, row)),
            old: change.old.and_then(|row| (self.map)(key, row)),
        });
        out.push(mapped, cx)
    }
}

/// The view of a mapped table: maps what it finds in the table below.
pub struct MapView<F, K, V> {
    map: F,
    below: ViewPort<K, V>,
}

impl<F, K, V> MapView<F, K, V> {
    /// A view over `below`.
    pub fn new(map: F, below: ViewPort<K, V>) -> Self {
        Self { map, below }
    }
}

impl<F, K, V, W> View<K, W> for MapView<F, K, V>
where
    F: Fn(&K, V) -> Option<W>,
{
    fn get(&self, key: &K, cx: &mut Context) -> Result<Option<(W, i64)>> {
        let found = self.below.get(key, cx)?;
        Ok(found.and_then(|(row, timestamp_ms)| Some(((self.map)(key, row)?, timestamp_ms))))
    }
}
