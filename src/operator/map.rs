//! `map`, `map_values`, `select_key`: makes one record of each.

use std::marker::PhantomData;

use crate::base::{Record, Result};
use crate::task::{Context, Edges, Process};

/// Turns key and value into another key and value; timestamp and headers stay.
pub struct Map<F, K, V, L, W> {
    map: F,
    types: PhantomData<fn(K, V) -> (L, W)>,
}

impl<F: Fn(K, V) -> (L, W), K, V, L, W> Map<F, K, V, L, W> {
    /// Applies `map` to each record.
    pub fn new(map: F) -> Self {
        Self {
            map,
            types: PhantomData,
        }
    }
}

impl<F, K, V, L, W> Process for Map<F, K, V, L, W>
where
    F: Fn(K, V) -> (L, W) + 'static,
    K: 'static,
    V: 'static,
    L: 'static,
    W: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = L;
    type ValueOut = W;

    #[inline]
    fn process(&self, record: Record<K, V>, out: &Edges<L, W>, cx: &mut Context) -> Result<()> {
        out.push(record.map(&self.map), cx)
    }
}
