//! `map_values` of a table: a computation over each row, with no store of its own.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use super::{MakeView, Table};
use crate::base::{Record, Result};
use crate::dsl::Change;
use crate::dsl::operator::Operator;
use crate::plan::OldRows;
use crate::task::{Context, Edges, Process, View, ViewPort};

impl<K: 'static, V: 'static> Table<K, V> {
    /// Makes another row from each. A deletion remains one; a row that maps to `None` is deleted. The
    /// result has no store: when it is joined, it computes the row on demand.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let sensors = builder.table::<String, String>("sensors", "sensors-rows");
    /// sensors
    ///     .map_values(|_sensor, place| place.len() as i64)
    ///     .to_stream()
    ///     .to("lengths");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn map_values<W: 'static, R: Into<Option<W>>>(
        self,
        map: impl Fn(&K, V) -> R + Send + Sync + 'static,
    ) -> Table<K, W> {
        let map = Arc::new(map);
        let own = map.clone();
        let operator = Operator::new("table_map_values").of([self.id]);
        let operator = operator.old_rows(OldRows::OfParents);
        let id = operator.add(&self.graph, move |_, _| {
            Ok(TableMapValues {
                map: own.clone(),
                types: PhantomData,
            })
        });
        self.derived(id, |below| -> MakeView<K, W> {
            Arc::new(move |wiring| {
                let (map, below) = (map.clone(), below(wiring)?);
                let types = PhantomData;
                Ok(Rc::new(MapView { map, below, types }) as ViewPort<K, W>)
            })
        })
    }
}

/// Maps the rows of a table; a tombstone remains one, and a row that maps to `None` becomes one.
struct TableMapValues<F, K, V, W> {
    map: Arc<F>,
    types: PhantomData<fn(K, V) -> W>,
}

impl<F, R, K, V, W> Process for TableMapValues<F, K, V, W>
where
    F: Fn(&K, V) -> R + 'static,
    R: Into<Option<W>>,
    K: 'static,
    V: 'static,
    W: 'static,
{
    type KeyIn = K;
    type ValueIn = Change<V>;
    type KeyOut = K;
    type ValueOut = Change<W>;

    fn process(
        &self,
        record: Record<K, Change<V>>,
        out: &Edges<K, Change<W>>,
        cx: &mut Context,
    ) -> Result<()> {
        let mapped = record.map_value(|key, change| Change {
            new: change.new.and_then(|row| (self.map)(key, row).into()),
            old: change.old.and_then(|row| (self.map)(key, row).into()),
        });
        out.push(mapped, cx)
    }
}

/// The view of a mapped table: maps the rows it finds in the table below.
struct MapView<F, K, V, W> {
    map: Arc<F>,
    below: ViewPort<K, V>,
    types: PhantomData<fn() -> W>,
}

impl<F, R, K, V, W> MapView<F, K, V, W>
where
    F: Fn(&K, V) -> R,
    R: Into<Option<W>>,
{
    fn map(&self, key: &K, found: Option<(V, i64)>) -> Option<(W, i64)> {
        let (row, timestamp_ms) = found?;
        Some(((self.map)(key, row).into()?, timestamp_ms))
    }
}

impl<F, R, K, V, W> View<K, W> for MapView<F, K, V, W>
where
    F: Fn(&K, V) -> R,
    R: Into<Option<W>>,
{
    fn get(&self, key: &K, cx: &mut Context) -> Result<Option<(W, i64)>> {
        let found = self.below.get(key, cx)?;
        Ok(self.map(key, found))
    }

    fn get_at(&self, key: &K, time_ms: i64, cx: &mut Context) -> Result<Option<(W, i64)>> {
        let found = self.below.get_at(key, time_ms, cx)?;
        Ok(self.map(key, found))
    }
}
