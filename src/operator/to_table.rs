//! `to_table`: takes the records of a stream for the rows of a table.

use super::{Change, TableSource};
use crate::base::{Record, Result};
use crate::task::{Context, Edges, Process};

/// Makes a change of each record, as [`TableSource`] does of a topic's: a null value deletes the row.
pub struct ToTable<K, V>(TableSource<K, V>);

impl<K, V> ToTable<K, V> {
    /// A table that is kept by `table`.
    pub fn new(table: TableSource<K, V>) -> Self {
        Self(table)
    }
}

impl<K: 'static, V: 'static> Process for ToTable<K, V> {
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = K;
    type ValueOut = Change<V>;

    fn process(
        &self,
        record: Record<K, V>,
        out: &Edges<K, Change<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        let record = record.map_value(|_, value| Some(value));
        self.0.process(record, out, cx)
    }
}
