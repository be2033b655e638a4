//! `group_by` of a table: sends the old and the new row to the groups that they leave and enter.

use std::marker::PhantomData;
use std::sync::Arc;

use super::GroupedTable;
use crate::base::{Error, Record, Result};
use crate::codec::SharedCodec;
use crate::dsl::operator::Operator;
use crate::dsl::repartition::repartition_node;
use crate::dsl::sink::NullKeys;
use crate::dsl::table::changed_codec::ChangedCodec;
use crate::dsl::{Change, Grouped, Table};
use crate::task::{Context, Edges, Process};

impl<K: 'static, V: 'static> Table<K, V> {
    /// Groups the rows by a key that `select` returns, together with the value to aggregate. A row that
    /// changes leaves its group and enters another; a null key or value belongs to none. The table must
    /// have a store, since the leaving row must be known.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let places = builder.table::<String, String>("places", "places");
    /// places
    ///     .group_by("by-place", |sensor, place| (place.clone(), sensor.clone()))
    ///     .count("sensors-per-place")
    ///     .to_stream()
    ///     .to("sensors-per-place-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn group_by<L: Clone + PartialEq + 'static, W: 'static>(
        self,
        grouped: impl Into<Grouped<L, W>>,
        select: impl Fn(&K, &V) -> (L, W) + Send + Sync + 'static,
    ) -> GroupedTable<L, W> {
        let Grouped { name, key, value } = grouped.into();
        let newest_only = self.history_ms().is_some();
        let knows_old_rows = self.knows_old_rows();
        let graph = self.graph;
        if !knows_old_rows {
            graph.borrow_mut().report(Error::invalid(format!(
                "{name:?} groups a table without a store, so that rows which leave a group are not known; \
                 make the table with `StreamBuilder::table`, or put `materialized` before `group_by`"
            )));
        }
        let select = Arc::new(select);
        let (own_key, own_value) = (key.clone(), value.clone());
        let operator = Operator::new("table_group_by").of([self.id]);
        let operator = operator.changes_key().wants_old_rows();
        let id = operator.add(&graph, move |_, _| {
            let (select, key, value) = (select.clone(), own_key.clone(), own_value.clone());
            Ok(TableGroupBy::<_, K, V, L, W>::new(
                select,
                key,
                value,
                newest_only,
            ))
        });
        let changes: SharedCodec<Change<W>> = Arc::new(ChangedCodec::new(value));
        let codecs = (key.clone(), changes);
        let node = repartition_node(id, name, codecs, NullKeys::Drop, true, None);
        let id = graph.borrow_mut().add(node);
        GroupedTable::new(graph, id, key)
    }
}

/// Selects the group and the value of each row, old and new.
///
/// A change within a group is one record with both rows; otherwise the old group is told first. If the
/// selected key or value is null, that half is omitted. Source: `KTableRepartitionMap`, KIP-904.
struct TableGroupBy<F, K, V, L, W> {
    select: Arc<F>,
    key: SharedCodec<L>,
    value: SharedCodec<W>,
    /// Whether out-of-order changes are left out.
    newest_only: bool,
    types: PhantomData<fn(K, V)>,
}

impl<F, K, V, L, W> TableGroupBy<F, K, V, L, W> {
    /// Groups by what `select` returns; the codecs are only used to check for null.
    pub fn new(
        select: Arc<F>,
        key: SharedCodec<L>,
        value: SharedCodec<W>,
        newest_only: bool,
    ) -> Self {
        Self {
            select,
            key,
            value,
            newest_only,
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
        if self.newest_only && cx.is_overtaken() {
            // The groups have newer data.
            return Ok(());
        }
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
