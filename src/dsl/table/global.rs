//! `global_table`: a topic as a table that every instance holds completely.

use std::rc::Rc;
use std::sync::Arc;

use super::TableSource;
use crate::base::Result;
use crate::codec::{Nullable, OwnCodec, SharedCodec};
use crate::dsl::operator::Operator;
use crate::dsl::source::StreamSource;
use crate::dsl::stores::{StoreSite, opens};
use crate::dsl::table::source::nullable_gate;
use crate::dsl::{Consumed, Materialized, StreamBuilder, TimestampedKeyValueStore, TypedStore};
use crate::plan::LogicalKind;
use crate::state::StoreKind;
use crate::task::{ExpiredPuts, Wiring};

/// A table that every instance reads completely, so that a stream can join with it by any key, regardless
/// of partitions: see [`Stream::join_global`](crate::dsl::Stream::join_global).
#[must_use = "a global table does nothing until a stream joins with it"]
pub struct GlobalTable<K, V> {
    pub(in crate::dsl) store: String,
    pub(in crate::dsl) key: SharedCodec<K>,
    value: SharedCodec<V>,
}

impl<K, V> Clone for GlobalTable<K, V> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
        }
    }
}

impl<K: 'static, V: 'static> GlobalTable<K, V> {
    /// The rows, as tasks read them.
    pub(in crate::dsl) fn open(
        &self,
        wiring: &Wiring<'_>,
    ) -> Result<TimestampedKeyValueStore<K, V>> {
        TimestampedKeyValueStore::open(StoreSite {
            wiring,
            name: &self.store,
            key: self.key.clone(),
            value: self.value.clone(),
            // Nothing is put here, so nothing is refused.
            expired: &ExpiredPuts::default(),
        })
    }
}

impl StreamBuilder {
    /// Reads all partitions of a topic as a table, in every instance: for rows that all tasks need and
    /// that are few enough to fit in memory everywhere. Everything in the topic at start is there before
    /// anything else is processed; later rows become visible as soon as they arrive, in no order relative
    /// to the records of streams.
    ///
    /// Streams join with it, and processors may read it by the store's name, as a
    /// [`TimestampedKeyValueStore`]. The rows are read again at each start:
    /// [`StreamBuilder::add_global_store`] describes the cost.
    ///
    /// ```
    /// use marea::prelude::*;
    ///
    /// let builder = StreamBuilder::new();
    /// let oceans = builder.global_table::<String, String>("oceans", "oceans-rows");
    /// builder
    ///     .stream::<String, String>("readings")
    ///     .join_global(&oceans, |_sensor, ocean| ocean.clone(), |_sensor, _ocean, name| name)
    ///     .to("named");
    ///
    /// let mut driver = Driver::new(builder.build()?)?;
    /// let oceans = driver.input_topic::<String, String>("oceans");
    /// let readings = driver.input_topic::<String, String>("readings");
    /// oceans.pipe(&mut driver, Record::new("pac".into(), "Pacific".into(), 1))?;
    /// readings.pipe(&mut driver, Record::new("s1".into(), "pac".into(), 2))?;
    /// let named = driver.output_topic::<String, String>("named");
    /// assert_eq!(named.read(&mut driver)?[0].value, "Pacific");
    /// # Ok::<(), marea::Error>(())
    /// ```
    pub fn global_table<K: OwnCodec, V: OwnCodec>(
        &self,
        topic: impl Into<String>,
        store: impl Into<Materialized<V>>,
    ) -> GlobalTable<K, V> {
        self.global_table_with(topic, Consumed::own(), store)
    }

    /// As [`StreamBuilder::global_table`], with codecs and other options. Its topic does not hold back
    /// time, so an idle time-out has no effect here.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # use marea::codec::Utf8;
    /// # let builder = StreamBuilder::new();
    /// let consumed = Consumed::with(Utf8, Utf8).accept(|ocean| !ocean.value.is_empty());
    /// let oceans = builder.global_table_with("oceans", consumed, Materialized::with("oceans-rows", Utf8));
    /// # builder.stream::<String, String>("readings").join_global(&oceans, |_, v| v.clone(), |_, _, name| name).to("named");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn global_table_with<K: 'static, V: 'static>(
        &self,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
        store: impl Into<Materialized<V>>,
    ) -> GlobalTable<K, V> {
        let Consumed {
            key, value, gate, ..
        } = consumed;
        let store = store.into();
        let table = GlobalTable {
            store: store.name.clone(),
            key: key.clone(),
            value: store.value.clone(),
        };
        let kind = LogicalKind::GlobalSource {
            topics: vec![topic.into()],
        };
        let gate = nullable_gate(gate);
        let source =
            Operator::of_kind("global_source", kind).make(&self.graph, move |wiring, id| {
                let out = wiring.edges::<K, Option<V>>(id)?;
                let value = Arc::new(Nullable(value.clone()));
                let source = StreamSource::with_gate(key.clone(), value, gate.clone(), out);
                wiring.add_source(id, Rc::new(source));
                Ok(())
            });
        let spec = store.spec(StoreKind::key_value(), &table.key);
        let open = opens::<TimestampedKeyValueStore<K, V>>(
            table.store.to_string(),
            table.key.clone(),
            table.value.clone(),
        );
        self.graph.borrow_mut().add_store(spec, open);
        let own = table.clone();
        let operator = Operator::new("global_table")
            .of([source])
            .uses(&*table.store);
        operator.add(&self.graph, move |wiring, _| {
            let rows = wiring.key_value(&own.store)?;
            Ok(TableSource::new(
                own.key.clone(),
                own.value.clone(),
                Some(rows),
                false,
            ))
        });
        table
    }
}
