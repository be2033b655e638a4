//! `filter`, `filter_not`: passes the records for which a predicate holds.

use std::marker::PhantomData;

use crate::base::{Record, Result};
use crate::task::{Context, Edges, Process};

/// Passes what the predicate accepts, unchanged.
pub struct Filter<F, K, V> {
    accepts: F,
    types: PhantomData<fn(K, V)>,
}

impl<F: Fn(&K, &V) -> bool, K, V> Filter<F, K, V> {
    /// Keeps the records for which `accepts` returns true.
    pub fn new(accepts: F) -> Self {
        Self {
            accepts,
            types: PhantomData,
        }
    }
}

impl<F, K, V> Process for Filter<F, K, V>
where
    F: Fn(&K, &V) -> bool + 'static,
    K: 'static,
    V: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = K;
    type ValueOut = V;

    #[inline]
    fn process(&self, record: Record<K, V>, out: &Edges<K, V>, cx: &mut Context) -> Result<()> {
        if (self.accepts)(&record.key, &record.value) {
            out.push(record, cx)
        } else {
            Ok(())
        }
    }
}
