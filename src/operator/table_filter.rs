//! `filter` of a table: rows that do not pass are as if they were not there.

use std::marker::PhantomData;

use super::Change;
use crate::base::{Record, Result};
use crate::task::{Context, Edges, Process, View, ViewPort};

/// Passes the rows that a predicate accepts; for any other row a tombstone goes out, since it may
/// have passed before. Where the table below sends old rows it is known whether it has: a tombstone
/// for what is not there stays in. Source: `KTableFilter`.
pub struct TableFilter<F, K, V> {
    accepts: F,
    drops_redundant: bool,
    types: PhantomData<fn(K, V)>,
}

impl<F: Fn(&K, &V) -> bool, K, V> TableFilter<F, K, V> {
    /// Keeps the rows for which `accepts` returns true; `drops_redundant` where old rows come along.
    pub fn new(accepts: F, drops_redundant: bool) -> Self {
        Self {
            accepts,
            drops_redundant,
            types: PhantomData,
        }
    }
}

impl<F, K, V> Process for TableFilter<F, K, V>
where
    F: Fn(&K, &V) -> bool + 'static,
    K: 'static,
    V: 'static,
{
    type KeyIn = K;
    type ValueIn = Change<V>;
    type KeyOut = K;
    type ValueOut = Change<V>;

    fn process(
        &self,
        record: Record<K, Change<V>>,
        out: &Edges<K, Change<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        let passed = record.map_value(|key, change| Change {
            new: change.new.filter(|row| (self.accepts)(key, row)),
            old: change.old.filter(|row| (self.accepts)(key, row)),
        });
        if self.drops_redundant && passed.value.new.is_none() && passed.value.old.is_none() {
            return Ok(());
        }
        out.push(passed, cx)
    }
}

/// The view of a filtered table: shows the rows below that pass.
pub struct FilterView<F, K, V> {
    accepts: F,
    below: ViewPort<K, V>,
}

impl<F, K, V> FilterView<F, K, V> {
    /// A view over `below`.
    pub fn new(accepts: F, below: ViewPort<K, V>) -> Self {
        Self { accepts, below }
    }
}

impl<F, K, V> View<K, V> for FilterView<F, K, V>
where
    F: Fn(&K, &V) -> bool,
{
    fn get(&self, key: &K, cx: &mut Context) -> Result<Option<(V, i64)>> {
        Ok(self
            .below
            .get(key, cx)?
            .filter(|(row, _)| (self.accepts)(key, row)))
    }
}
