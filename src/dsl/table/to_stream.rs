//! `to_stream`: the changes of a table as records.

use std::marker::PhantomData;

use super::Table;
use crate::base::{Record, Result};
use crate::dsl::operator::Operator;
use crate::dsl::{Change, Stream};
use crate::task::{Context, Edges, Process};

impl<K: 'static, V: 'static> Table<K, V> {
    /// The changes as records: the new row, or `None` for a deletion.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let sensors = builder.table::<String, String>("sensors", "sensors-rows");
    /// sensors.to_stream().to("changes");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn to_stream(self) -> Stream<K, Option<V>> {
        let operator = Operator::new("to_stream").of([self.id]);
        let id = operator.add(&self.graph, |_, _| Ok(ToStream::<K, V>(PhantomData)));
        Stream::new(self.graph, id)
    }
}

/// Forwards the new row of each change; a deletion is a record with the value `None`.
struct ToStream<K, V>(PhantomData<fn(K, V)>);

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
