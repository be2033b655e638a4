//! `to_table`: interprets the records of a stream as rows of a table.

use super::{StoreView, Table, TableSource, VersionedSource, VersionedView};
use crate::base::{Record, Result};
use crate::codec::OwnCodec;
use crate::dsl::operator::Operator;
use crate::dsl::repartition::repartition;
use crate::dsl::sink::NullKeys;
use crate::dsl::{Change, Grouped, Materialized, Stream};
use crate::plan::OldRows;
use crate::task::{Context, Edges, Process};

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Interprets each record as the new row of its key, kept in a store; a null value deletes the row.
    /// If the key has changed, records first go through a repartition topic named after the store.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings.to_table("latest").to_stream().to("latest-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn to_table(self, store: impl Into<Materialized<V>>) -> Table<K, V>
    where
        K: OwnCodec,
        V: OwnCodec,
    {
        let store = store.into();
        let grouped = Grouped::named(store.name.clone());
        self.to_table_with(grouped, store)
    }

    /// As [`Stream::to_table`], with codecs and a name for the repartition topic.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings.to_table_with("by-sensor", "latest").to_stream().to("latest-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn to_table_with(
        self,
        grouped: impl Into<Grouped<K, V>>,
        store: impl Into<Materialized<V>>,
    ) -> Table<K, V> {
        let Grouped { name, key, value } = grouped.into();
        let store = store.into();
        let codecs = (key.clone(), value);
        let parent = repartition(&self.graph, self.id, name, codecs, NullKeys::Drop);
        let row = store.value.clone();
        let (spec, history_ms) = store.table_spec(&self.graph, &key);
        let (name, cached) = (spec.name.clone(), store.cached);
        let (own_key, own_row, own_name) = (key.clone(), row.clone(), name.clone());
        let operator = Operator::new("to_table").of([parent]).store(spec);
        let operator = operator.old_rows(OldRows::Kept);
        if history_ms.is_some() {
            let id = operator.add(&self.graph, move |wiring, id| {
                let (key, row) = (own_key.clone(), own_row.clone());
                let rows = wiring.store(&own_name)?;
                let sends_old = wiring.sends_old_rows(id);
                Ok(ToTable(VersionedSource::new(key, row, rows, sends_old)))
            });
            return Table::new(self.graph, id, key.clone())
                .with_history(history_ms)
                .with_view(name.clone(), VersionedView::make(key, row, name));
        }
        let id = operator.add(&self.graph, move |wiring, id| {
            let rows = Some(wiring.key_value(&own_name)?);
            let (key, row) = (own_key.clone(), own_row.clone());
            let sends_old = wiring.sends_old_rows(id);
            Ok(ToTable(TableSource::new(key, row, rows, sends_old)))
        });
        Table::new(self.graph, id, key.clone())
            .with_view(
                name.clone(),
                StoreView::make(key, row.clone(), name.clone()),
            )
            .cached_if(cached, &name, row)
    }
}

/// Makes a change from each record, as [`TableSource`] does for a topic's: a null value deletes the row.
struct ToTable<P>(P);

impl<K, V, P> Process for ToTable<P>
where
    K: 'static,
    V: 'static,
    P: Process<KeyIn = K, ValueIn = Option<V>, KeyOut = K, ValueOut = Change<V>>,
{
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
