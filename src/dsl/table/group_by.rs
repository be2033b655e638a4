//! `group_by` of a table: sends what a row was and what it is to the groups that it leaves and enters.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Table;
use super::changed_codec::ChangedCodec;
use crate::base::{Error, Record, Result};
use crate::codec::SharedCodec;
use crate::dsl::operator::Operator;
use crate::dsl::repartition::repartition_node;
use crate::dsl::sink::NullKeys;
use crate::dsl::{Change, Grouped, GroupedTable};
use crate::task::{Context, Edges, Process};

impl<K: 'static, V: 'static> Table<K, V> {
    /// Groups the rows by a key that `select` makes, with the value that is to be aggregated. A row that
    /// changes leaves its group and enters one; a null key or value belongs to none. The table must have
    /// a store, since the row that leaves must be known.
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
/// A change within a group is one record with both rows, else the old group is told first. Where the
/// selected key or value is null, that half takes no part. Source: `KTableRepartitionMap`, KIP-904.
struct TableGroupBy<F, K, V, L, W> {
    select: Arc<F>,
    key: SharedCodec<L>,
    value: SharedCodec<W>,
    /// Whether changes that are overtaken are left out.
    newest_only: bool,
    types: PhantomData<fn(K, V)>,
}

impl<F, K, V, L, W> TableGroupBy<F, K, V, L, W> {
    /// Groups by what `select` gives; the codecs are asked only whether something is null.
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
            // The groups have what is newer.
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
