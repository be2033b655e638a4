//! `group_by` of a table: sends what a row was and what it is to the groups that it leaves and enters.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Change;
use crate::base::{Record, Result};
use crate::codec::SharedCodec;
use crate::task::{Context, Edges, Process};

/// Selects the group and the value of each row, old and new.
///
/// A change within a group is one record with both rows, else the old group is told first. Where the
/// selected key or value is null, that half takes no part. Source: `KTableRepartitionMap`, KIP-904.
pub struct TableGroupBy<F, K, V, L, W> {
    select: Arc<F>,
    key: SharedCodec<L>,
    value: SharedCodec<W>,
    types: PhantomData<fn(K, V)>,
}

impl<F, K, V, L, W> TableGroupBy<F, K, V, L, W> {
    /// Groups by what `select` gives; the codecs are asked only whether something is null.
    pub fn new(select: Arc<F>, key: SharedCodec<L>, value: SharedCodec<W>) -> Self {
        Self {
            select,
            key,
            value,
            types: PhantomData,
        }
    }
}

impl<F, K, V, L, W> Process for TableGroupBy<F, K, V, L, W>
where
    F: Fn(&K, &V) -> (L, W) + 'static,
    K: 'static,
    V: 'static,
    L: PartialEq + 'static,
    W: 'static,
{
    type KeyIn = K;
    type ValueIn = Change<V>;
    type KeyOut = L;
    type ValueOut = Change<W>;

    fn process(
        &self,
        record: Record<K, Change<V>>,
        out: &Edges<L, Change<W>>,
        cx: &mut Context,
    ) -> Result<()> {
        let Record {
            key,
            value: change,
            timestamp_ms,
            headers,
        } = record;
        let select = |row: Option<V>| {
            let selected = row.map(|row| (self.select)(&key, &row));
            selected.filter(|(key, value)| !self.key.is_null(key) && !self.value.is_null(value))
        };
        let halves = (select(change.old), select(change.new));
        let mut send = |key: L, new: Option<W>, old: Option<W>| {
            let record = Record {
                key,
                value: Change { new, old },
                timestamp_ms,
                headers: headers.clone(),
            };
            out.push(record, cx)
        };
        match halves {
            (Some((left, old)), Some((entered, new))) if left == entered => {
                send(entered, Some(new), Some(old))
            }
            (old, new) => {
                if let Some((key, old)) = old {
                    send(key, None, Some(old))?;
                }
                if let Some((key, new)) = new {
                    send(key, Some(new), None)?;
                }
                Ok(())
            }
        }
    }
}
