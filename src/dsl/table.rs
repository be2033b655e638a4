//! Tables: the latest row of each key, as it changes.

use std::sync::Arc;

use super::builder::SharedGraph;
use super::{Stream, Suppressed};
use crate::base::{Error, Record, Result};
use crate::codec::{SharedCodec, Windowed};
use crate::operator::{
    Change, FilterView, HoldSpec, MapView, OldRows, Suppress, TableFilter, TableMapValues, ToStream,
};
use crate::plan::{LogicalId, LogicalKind, LogicalNode};
use crate::state::{Medium, StoreKind, StoreSpec};
use crate::task::{ViewPort, Wiring};

/// Makes the view of a table within a task.
pub(super) type MakeView<K, V> =
    Arc<dyn Fn(&mut Wiring<'_>) -> Result<ViewPort<K, V>> + Send + Sync>;

/// A table: each record on it is the new row of a key, or its deletion.
///
/// A table over a store can be joined with; what is mapped or filtered from it is a view that computes
/// each row when it is asked for.
#[must_use = "a table does nothing until it ends in a stream or a join"]
pub struct Table<K, V> {
    pub(super) graph: SharedGraph,
    pub(super) id: LogicalId,
    pub(super) key: SharedCodec<K>,
    /// How to look into it, and the stores that are behind.
    pub(super) view: Option<(Vec<String>, MakeView<K, V>)>,
    /// How to ask for old rows, where there is a store to read them from.
    pub(super) old_rows: Option<OldRows>,
    pub(super) windows: Option<HoldSpec>,
}

impl<K: Clone + 'static, V: Clone + 'static> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        let copy: fn(&Record<K, Change<V>>) -> Record<K, Change<V>> = Record::clone;
        self.graph.borrow_mut().node_mut(self.id).copier = Some(Arc::new(copy));
        Self {
            graph: self.graph.clone(),
            id: self.id,
            key: self.key.clone(),
            view: self.view.clone(),
            old_rows: self.old_rows.clone(),
            windows: self.windows,
        }
    }
}

impl<K: 'static, V: 'static> Table<K, V> {
    pub(super) fn new(graph: SharedGraph, id: LogicalId, key: SharedCodec<K>) -> Self {
        Self {
            graph,
            id,
            key,
            view: None,
            old_rows: None,
            windows: None,
        }
    }

    pub(super) fn with_view(
        mut self,
        store: String,
        make: impl Fn(&mut Wiring<'_>) -> Result<ViewPort<K, V>> + Send + Sync + 'static,
    ) -> Self {
        self.view = Some((vec![store], Arc::new(make)));
        self
    }

    pub(super) fn with_windows(mut self, hold: HoldSpec) -> Self {
        self.windows = Some(hold);
        self
    }

    pub(super) fn with_old_rows(mut self, old_rows: OldRows) -> Self {
        self.old_rows = Some(old_rows);
        self
    }

    pub(super) fn view(&self) -> Option<&(Vec<String>, MakeView<K, V>)> {
        self.view.as_ref()
    }

    /// Names the operator that made this table, for descriptions.
    ///
    /// ```
    /// # use marea::codec::{Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let sensors = builder.table("sensors", Consumed::with(Utf8, Utf8));
    /// sensors.named("sensors").to_stream().to("out", Produced::with(Utf8, Nullable(Utf8)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn named(self, name: impl Into<String>) -> Self {
        self.graph.borrow_mut().node_mut(self.id).name = Some(name.into());
        self
    }

    /// Makes another row of each. A deletion stays one; a row that maps to `None` is deleted. The
    /// result has no store: joined with, it computes the row it is asked for.
    ///
    /// ```
    /// # use marea::codec::{I64, Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let sensors = builder.table("sensors", Consumed::with(Utf8, Utf8));
    /// sensors
    ///     .map_values(|_sensor, place| place.len() as i64)
    ///     .to_stream()
    ///     .to("lengths", Produced::with(Utf8, Nullable(I64)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn map_values<W: 'static, R: Into<Option<W>>>(
        self,
        map: impl Fn(&K, V) -> R + Send + Sync + 'static,
    ) -> Table<K, W> {
        let map = Arc::new(map);
        let mut node = LogicalNode::new("table_map_values", LogicalKind::Operator, vec![self.id]);
        let own = map.clone();
        node.make = Some(Arc::new(move |wiring, id| {
            let map = own.clone();
            let process = TableMapValues::new(move |key: &K, row: V| map(key, row).into());
            wiring.add_process(id, process)
        }));
        let id = self.graph.borrow_mut().add(node);
        let view = self.view.map(|(stores, below)| {
            let make: MakeView<K, W> = Arc::new(move |wiring| {
                let map = map.clone();
                let below = below(wiring)?;
                let view = MapView::new(move |key: &K, row: V| map(key, row).into(), below);
                Ok(std::rc::Rc::new(view) as ViewPort<K, W>)
            });
            (stores, make)
        });
        Table {
            graph: self.graph,
            id,
            key: self.key,
            view,
            old_rows: self.old_rows,
            windows: self.windows,
        }
    }

    /// Keeps the rows for which `accepts` holds; for any other a deletion goes out, since it may have
    /// passed before. The result has no store, as with [`Table::map_values`].
    ///
    /// ```
    /// # use marea::codec::{Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let sensors = builder.table("sensors", Consumed::with(Utf8, Utf8));
    /// sensors
    ///     .filter(|_sensor, place| place != "dock")
    ///     .to_stream()
    ///     .to("at-sea", Produced::with(Utf8, Nullable(Utf8)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn filter(self, accepts: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        let accepts = Arc::new(accepts);
        self.old_rows.iter().for_each(OldRows::ask);
        let drops_redundant = self.old_rows.is_some();
        let mut node = LogicalNode::new("table_filter", LogicalKind::Operator, vec![self.id]);
        let own = accepts.clone();
        node.make = Some(Arc::new(move |wiring, id| {
            let accepts = own.clone();
            let process =
                TableFilter::new(move |key: &K, row: &V| accepts(key, row), drops_redundant);
            wiring.add_process(id, process)
        }));
        let id = self.graph.borrow_mut().add(node);
        let view = self.view.map(|(stores, below)| {
            let make: MakeView<K, V> = Arc::new(move |wiring| {
                let accepts = accepts.clone();
                let below = below(wiring)?;
                let view = FilterView::new(move |key: &K, row: &V| accepts(key, row), below);
                Ok(std::rc::Rc::new(view) as ViewPort<K, V>)
            });
            (stores, make)
        });
        Table {
            graph: self.graph,
            id,
            key: self.key,
            view,
            old_rows: self.old_rows,
            windows: self.windows,
        }
    }

    /// The changes as records: the new row, or `None` for a deletion.
    ///
    /// ```
    /// # use marea::codec::{Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let sensors = builder.table("sensors", Consumed::with(Utf8, Utf8));
    /// sensors.to_stream().to("changes", Produced::with(Utf8, Nullable(Utf8)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn to_stream(self) -> Stream<K, Option<V>> {
        let mut node = LogicalNode::new("to_stream", LogicalKind::Operator, vec![self.id]);
        node.make = Some(Arc::new(|wiring, id| {
            wiring.add_process(id, ToStream::<K, V>::default())
        }));
        let id = self.graph.borrow_mut().add(node);
        Stream::new(self.graph, id)
    }
}

impl<K: 'static, V: 'static> Table<Windowed<K>, V> {
    /// Holds each row until its window closes, then lets its last state go, once. Rows that were
    /// deleted meanwhile never go. Time moves with the records; at the end of a bounded input,
    /// draining the application closes what is open.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::codec::{I64, Nullable, Utf8, WindowedCodec};
    /// # use marea::dsl::{Consumed, Grouped, Produced, StreamBuilder, Suppressed, TimeWindows};
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream("readings", Consumed::with(Utf8, Utf8));
    /// readings
    ///     .group_by_key(Grouped::with("by-sensor", Utf8, Utf8))
    ///     .windowed_by(TimeWindows::of(Duration::from_secs(60)).grace(Duration::from_secs(5)))
    ///     .count("per-minute")
    ///     .suppress(Suppressed::until_window_closes("final", I64))
    ///     .to_stream()
    ///     .to("out", Produced::with(WindowedCodec::new(Utf8, 60_000), Nullable(I64)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn suppress(self, suppressed: Suppressed<V>) -> Self {
        let Suppressed { name, value } = suppressed;
        let store = format!("{name}-store");
        let hold = self.windows.unwrap_or_else(|| {
            let message = format!("suppress {name:?} stands behind a table that is not windowed");
            self.graph.borrow_mut().report(Error::invalid(message));
            HoldSpec {
                size_ms: 0,
                grace_ms: 0,
            }
        });
        let mut node = LogicalNode::new("suppress", LogicalKind::Operator, vec![self.id]);
        node.name = Some(name);
        // A row comes out when its window closes, and is as old as that.
        node.holds_back_ms = Some(hold.size_ms.saturating_add(hold.grace_ms));
        node.stores.push(StoreSpec {
            name: store.clone(),
            kind: StoreKind::KeyValue,
            medium: Medium::Persistent,
            timestamped: false,
            logged: true,
            codecs: (self.key.name(), value.name()),
        });
        node.uses_stores.push(store.clone());
        let key = self.key.clone();
        node.make = Some(Arc::new(move |wiring, id| {
            let held = (store.as_str().into(), wiring.key_value(&store)?);
            let observed = wiring.time(&format!("operator/{store}"));
            let closed = wiring.time(&format!("operator/{store}/closed"));
            let codecs = (key.clone(), value.clone());
            let times = (observed, closed);
            let bound = (wiring.bound(id), wiring.hold(id)?);
            let process = Suppress::new(hold, codecs, held, times, bound);
            wiring.add_process::<Suppress<K, V>>(id, process)
        }));
        let id = self.graph.borrow_mut().add(node);
        Table {
            graph: self.graph,
            id,
            key: self.key,
            view: None,
            old_rows: None,
            windows: self.windows,
        }
    }
}
