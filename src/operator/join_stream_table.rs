//! `join_table`, `left_join_table`: each record of a stream with the current row of a table.
//!
//! Only the stream's records make results; the table is looked at as it is when they arrive. A null
//! value is dropped and counted, and so is a null key of the inner join; the left join takes a null
//! key for one that has no row. Source: `KStreamKTableJoinProcessor`, KIP-962.

use crate::base::{Record, Result};
use crate::codec::SharedCodec;
use crate::task::{Context, DropReason, Edges, Process, ViewPort};

/// The inner join: no row, no result.
pub struct JoinTable<F, K, V, W> {
    join: F,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    table: ViewPort<K, W>,
}

impl<F, K, V, W> JoinTable<F, K, V, W> {
    /// Joins with the rows of `table`; the codecs are asked only whether something is null.
    pub fn new(join: F, key: SharedCodec<K>, value: SharedCodec<V>, table: ViewPort<K, W>) -> Self {
        Self {
            join,
            key,
            value,
            table,
        }
    }
}

impl<F, R, K, V, W> Process for JoinTable<F, K, V, W>
where
    F: Fn(&K, V, W) -> R + 'static,
    R: 'static,
    K: 'static,
    V: 'static,
    W: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = K;
    type ValueOut = R;

    fn process(&self, record: Record<K, V>, out: &Edges<K, R>, cx: &mut Context) -> Result<()> {
        if self.key.is_null(&record.key) {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        if self.value.is_null(&record.value) {
            cx.drop_record(DropReason::NullValue);
            return Ok(());
        }
        let Some((row, _)) = self.table.get(&record.key, cx)? else {
            return Ok(());
        };
        out.push(
            record.map_value(|key, value| (self.join)(key, value, row)),
            cx,
        )
    }
}

/// The left join: no row is a row of its own.
pub struct LeftJoinTable<F, K, V, W> {
    join: F,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    table: ViewPort<K, W>,
}

impl<F, K, V, W> LeftJoinTable<F, K, V, W> {
    /// Joins with the rows of `table`; the codecs are asked only whether something is null.
    pub fn new(join: F, key: SharedCodec<K>, value: SharedCodec<V>, table: ViewPort<K, W>) -> Self {
        Self {
            join,
            key,
            value,
            table,
        }
    }
}

impl<F, R, K, V, W> Process for LeftJoinTable<F, K, V, W>
where
    F: Fn(&K, V, Option<W>) -> R + 'static,
    R: 'static,
    K: 'static,
    V: 'static,
    W: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = K;
    type ValueOut = R;

    fn process(&self, record: Record<K, V>, out: &Edges<K, R>, cx: &mut Context) -> Result<()> {
        if self.value.is_null(&record.value) {
            cx.drop_record(DropReason::NullValue);
            return Ok(());
        }
        let row = match self.key.is_null(&record.key) {
            true => None,
            false => self.table.get(&record.key, cx)?.map(|(row, _)| row),
        };
        out.push(
            record.map_value(|key, value| (self.join)(key, value, row)),
            cx,
        )
    }
}
