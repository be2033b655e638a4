//! `join_table`, `left_join_table`: joins each record of a stream with the current row of a table.
//!
//! Only the stream's records produce results; they see the table as it is when they arrive or, if it is
//! versioned, as it was at their time. A record with a null value is dropped and counted, and so is one
//! with a null key in the inner join; the left join treats a null key as one that has no row. Source:
//! `KStreamKTableJoinProcessor`, KIP-962.

use std::marker::PhantomData;
use std::sync::Arc;

use super::grace_buffer::add_buffer;
use super::joined_row::{InnerRow, JoinRow, LeftRow};
use crate::base::{Error, Record, Result};
use crate::codec::SharedCodec;
use crate::dsl::operator::Operator;
use crate::dsl::repartition::repartition;
use crate::dsl::sink::NullKeys;
use crate::dsl::{Joined, Stream, Table};
use crate::task::{Context, DropReason, Edges, Process, ViewPort};

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Joins each record with the current row of a table; a record whose key has no row has no result.
    /// The table must have a store. A versioned one
    /// ([`Materialized::versioned`](crate::dsl::Materialized::versioned)) supplies the row that was valid
    /// at the record's time.
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
        let join = InnerRow(Arc::new(join));
        self.table_join("join_table", table, joined.into(), join)
    }

    /// Joins each record with the current row of a table, or with `None` if there is none, as for a null
    /// key. The table must have a store.
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
        let join = LeftRow(Arc::new(join));
        self.table_join("left_join_table", table, joined.into(), join)
    }

    fn table_join<W: 'static, R: 'static, J: JoinRow<K, V, W, R>>(
        self,
        word: &'static str,
        table: &Table<K, W>,
        joined: Joined<K, V>,
        join: J,
    ) -> Stream<K, R> {
        let graph = self.graph;
        let Joined {
            name,
            key,
            value,
            grace,
        } = joined;
        let null_keys = match J::KEEPS_ALONE {
            true => NullKeys::Keep,
            false => NullKeys::Drop,
        };
        let codecs = (key.clone(), value.clone());
        let mut parent = repartition(&graph, self.id, name.clone(), codecs, null_keys);
        if let Some(grace) = grace {
            let codecs = (key.clone(), value.clone());
            parent = add_buffer(&graph, parent, &name, codecs, (grace, table.history_ms()));
        }
        let view = table.view().cloned();
        if view.is_none() {
            graph.borrow_mut().report(Error::invalid(format!(
                "join {name:?} needs a table with a store; make it with `StreamBuilder::table`"
            )));
        }
        let stores = view.iter().flat_map(|(stores, _)| stores.iter().cloned());
        let operator = stores.fold(Operator::new(word).of([parent]), Operator::uses);
        let id = operator.joins_partitions().add(&graph, move |wiring, _| {
            let (_, view) = view
                .as_ref()
                .ok_or_else(|| Error::internal("the table of a join has no store"))?;
            Ok(JoinTable {
                join: join.clone(),
                key: key.clone(),
                value: value.clone(),
                table: view(wiring)?,
                types: PhantomData,
            })
        });
        Stream::new(graph, id)
    }
}

/// Joins with the rows of a table; the codecs are only used to check for null.
struct JoinTable<J, K, V, W, R> {
    join: J,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    table: ViewPort<K, W>,
    types: PhantomData<fn() -> R>,
}

impl<J, R, K, V, W> Process for JoinTable<J, K, V, W, R>
where
    J: JoinRow<K, V, W, R>,
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
        let is_alone = self.key.is_null(&record.key);
        if is_alone && !J::KEEPS_ALONE {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        if self.value.is_null(&record.value) {
            cx.drop_record(DropReason::NullValue);
            return Ok(());
        }
        let row = match is_alone {
            true => None,
            false => self.table.get_at(&record.key, record.timestamp_ms, cx)?,
        };
        let row = row.map(|(row, _)| row);
        self.join.push(record, row, out, cx)
    }
}
