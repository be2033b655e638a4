//! `peek`, `for_each`: looks at each record.

use std::marker::PhantomData;

use crate::base::{Record, Result};
use crate::task::{Context, Edges, Process};

/// Calls a closure with each record and passes the record on. What the closure does outside is not
/// part of the commit: after a crash it may see a record again.
pub struct Peek<F, K, V> {
    look: F,
    types: PhantomData<fn(K, V)>,
}

impl<F: Fn(&K, &V), K, V> Peek<F, K, V> {
    /// Calls `look` with each record.
    pub fn new(look: F) -> Self {
        Self {
            look,
            types: PhantomData,
        }
    }
}

impl<F, K, V> Process for Peek<F, K, V>
where
    F: Fn(&K, &V) + 'static,
    K: 'static,
    V: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = K;
    type ValueOut = V;

    fn process(&self, record: Record<K, V>, out: &Edges<K, V>, cx: &mut Context) -> Result<()> {
        (self.look)(&record.key, &record.value);
        out.push(record, cx)
    }
}
