//! Where a topology starts.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::{Consumed, Materialized, Stream, Table};
use crate::base::{Record, Result};
use crate::codec::Nullable;
use crate::operator::{Accepts, Extract, Gate, OldRows, StoreView, StreamSource, TableSource};
use crate::plan::{Graph, LogicalId, LogicalKind, LogicalNode, lower};
use crate::state::{StoreKind, StoreSpec};
use crate::task::ViewPort;
use crate::topology::Topology;

pub(super) type SharedGraph = Rc<RefCell<Graph>>;

/// Collects streams and tables into a topology.
///
/// ```
/// use marea::codec::Utf8;
/// use marea::dsl::{Consumed, Produced, StreamBuilder};
/// let builder = StreamBuilder::new();
/// builder
///     .stream("readings", Consumed::with(Utf8, Utf8))
///     .filter(|_sensor, reading| !reading.is_empty())
///     .to("valid", Produced::with(Utf8, Utf8));
/// println!("{}", builder.build()?.describe());
/// # Ok::<(), marea::Error>(())
/// ```
#[derive(Default)]
pub struct StreamBuilder {
    pub(super) graph: SharedGraph,
}

impl StreamBuilder {
    /// A builder without any stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a topic as a stream: each record says that something happened.
    pub fn stream<K: 'static, V: 'static>(
        &self,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
    ) -> Stream<K, V> {
        self.stream_of([topic.into()], consumed)
    }

    /// Reads several topics as one stream; partition `i` of each goes to the same task.
    ///
    /// ```
    /// # use marea::codec::Utf8;
    /// # use marea::dsl::{Consumed, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// builder
    ///     .stream_of(["atlantic", "pacific"], Consumed::with(Utf8, Utf8))
    ///     .to("oceans", Produced::with(Utf8, Utf8));
    /// # builder.build().map(|_| ())
    /// # .map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn stream_of<K: 'static, V: 'static, T: Into<String>>(
        &self,
        topics: impl IntoIterator<Item = T>,
        consumed: Consumed<K, V>,
    ) -> Stream<K, V> {
        let topics = topics.into_iter().map(Into::into).collect();
        let id = self.source("source", topics, consumed);
        Stream::new(self.graph.clone(), id)
    }

    /// Reads a topic as a table that nothing looks into: each record is the new row of its key. A
    /// null value deletes the row.
    ///
    /// ```
    /// # use marea::codec::Utf8;
    /// # use marea::dsl::{Consumed, Produced, StreamBuilder};
    /// # use marea::codec::Nullable;
    /// # let builder = StreamBuilder::new();
    /// builder
    ///     .table("sensors", Consumed::with(Utf8, Utf8))
    ///     .to_stream()
    ///     .to("changes", Produced::with(Utf8, Nullable(Utf8)));
    /// # Ok::<(), marea::Error>(())
    /// ```
    pub fn table<K: 'static, V: 'static>(
        &self,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
    ) -> Table<K, V> {
        self.table_over(topic.into(), consumed, None)
    }

    /// Reads a topic as a table whose rows are kept in a store, so that streams can be joined with
    /// it.
    ///
    /// ```
    /// # use marea::codec::Utf8;
    /// # use marea::dsl::{Consumed, Joined, Materialized, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// let sensors =
    ///     builder.materialized_table("sensors", Consumed::with(Utf8, Utf8), Materialized::with("sensors", Utf8));
    /// builder
    ///     .stream("readings", Consumed::with(Utf8, Utf8))
    ///     .join_table(&sensors, |_, reading, sensor| format!("{sensor}: {reading}"), Joined::with("place", Utf8, Utf8))
    ///     .to("placed", Produced::with(Utf8, Utf8));
    /// # builder.build().map(|_| ())
    /// # .map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn materialized_table<K: 'static, V: 'static>(
        &self,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
        materialized: Materialized<V>,
    ) -> Table<K, V> {
        self.table_over(topic.into(), consumed, Some(materialized))
    }

    /// Checks the topology and cuts it into tasks.
    ///
    /// # Errors
    /// `Invalid` with a sentence that names the node and the cure.
    pub fn build(self) -> Result<Topology> {
        lower(self.graph.take())
    }

    fn source<K: 'static, V: 'static>(
        &self,
        operator: &'static str,
        topics: Vec<String>,
        consumed: Consumed<K, V>,
    ) -> LogicalId {
        let Consumed {
            key,
            value,
            idle,
            gate,
        } = consumed;
        let kind = LogicalKind::Source { topics, idle };
        let mut node = LogicalNode::new(operator, kind, Vec::new());
        node.make = Some(Arc::new(move |wiring, id| {
            let out = wiring.edges::<K, V>(id)?;
            let source = StreamSource::with_gate(key.clone(), value.clone(), gate.clone(), out);
            wiring.add_source(id, Rc::new(source));
            Ok(())
        }));
        self.graph.borrow_mut().add(node)
    }

    fn table_over<K: 'static, V: 'static>(
        &self,
        topic: String,
        consumed: Consumed<K, V>,
        materialized: Option<Materialized<V>>,
    ) -> Table<K, V> {
        let key = consumed.key.clone();
        let value = match &materialized {
            Some(materialized) => materialized.value.clone(),
            None => consumed.value.clone(),
        };
        let nullable = Consumed {
            key: consumed.key,
            value: Arc::new(Nullable(consumed.value)),
            idle: consumed.idle,
            gate: nullable_gate(consumed.gate),
        };
        let source = self.source::<K, Option<V>>("table_source", vec![topic], nullable);
        let mut node = LogicalNode::new("table", LogicalKind::Operator, vec![source]);
        let store = materialized.map(|materialized| {
            let spec = StoreSpec {
                name: materialized.name,
                kind: StoreKind::KeyValue,
                medium: materialized.medium,
                timestamped: true,
                logged: materialized.logged,
                codecs: (key.name(), value.name()),
            };
            let name = spec.name.clone();
            node.stores.push(spec);
            node.uses_stores.push(name.clone());
            name
        });
        let old_rows = OldRows::default();
        let asked = old_rows.clone();
        let (own_key, own_value, own_store) = (key.clone(), value.clone(), store.clone());
        node.make = Some(Arc::new(move |wiring, id| {
            let store = own_store
                .as_ref()
                .map(|name| wiring.key_value(name))
                .transpose()?;
            wiring.add_process(
                id,
                TableSource::new(own_key.clone(), own_value.clone(), store, asked.are_asked()),
            )
        }));
        let id = self.graph.borrow_mut().add(node);
        let table = Table::new(self.graph.clone(), id, key.clone());
        match store {
            None => table,
            Some(store) => table
                .with_old_rows(old_rows)
                .with_view(store.clone(), move |wiring| {
                    let store = wiring.key_value(&store)?;
                    let view: ViewPort<K, V> =
                        Rc::new(StoreView::new(key.clone(), value.clone(), store));
                    Ok(view)
                }),
        }
    }
}

/// The gate of a table's source, which sees deletions too: they pass it as they are, since there is no
/// value to judge.
fn nullable_gate<K: 'static, V: 'static>(gate: Gate<K, V>) -> Gate<K, Option<V>> {
    let accepts = gate.accepts.map(|accepts| -> Accepts<K, Option<V>> {
        Arc::new(move |record| match with_value(record) {
            Ok(record) => accepts(record).map(|record| record.map_value(|_, value| Some(value))),
            Err(deletion) => Some(deletion),
        })
    });
    let extract = gate.extract.map(|extract| -> Extract<K, Option<V>> {
        Arc::new(move |record, partition_time_ms| match with_value(record) {
            Ok(record) => extract(record, partition_time_ms),
            Err(deletion) => Some(deletion.timestamp_ms),
        })
    });
    Gate { accepts, extract }
}

/// A record with its value, or the record as it was if it has none.
fn with_value<K, V>(
    record: Record<K, Option<V>>,
) -> std::result::Result<Record<K, V>, Record<K, Option<V>>> {
    let Record {
        key,
        value,
        timestamp_ms,
        headers,
    } = record;
    match value {
        Some(value) => Ok(Record {
            key,
            value,
            timestamp_ms,
            headers,
        }),
        None => Err(Record {
            key,
            value: None,
            timestamp_ms,
            headers,
        }),
    }
}
