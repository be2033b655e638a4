//! `join_table`, `left_join_table`: each record of a stream with the current row of a table.
//!
//! Only the stream's records make results; the table is looked at as it is when they arrive, or, if it is
//! versioned, as it was at their time. A null
//! value is dropped and counted, and so is a null key of the inner join; the left join takes a null
//! key for one that has no row. Source: `KStreamKTableJoinProcessor`, KIP-962.

use std::sync::Arc;

use super::grace_buffer::add_buffer;
use crate::base::{Error, Record, Result};
use crate::codec::SharedCodec;
use crate::dsl::repartition::repartition_node;
use crate::dsl::sink::NullKeys;
use crate::dsl::{Joined, Stream, Table};
use crate::plan::{LogicalKind, LogicalNode};
use crate::task::{Context, DropReason, Edges, Process, ViewPort};

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Joins each record with the current row of a table; a record whose key has no row makes no
    /// result. The table must have a store. A versioned one ([`Materialized::versioned`](crate::dsl::Materialized::versioned))
    /// gives the row that it had at the record's time.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// # let places = builder.table::<String, String>("places", "places");
    /// readings
    ///     .join_table(&places, |_sensor, reading, place| format!("{place}: {reading}"), "place")
    ///     .to("placed");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn join_table<W: 'static, R: 'static>(
        self,
        table: &Table<K, W>,
        join: impl Fn(&K, V, W) -> R + Send + Sync + 'static,
        joined: impl Into<Joined<K, V>>,
    ) -> Stream<K, R> {
        let join = Arc::new(join);
        self.table_join(
            "join_table",
            NullKeys::Drop,
            table,
            joined.into(),
            move |wiring, id, parts| {
                let join = join.clone();
                let join = move |key: &K, value: V, row: W| join(key, value, row);
                let (key, value, view) = parts;
                wiring.add_process(id, JoinTable::new(join, key, value, view))
            },
        )
    }

    /// Joins each record with the current row of a table, or with `None` where there is none; a null
    /// key has none. The table must have a store.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// # let places = builder.table::<String, String>("places", "places");
    /// readings
    ///     .left_join_table(
    ///         &places,
    ///         |_sensor, reading, place| format!("{}: {reading}", place.unwrap_or("at sea".to_owned())),
    ///         "place",
    ///     )
    ///     .to("placed");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn left_join_table<W: 'static, R: 'static>(
        self,
        table: &Table<K, W>,
        join: impl Fn(&K, V, Option<W>) -> R + Send + Sync + 'static,
        joined: impl Into<Joined<K, V>>,
    ) -> Stream<K, R> {
        let join = Arc::new(join);
        self.table_join(
            "left_join_table",
            NullKeys::Keep,
            table,
            joined.into(),
            move |wiring, id, parts| {
                let join = join.clone();
                let join = move |key: &K, value: V, row: Option<W>| join(key, value, row);
                let (key, value, view) = parts;
                wiring.add_process(id, LeftJoinTable::new(join, key, value, view))
            },
        )
    }

    fn table_join<W: 'static, R: 'static>(
        self,
        operator: &'static str,
        null_keys: NullKeys,
        table: &Table<K, W>,
        joined: Joined<K, V>,
        add: impl Fn(
            &mut crate::task::Wiring<'_>,
            crate::task::NodeId,
            (SharedCodec<K>, SharedCodec<V>, crate::task::ViewPort<K, W>),
        ) -> crate::base::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Stream<K, R> {
        let graph = self.graph;
        let Joined {
            name,
            key,
            value,
            grace,
        } = joined;
        let codecs = (key.clone(), value.clone());
        let node = repartition_node(self.id, name.clone(), codecs, null_keys, false, None);
        let mut parent = graph.borrow_mut().add(node);
        if let Some(grace) = grace {
            let codecs = (key.clone(), value.clone());
            parent = add_buffer(&graph, parent, &name, codecs, (grace, table.history_ms()));
        }
        let mut node = LogicalNode::new(operator, LogicalKind::Operator, vec![parent]);
        node.joins_partitions = true;
        match table.view().cloned() {
            Some((stores, view)) => {
                node.uses_stores.extend(stores);
                node.make = Some(Arc::new(move |wiring, id| {
                    let view = view(wiring)?;
                    add(wiring, id, (key.clone(), value.clone(), view))
                }));
            }
            None => graph.borrow_mut().report(Error::invalid(format!(
                "join {name:?} looks into a table without a store; make the table with a store: `StreamBuilder::table`"
            ))),
        }
        let id = graph.borrow_mut().add(node);
        Stream::new(graph, id)
    }
}

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
        let at_ms = record.timestamp_ms;
        let Some((row, _)) = self.table.get_at(&record.key, at_ms, cx)? else {
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
            false => {
                let found = self.table.get_at(&record.key, record.timestamp_ms, cx)?;
                found.map(|(row, _)| row)
            }
        };
        out.push(
            record.map_value(|key, value| (self.join)(key, value, row)),
            cx,
        )
    }
}
