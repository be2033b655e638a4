//! `materialized`: keeps the rows of a table in a store of its own.

use std::cell::RefCell;

use super::{StoreView, Table, VersionedSource, VersionedView};
use crate::base::{Record, Result};
use crate::codec::SharedCodec;
use crate::dsl::operator::Operator;
use crate::dsl::scratch::{Scratch, decode_row};
use crate::dsl::{Change, Materialized};
use crate::plan::OldRows;
use crate::state::KeyValueStore;
use crate::task::{Context, DropReason, Edges, Process};

impl<K: 'static, V: 'static> Table<K, V> {
    /// Keeps the rows in their own store: mapped, filtered or joined rows are then computed once, when
    /// they change, and not at each lookup.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let sensors = builder.table::<String, String>("sensors", "sensors-rows");
    /// sensors
    ///     .filter(|_sensor, place| place != "dock")
    ///     .materialized("at-sea")
    ///     .to_stream()
    ///     .to("at-sea-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn materialized(self, store: impl Into<Materialized<V>>) -> Self {
        let store = store.into();
        let (key, row) = (self.key.clone(), store.value.clone());
        let (spec, history_ms) = store.table_spec(&self.graph, &key);
        let (name, cached) = (spec.name.clone(), store.cached);
        let (own_key, own_row, own_name) = (key.clone(), row.clone(), name.clone());
        let operator = Operator::new("table_store").of([self.id]).store(spec);
        let operator = operator.old_rows(OldRows::Kept);
        if history_ms.is_some() {
            let id = operator.add(&self.graph, move |wiring, id| {
                let (key, row) = (own_key.clone(), own_row.clone());
                let rows = wiring.store(&own_name)?;
                let sends_old = wiring.sends_old_rows(id);
                Ok(VersionedKeep(VersionedSource::new(
                    key, row, rows, sends_old,
                )))
            });
            return Table::new(self.graph, id, self.key)
                .with_history(history_ms)
                .with_view(name.clone(), VersionedView::make(key, row, name));
        }
        let id = operator.add(&self.graph, move |wiring, id| {
            let rows = wiring.key_value(&own_name)?;
            Ok(TableKeep::new(
                own_key.clone(),
                own_row.clone(),
                rows,
                wiring.sends_old_rows(id),
            ))
        });
        let mut table = Table::new(self.graph, id, self.key).with_view(
            name.clone(),
            StoreView::make(key, row.clone(), name.clone()),
        );
        table.windows = self.windows;
        table.cached_if(cached, &name, row)
    }
}

/// Writes each new row to a versioned store and passes it on.
struct VersionedKeep<K, V>(VersionedSource<K, V>);

impl<K: 'static, V: 'static> Process for VersionedKeep<K, V> {
    type KeyIn = K;
    type ValueIn = Change<V>;
    type KeyOut = K;
    type ValueOut = Change<V>;

    fn process(
        &self,
        record: Record<K, Change<V>>,
        out: &Edges<K, Change<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        let record = record.map_value(|_, change| change.new);
        self.0.process(record, out, cx)
    }
}

/// Writes each new row to a store and passes it on. The old row that is sent along, if needed, is the one
/// from the store.
struct TableKeep<K, V> {
    key: SharedCodec<K>,
    row: SharedCodec<V>,
    store: KeyValueStore,
    sends_old: bool,
    scratch: RefCell<Scratch>,
}

impl<K, V> TableKeep<K, V> {
    /// A table in `store`.
    pub fn new(
        key: SharedCodec<K>,
        row: SharedCodec<V>,
        store: KeyValueStore,
        sends_old: bool,
    ) -> Self {
        Self {
            key,
            row,
            store,
            sends_old,
            scratch: RefCell::default(),
        }
    }
}

impl<K: 'static, V: 'static> Process for TableKeep<K, V> {
    type KeyIn = K;
    type ValueIn = Change<V>;
    type KeyOut = K;
    type ValueOut = Change<V>;

    fn process(
        &self,
        record: Record<K, Change<V>>,
        out: &Edges<K, Change<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        let mut scratch = self.scratch.borrow_mut();
        if !scratch.encode_key(&*self.key, &record.key)? {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        let old = match self.sends_old {
            true => {
                let row = self
                    .store
                    .get(&scratch.key, |row| decode_row(&*self.row, row))??;
                row.map(|(row, _)| row)
            }
            false => None,
        };
        let timestamp_ms = record.timestamp_ms;
        let new = record.value.new.as_ref();
        match new {
            Some(row) if scratch.encode_row(&*self.row, row, timestamp_ms)? => {
                self.store.put(&scratch.key, Some(&scratch.row))?;
            }
            _ => self.store.put(&scratch.key, None)?,
        }
        drop(scratch);
        let is_row = |row: &V| !self.row.is_null(row);
        let kept = record.map_value(|_, change| Change {
            new: change.new.filter(is_row),
            old,
        });
        out.push(kept, cx)
    }
}
