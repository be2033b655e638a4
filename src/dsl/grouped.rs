//! Streams grouped by key, and the tables they make.

use std::sync::Arc;

use super::builder::SharedGraph;
use super::{Materialized, Table, TimeWindows, WindowedStream};
use crate::codec::SharedCodec;
use crate::operator::{Aggregate, Initial, OldRows, StoreView};
use crate::plan::{LogicalId, LogicalKind, LogicalNode};
use crate::state::{StoreKind, StoreSpec};
use crate::task::ViewPort;

/// A fold as the grouped streams keep it: `(key, value, row so far)` to the new row.
pub(super) type SharedFold<K, V, A> = Arc<dyn Fn(&K, V, Option<A>) -> Option<A> + Send + Sync>;

/// A stream whose records of one key are together.
#[must_use = "a grouped stream does nothing until it is aggregated"]
pub struct GroupedStream<K, V> {
    pub(super) graph: SharedGraph,
    pub(super) id: LogicalId,
    pub(super) key: SharedCodec<K>,
    pub(super) value: SharedCodec<V>,
}

impl<K: 'static, V: 'static> GroupedStream<K, V> {
    pub(super) fn new(
        graph: SharedGraph,
        id: LogicalId,
        key: SharedCodec<K>,
        value: SharedCodec<V>,
    ) -> Self {
        Self {
            graph,
            id,
            key,
            value,
        }
    }

    /// Counts the records of each key. A record with a null key or a null value is dropped and
    /// counted as such.
    ///
    /// ```
    /// # use marea::codec::{I64, Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Grouped, Materialized, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream("readings", Consumed::with(Utf8, Utf8));
    /// let counts = readings
    ///     .group_by_key(Grouped::with("by-sensor", Utf8, Utf8))
    ///     .count("counts"); // or `Materialized::with("counts", I64).in_memory()`
    /// counts.to_stream().to("counts-out", Produced::with(Utf8, Nullable(I64)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn count(self, materialized: impl Into<Materialized<i64>>) -> Table<K, i64> {
        let fold = |_: &K, _: V, row: Option<i64>| Some(row.unwrap_or(0) + 1);
        self.fold(
            "count",
            Arc::new(fold),
            Arc::new(|| Some(0)),
            materialized.into(),
        )
    }

    /// Combines the values of each key, two at a time; the first is taken as it is. `None` (or a
    /// null) deletes the row.
    ///
    /// ```
    /// # use marea::codec::{I64, Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Grouped, Materialized, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream("depths", Consumed::with(Utf8, I64));
    /// depths
    ///     .group_by_key(Grouped::with("by-sensor", Utf8, I64))
    ///     .reduce(|deepest, metres| metres.max(deepest), Materialized::with("deepest", I64))
    ///     .to_stream()
    ///     .to("deepest-out", Produced::with(Utf8, Nullable(I64)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn reduce<R: Into<Option<V>>>(
        self,
        reduce: impl Fn(V, V) -> R + Send + Sync + 'static,
        materialized: Materialized<V>,
    ) -> Table<K, V> {
        let fold = move |_: &K, value: V, row: Option<V>| match row {
            Some(row) => reduce(row, value).into(),
            None => Some(value),
        };
        self.fold("reduce", Arc::new(fold), Arc::new(|| None), materialized)
    }

    /// Folds the values of each key into a row that starts as `initial`. `None` (or a null) deletes
    /// the row.
    ///
    /// ```
    /// # use marea::codec::{I64, Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Grouped, Materialized, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream("readings", Consumed::with(Utf8, Utf8));
    /// readings
    ///     .group_by_key(Grouped::with("by-sensor", Utf8, Utf8))
    ///     .aggregate(|| 0, |_sensor, reading, bytes| bytes + reading.len() as i64, Materialized::with("bytes", I64))
    ///     .to_stream()
    ///     .to("bytes-out", Produced::with(Utf8, Nullable(I64)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn aggregate<A: 'static, R: Into<Option<A>>>(
        self,
        initial: impl Fn() -> A + Send + Sync + 'static,
        aggregate: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
        materialized: Materialized<A>,
    ) -> Table<K, A> {
        let initial = Arc::new(initial);
        let first = initial.clone();
        let fold = move |key: &K, value: V, row: Option<A>| {
            aggregate(key, value, row.unwrap_or_else(|| initial())).into()
        };
        let first = Arc::new(move || Some(first()));
        self.fold("aggregate", Arc::new(fold), first, materialized)
    }

    /// Cuts time into windows: each key has a row of its own in each window.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::codec::{I64, Nullable, Utf8, WindowedCodec};
    /// # use marea::dsl::{Consumed, Grouped, Produced, StreamBuilder, TimeWindows};
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream("readings", Consumed::with(Utf8, Utf8));
    /// readings
    ///     .group_by_key(Grouped::with("by-sensor", Utf8, Utf8))
    ///     .windowed_by(TimeWindows::of(Duration::from_secs(60)).grace(Duration::from_secs(5)))
    ///     .count("per-minute")
    ///     .to_stream()
    ///     .to("per-minute-out", Produced::with(WindowedCodec::new(Utf8, 60_000), Nullable(I64)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn windowed_by(self, windows: TimeWindows) -> WindowedStream<K, V> {
        WindowedStream::new(self.graph, self.id, self.key, windows)
    }

    fn fold<A: 'static>(
        self,
        operator: &'static str,
        fold: SharedFold<K, V, A>,
        initial: Initial<A>,
        materialized: Materialized<A>,
    ) -> Table<K, A> {
        let Self {
            graph,
            id: parent,
            key,
            value,
        } = self;
        let row = materialized.value;
        let store = materialized.name;
        let mut node = LogicalNode::new(operator, LogicalKind::Operator, vec![parent]);
        node.stores.push(StoreSpec {
            name: store.clone(),
            kind: StoreKind::KeyValue,
            medium: materialized.medium,
            timestamped: true,
            logged: materialized.logged,
            codecs: (key.name(), row.name()),
        });
        node.uses_stores.push(store.clone());
        let old_rows = OldRows::default();
        let asked = old_rows.clone();
        let (own_key, own_row, own_store) = (key.clone(), row.clone(), store.clone());
        node.make = Some(Arc::new(move |wiring, id| {
            let rows = wiring.key_value(&own_store)?;
            let fold = fold.clone();
            let fold = move |key: &K, value: V, row: Option<A>| fold(key, value, row);
            let old = asked.are_asked().then(|| initial.clone());
            let (key, value, row) = (own_key.clone(), value.clone(), own_row.clone());
            wiring.add_process(id, Aggregate::new(fold, rows, key, value, row, old))
        }));
        let id = graph.borrow_mut().add(node);
        let view_key = key.clone();
        Table::new(graph, id, key)
            .with_old_rows(old_rows)
            .with_view(store.clone(), move |wiring| {
                let rows = wiring.key_value(&store)?;
                let view: ViewPort<K, A> =
                    std::rc::Rc::new(StoreView::new(view_key.clone(), row.clone(), rows));
                Ok(view)
            })
    }
}
