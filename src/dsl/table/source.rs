//! `table`: reads a topic as the changes of a table.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::{Table, VersionedSource, VersionedView};
use crate::base::{Record, Result};
use crate::codec::{Nullable, OwnCodec, SharedCodec};
use crate::dsl::gate::{Accepts, Extract, Gate};
use crate::dsl::operator::Operator;
use crate::dsl::scratch::{Scratch, decode_row};
use crate::dsl::source::add_source;
use crate::dsl::{Change, Consumed, Materialized, StreamBuilder};
use crate::plan::OldRows;
use crate::state::KeyValueStore;
use crate::task::{Context, DropReason, Edges, Process, View, ViewPort, Wiring};

impl StreamBuilder {
    /// Reads a topic as a table whose rows are kept in a store: each record is the new row of its key, a
    /// null value deletes the row.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// let sensors = builder.table::<String, String>("sensors", "places");
    /// builder
    ///     .stream::<String, String>("readings")
    ///     .join_table(&sensors, |_, reading, place| format!("{place}: {reading}"), "place")
    ///     .to("placed");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn table<K: OwnCodec, V: OwnCodec>(
        &self,
        topic: impl Into<String>,
        store: impl Into<Materialized<V>>,
    ) -> Table<K, V> {
        self.table_with(topic, Consumed::own(), store)
    }

    /// As [`StreamBuilder::table`], with codecs and other options.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # use marea::codec::Utf8;
    /// # let builder = StreamBuilder::new();
    /// builder
    ///     .table_with("sensors", Consumed::with(Utf8, Utf8), Materialized::named("places").in_memory())
    ///     .to_stream()
    ///     .to("changes");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn table_with<K: 'static, V: 'static>(
        &self,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
        store: impl Into<Materialized<V>>,
    ) -> Table<K, V> {
        self.table_over(topic.into(), consumed, Some(store.into()))
    }

    /// Reads a topic as a table without lookups: its changes pass through, and no store keeps the rows.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// builder
    ///     .table_without_store("sensors", Consumed::<String, String>::own())
    ///     .to_stream()
    ///     .to("changes");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn table_without_store<K: 'static, V: 'static>(
        &self,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
    ) -> Table<K, V> {
        self.table_over(topic.into(), consumed, None)
    }

    fn table_over<K: 'static, V: 'static>(
        &self,
        topic: String,
        consumed: Consumed<K, V>,
        store: Option<Materialized<V>>,
    ) -> Table<K, V> {
        let key = consumed.key.clone();
        let value = match &store {
            Some(store) => store.value.clone(),
            None => consumed.value.clone(),
        };
        let nullable = Consumed {
            key: consumed.key,
            value: Arc::new(Nullable(consumed.value)),
            idle: consumed.idle,
            gate: nullable_gate(consumed.gate),
        };
        let source = add_source(&self.graph, "table_source", vec![topic], nullable);
        let cached = store.as_ref().is_some_and(|store| store.cached);
        let operator = Operator::new("table").of([source]);
        let Some((spec, history_ms)) = store.map(|store| store.table_spec(&self.graph, &key))
        else {
            let own_key = key.clone();
            let id = operator.add(&self.graph, move |_, _| {
                Ok(TableSource::new(
                    own_key.clone(),
                    value.clone(),
                    None,
                    false,
                ))
            });
            return Table::new(self.graph.clone(), id, key);
        };
        let (name, operator) = (spec.name.clone(), operator.store(spec));
        let operator = operator.old_rows(OldRows::Kept);
        let (own_key, own_value, own_name) = (key.clone(), value.clone(), name.clone());
        if history_ms.is_some() {
            let id = operator.add(&self.graph, move |wiring, id| {
                let (key, value) = (own_key.clone(), own_value.clone());
                let rows = wiring.store(&own_name)?;
                let sends_old = wiring.sends_old_rows(id);
                Ok(VersionedSource::new(key, value, rows, sends_old))
            });
            return Table::new(self.graph.clone(), id, key.clone())
                .with_history(history_ms)
                .with_view(name.clone(), VersionedView::make(key, value, name));
        }
        let id = operator.add(&self.graph, move |wiring, id| {
            let (key, value) = (own_key.clone(), own_value.clone());
            let rows = Some(wiring.key_value(&own_name)?);
            let sends_old = wiring.sends_old_rows(id);
            Ok(TableSource::new(key, value, rows, sends_old))
        });
        Table::new(self.graph.clone(), id, key.clone())
            .with_view(
                name.clone(),
                StoreView::make(key, value.clone(), name.clone()),
            )
            .cached_if(cached, &name, value)
    }
}

/// The gate of a table's source also sees deletions: they pass unchanged, since there is no value to
/// judge.
pub(super) fn nullable_gate<K: 'static, V: 'static>(gate: Gate<K, V>) -> Gate<K, Option<V>> {
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

/// A record with its value, or the original record if it has none.
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

/// Makes a change from each record; stores the row if the table has a store.
///
/// A null key is dropped; a null value deletes the row. The later record wins, whatever its timestamp.
/// Source: `KTableSource`.
pub(in crate::dsl) struct TableSource<K, V> {
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    store: Option<KeyValueStore>,
    sends_old: bool,
    scratch: RefCell<Scratch>,
}

impl<K, V> TableSource<K, V> {
    /// A table over `store`, or one without lookups; `sends_old` puts the old row into each change.
    pub(in crate::dsl) fn new(
        key: SharedCodec<K>,
        value: SharedCodec<V>,
        store: Option<KeyValueStore>,
        sends_old: bool,
    ) -> Self {
        Self {
            key,
            value,
            store,
            sends_old,
            scratch: RefCell::default(),
        }
    }
}

impl<K: 'static, V: 'static> Process for TableSource<K, V> {
    type KeyIn = K;
    type ValueIn = Option<V>;
    type KeyOut = K;
    type ValueOut = Change<V>;

    fn process(
        &self,
        record: Record<K, Option<V>>,
        out: &Edges<K, Change<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        let Record {
            key,
            value,
            timestamp_ms,
            headers,
        } = record;
        let value = value.filter(|value| !self.value.is_null(value));
        let mut scratch = self.scratch.borrow_mut();
        if !scratch.encode_key(&*self.key, &key)? {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        let mut old = None;
        if let Some(store) = &self.store {
            if self.sends_old {
                let row = store.get(&scratch.key, |row| decode_row(&*self.value, row))??;
                old = row.map(|(row, _)| row);
            }
            match &value {
                Some(row) if scratch.encode_row(&*self.value, row, timestamp_ms)? => {
                    store.put(&scratch.key, Some(&scratch.row))?;
                }
                _ => store.put(&scratch.key, None)?,
            }
        }
        drop(scratch);
        out.push(
            Record {
                key,
                value: Change { new: value, old },
                timestamp_ms,
                headers,
            },
            cx,
        )
    }
}

/// The view of a store: its current rows.
pub(in crate::dsl) struct StoreView<K, V> {
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    store: KeyValueStore,
    scratch: RefCell<Scratch>,
}

impl<K, V> StoreView<K, V> {
    /// A view of a store of timestamped rows.
    pub(in crate::dsl) fn new(
        key: SharedCodec<K>,
        value: SharedCodec<V>,
        store: KeyValueStore,
    ) -> Self {
        Self {
            key,
            value,
            store,
            scratch: RefCell::default(),
        }
    }
}

impl<K: 'static, V: 'static> StoreView<K, V> {
    /// Makes the view of a store within a task.
    pub(in crate::dsl) fn make(
        key: SharedCodec<K>,
        value: SharedCodec<V>,
        store: String,
    ) -> impl Fn(&mut Wiring<'_>) -> Result<ViewPort<K, V>> + Send + Sync + 'static {
        move |wiring| {
            let store = wiring.key_value(&store)?;
            Ok(Rc::new(Self::new(key.clone(), value.clone(), store)))
        }
    }
}

impl<K: 'static, V: 'static> View<K, V> for StoreView<K, V> {
    fn get(&self, key: &K, _cx: &mut Context) -> Result<Option<(V, i64)>> {
        let mut scratch = self.scratch.borrow_mut();
        if !scratch.encode_key(&*self.key, key)? {
            return Ok(None);
        }
        self.store
            .get(&scratch.key, |row| decode_row(&*self.value, row))?
    }
}
