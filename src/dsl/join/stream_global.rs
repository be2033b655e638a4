//! `join_global`, `left_join_global`: joins each record of a stream with a row of a global table, by a
//! key of its choice.
//!
//! Only the stream's records produce results; they see the table as it is when they arrive. A record with
//! a null value is dropped and counted, and so is a record of the inner join that refers to no row; the
//! record's own key may be null. Source: `KStreamKTableJoinProcessor` under `KStreamGlobalKTableJoin`.

use std::marker::PhantomData;
use std::sync::Arc;

use super::joined_row::{InnerRow, JoinRow, LeftRow};
use crate::base::{Record, Result};
use crate::codec::{Codec, OwnCodec, SharedCodec};
use crate::dsl::operator::Operator;
use crate::dsl::{GlobalTable, Stream, TimestampedKeyValueStore};
use crate::task::{Context, DropReason, Edges, Process};

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Joins each record with the row of a global table that it refers to: `key` returns the row's key,
    /// or `None`. A record that refers to no row, or to one that does not exist, has no result. The
    /// stream needs no repartition.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// # let oceans = builder.global_table::<String, String>("oceans", "oceans-rows");
    /// // A reading is "<ocean>;<temperature>".
    /// readings
    ///     .join_global(
    ///         &oceans,
    ///         |_sensor, reading| reading.split_once(';').map(|(ocean, _)| ocean.to_owned()),
    ///         |_sensor, reading, ocean| format!("{reading} in the {ocean}"),
    ///     )
    ///     .to("placed");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn join_global<L: 'static, W: 'static, R: 'static, O: Into<Option<L>> + 'static>(
        self,
        table: &GlobalTable<L, W>,
        key: impl Fn(&K, &V) -> O + Send + Sync + 'static,
        join: impl Fn(&K, V, W) -> R + Send + Sync + 'static,
    ) -> Stream<K, R>
    where
        V: OwnCodec,
    {
        self.join_global_with(table, key, join, V::codec())
    }

    /// As [`Stream::join_global`]; the codec is only used to check whether a value is null.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # use marea::codec::Utf8;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, Option<String>>("readings");
    /// # let oceans = builder.global_table::<String, String>("oceans", "oceans-rows");
    /// readings
    ///     .join_global_with(&oceans, |_, ocean| ocean.clone(), |_, _, ocean| ocean, Nullable(Utf8))
    ///     .to("placed");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn join_global_with<L: 'static, W: 'static, R: 'static, O: Into<Option<L>> + 'static>(
        self,
        table: &GlobalTable<L, W>,
        key: impl Fn(&K, &V) -> O + Send + Sync + 'static,
        join: impl Fn(&K, V, W) -> R + Send + Sync + 'static,
        value: impl Codec<V>,
    ) -> Stream<K, R> {
        let join = InnerRow(Arc::new(join));
        self.global("join_global", table, key, join, Arc::new(value))
    }

    /// As [`Stream::join_global`]; a record that refers to no row, or to one that does not exist, is
    /// joined with `None`.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// # let oceans = builder.global_table::<String, String>("oceans", "oceans-rows");
    /// readings
    ///     .left_join_global(
    ///         &oceans,
    ///         |_sensor, reading| reading.split_once(';').map(|(ocean, _)| ocean.to_owned()),
    ///         |_sensor, reading, ocean| format!("{reading} in the {}", ocean.unwrap_or("sea".to_owned())),
    ///     )
    ///     .to("placed");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn left_join_global<L: 'static, W: 'static, R: 'static, O: Into<Option<L>> + 'static>(
        self,
        table: &GlobalTable<L, W>,
        key: impl Fn(&K, &V) -> O + Send + Sync + 'static,
        join: impl Fn(&K, V, Option<W>) -> R + Send + Sync + 'static,
    ) -> Stream<K, R>
    where
        V: OwnCodec,
    {
        self.left_join_global_with(table, key, join, V::codec())
    }

    /// As [`Stream::left_join_global`]; the codec is only used to check whether a value is null.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # use marea::codec::Utf8;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, Option<String>>("readings");
    /// # let oceans = builder.global_table::<String, String>("oceans", "oceans-rows");
    /// readings
    ///     .left_join_global_with(&oceans, |_, ocean| ocean.clone(), |_, _, ocean| ocean, Nullable(Utf8))
    ///     .to("placed");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn left_join_global_with<
        L: 'static,
        W: 'static,
        R: 'static,
        O: Into<Option<L>> + 'static,
    >(
        self,
        table: &GlobalTable<L, W>,
        key: impl Fn(&K, &V) -> O + Send + Sync + 'static,
        join: impl Fn(&K, V, Option<W>) -> R + Send + Sync + 'static,
        value: impl Codec<V>,
    ) -> Stream<K, R> {
        let join = LeftRow(Arc::new(join));
        self.global("left_join_global", table, key, join, Arc::new(value))
    }

    fn global<L: 'static, W: 'static, R: 'static, O: Into<Option<L>> + 'static, J>(
        self,
        word: &'static str,
        table: &GlobalTable<L, W>,
        select: impl Fn(&K, &V) -> O + Send + Sync + 'static,
        join: J,
        value: SharedCodec<V>,
    ) -> Stream<K, R>
    where
        J: JoinRow<K, V, W, R>,
    {
        let (select, table) = (Arc::new(select), table.clone());
        let operator = Operator::new(word).of([self.id]).uses(&*table.store);
        let id = operator.add(&self.graph, move |wiring, _| {
            Ok(JoinGlobal {
                select: select.clone(),
                join: join.clone(),
                value: value.clone(),
                key: table.key.clone(),
                rows: table.open(wiring)?,
                types: PhantomData,
            })
        });
        Stream::new(self.graph, id)
    }
}

/// Looks up the row that a record refers to.
struct JoinGlobal<F, J, K, V, L, W, O, R> {
    select: Arc<F>,
    join: J,
    value: SharedCodec<V>,
    key: SharedCodec<L>,
    rows: TimestampedKeyValueStore<L, W>,
    types: PhantomData<fn(K) -> (O, R)>,
}

impl<F, J, K, V, L, W, O, R> Process for JoinGlobal<F, J, K, V, L, W, O, R>
where
    F: Fn(&K, &V) -> O + 'static,
    J: JoinRow<K, V, W, R>,
    O: Into<Option<L>> + 'static,
    K: 'static,
    V: 'static,
    L: 'static,
    W: 'static,
    R: 'static,
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
        let selected: Option<L> = (self.select)(&record.key, &record.value).into();
        let row = match selected.filter(|key| !self.key.is_null(key)) {
            Some(key) => self.rows.get(&key)?.map(|(row, _)| row),
            None if J::KEEPS_ALONE => None,
            None => {
                cx.drop_record(DropReason::NullKey);
                return Ok(());
            }
        };
        self.join.push(record, row, out, cx)
    }
}
