//! `transform_values`: a computation over each row of a table that sees deletions too.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Change;
use crate::base::{Record, Result};
use crate::task::{Context, Edges, Process, View, ViewPort};

/// Transforms the rows of a table; unlike a mapping it is called for a deletion too, and may make a row
/// of it. Where old rows are asked for it is called for these as well. Source:
/// `KTableTransformValues`.
pub struct TableTransformValues<F, K, V, W> {
    transform: Arc<F>,
    sends_old: bool,
    types: PhantomData<fn(K, V) -> W>,
}

impl<F, K, V, W> TableTransformValues<F, K, V, W> {
    /// Applies `transform` to each row; `sends_old` where somebody asked for old rows.
    pub fn new(transform: Arc<F>, sends_old: bool) -> Self {
        Self {
            transform,
            sends_old,
            types: PhantomData,
        }
    }
}

impl<F, K, V, W> Process for TableTransformValues<F, K, V, W>
where
    F: Fn(&K, Option<V>) -> Option<W> + 'static,
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
        let transformed = record.map_value(|key, change| {
            let new = (self.transform)(key, change.new);
            let old = match self.sends_old {
                true => (self.transform)(key, change.old),
                false => None,
            };
            Change { new, old }
        });
        out.push(transformed, cx)
    }
}

/// The view of a transformed table: transforms what it finds, or does not find, in the table below.
pub struct TransformView<F, K, V> {
    transform: Arc<F>,
    below: ViewPort<K, V>,
}

impl<F, K, V> TransformView<F, K, V> {
    /// A view over `below`.
    pub fn new(transform: Arc<F>, below: ViewPort<K, V>) -> Self {
        Self { transform, below }
    }
}

impl<F, K, V, W> View<K, W> for TransformView<F, K, V>
where
    F: Fn(&K, Option<V>) -> Option<W>,
{
    fn get(&self, key: &K, cx: &mut Context) -> Result<Option<(W, i64)>> {
        let (row, timestamp_ms) = match self.below.get(key, cx)? {
            Some((row, timestamp_ms)) => (Some(row), timestamp_ms),
            None => (None, crate::base::NO_TIMESTAMP),
        };
        Ok((self.transform)(key, row).map(|row| (row, timestamp_ms)))
    }
}
