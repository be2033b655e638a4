//! `to_stream`: the changes of a table as records.

use std::marker::PhantomData;

use super::Change;
use crate::base::{Record, Result};
use crate::task::{Context, Edges, Process};

/// Forwards the new row of each change; a deletion is a record with the value `None`.
pub struct ToStream<K, V>(PhantomData<fn(K, V)>);

impl<K, V> Default for ToStream<K, V> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<K: 'static, V: 'static> Process for ToStream<K, V> {
    type KeyIn = K;
    type ValueIn = Change<V>;
    type KeyOut = K;
    type ValueOut = Option<V>;

    fn process(
        &self,
        record: Record<K, Change<V>>,
        out: &Edges<K, Option<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        out.push(record.map_value(|_, change| change.new), cx)
    }
}
