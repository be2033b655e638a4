//! `merge`, and the exits of a `split`: passes records on.

use std::marker::PhantomData;

use crate::base::{Record, Result};
use crate::task::{Context, Edges, Process};

/// Forwards every record unchanged. A merge is this node with several parents.
pub struct Pass<K, V>(PhantomData<fn(K, V)>);

impl<K, V> Default for Pass<K, V> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<K: 'static, V: 'static> Process for Pass<K, V> {
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = K;
    type ValueOut = V;

    #[inline]
    fn process(&self, record: Record<K, V>, out: &Edges<K, V>, cx: &mut Context) -> Result<()> {
        out.push(record, cx)
    }
}
