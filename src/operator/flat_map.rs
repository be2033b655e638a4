//! `flat_map`, `flat_map_values`: makes any number of records of each.

use std::marker::PhantomData;

use crate::base::{Record, Result};
use crate::task::{Context, Edges, Process};

/// Turns a record into the pairs that a closure gives; each has the record's timestamp and headers.
pub struct FlatMap<F, K, V, L, W> {
    map: F,
    types: PhantomData<fn(K, V) -> (L, W)>,
}

impl<F, I, K, V, L, W> FlatMap<F, K, V, L, W>
where
    F: Fn(K, V) -> I,
    I: IntoIterator<Item = (L, W)>,
{
    /// Applies `map` to each record and forwards what it gives, in order.
    pub fn new(map: F) -> Self {
        Self {
            map,
            types: PhantomData,
        }
    }
}

impl<F, I, K, V, L, W> Process for FlatMap<F, K, V, L, W>
where
    F: Fn(K, V) -> I + 'static,
    I: IntoIterator<Item = (L, W)>,
    K: 'static,
    V: 'static,
    L: 'static,
    W: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = L;
    type ValueOut = W;

    fn process(&self, record: Record<K, V>, out: &Edges<L, W>, cx: &mut Context) -> Result<()> {
        let Record {
            key,
            value,
            timestamp_ms,
            headers,
        } = record;
        for (key, value) in (self.map)(key, value) {
            out.push(
                Record {
                    key,
                    value,
                    timestamp_ms,
                    headers: headers.clone(),
                },
                cx,
            )?;
        }
        Ok(())
    }
}
