//! Streams grouped by key and cut into windows, and the tables they make.

use std::sync::Arc;
use std::time::Duration;

use super::builder::SharedGraph;
use super::grouped::SharedFold;
use super::windows::millis;
use super::{Materialized, Table, TimeWindows};
use crate::base::Error;
use crate::codec::{SharedCodec, Windowed, WindowedCodec};
use crate::operator::{HoldSpec, Initial, OldRows, TimeWindowSpec, WindowAggregate, WindowView};
use crate::plan::{LogicalId, LogicalKind, LogicalNode};
use crate::state::{StoreKind, StoreSpec, WindowRules};
use crate::task::ViewPort;

/// A grouped stream in windows.
#[must_use = "a windowed stream does nothing until it is aggregated"]
pub struct WindowedStream<K, V> {
    graph: SharedGraph,
    id: LogicalId,
    key: SharedCodec<K>,
    windows: TimeWindows,
    types: std::marker::PhantomData<fn(V)>,
}

impl<K: Clone + 'static, V: Clone + 'static> WindowedStream<K, V> {
    /// Counts the records of each key and window. A null key is dropped; a null value counts. A
    /// record whose window has closed is late: dropped and counted.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::codec::{I64, Nullable, Utf8, WindowedCodec};
    /// # use marea::dsl::{Consumed, Grouped, Produced, StreamBuilder, TimeWindows};
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream("readings", Consumed::with(Utf8, Utf8));
    /// readings
    ///     .group_by_key(Grouped::with("by-sensor", Utf8, Utf8))
    ///     .windowed_by(TimeWindows::of(Duration::from_secs(60)))
    ///     .count("per-minute")
    ///     .to_stream()
    ///     .to("out", Produced::with(WindowedCodec::new(Utf8, 60_000), Nullable(I64)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn count(self, materialized: impl Into<Materialized<i64>>) -> Table<Windowed<K>, i64> {
        let fold = |_: &K, _: V, row: Option<i64>| Some(row.unwrap_or(0) + 1);
        self.fold(
            "window_count",
            Arc::new(fold),
            Arc::new(|| Some(0)),
            materialized.into(),
        )
    }

    /// Combines the values of each key and window, two at a time; the first is taken as it is.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::codec::{I64, Nullable, Utf8, WindowedCodec};
    /// # use marea::dsl::{Consumed, Grouped, Materialized, Produced, StreamBuilder, TimeWindows};
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream("depths", Consumed::with(Utf8, I64));
    /// depths
    ///     .group_by_key(Grouped::with("by-sensor", Utf8, I64))
    ///     .windowed_by(TimeWindows::of(Duration::from_secs(60)))
    ///     .reduce(|deepest, metres| metres.max(deepest), Materialized::with("deepest", I64))
    ///     .to_stream()
    ///     .to("out", Produced::with(WindowedCodec::new(Utf8, 60_000), Nullable(I64)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn reduce<R: Into<Option<V>>>(
        self,
        reduce: impl Fn(V, V) -> R + Send + Sync + 'static,
        materialized: Materialized<V>,
    ) -> Table<Windowed<K>, V> {
        let fold = move |_: &K, value: V, row: Option<V>| match row {
            Some(row) => reduce(row, value).into(),
            None => Some(value),
        };
        self.fold(
            "window_reduce",
            Arc::new(fold),
            Arc::new(|| None),
            materialized,
        )
    }

    /// Folds the values of each key and window into a row that starts as `initial`. `None` (or a
    /// null) deletes the row.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::codec::{I64, Nullable, Utf8, WindowedCodec};
    /// # use marea::dsl::{Consumed, Grouped, Materialized, Produced, StreamBuilder, TimeWindows};
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream("depths", Consumed::with(Utf8, I64));
    /// depths
    ///     .group_by_key(Grouped::with("by-sensor", Utf8, I64))
    ///     .windowed_by(TimeWindows::of(Duration::from_secs(60)))
    ///     .aggregate(|| 0, |_sensor, metres, sum| sum + metres, Materialized::with("sums", I64))
    ///     .to_stream()
    ///     .to("out", Produced::with(WindowedCodec::new(Utf8, 60_000), Nullable(I64)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn aggregate<A: 'static, R: Into<Option<A>>>(
        self,
        initial: impl Fn() -> A + Send + Sync + 'static,
        aggregate: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
        materialized: Materialized<A>,
    ) -> Table<Windowed<K>, A> {
        let initial = Arc::new(initial);
        let first = initial.clone();
        let fold = move |key: &K, value: V, row: Option<A>| {
            aggregate(key, value, row.unwrap_or_else(|| initial())).into()
        };
        let first = Arc::new(move || Some(first()));
        self.fold("window_aggregate", Arc::new(fold), first, materialized)
    }

    fn fold<A: 'static>(
        self,
        operator: &'static str,
        fold: SharedFold<K, V, A>,
        initial: Initial<A>,
        materialized: Materialized<A>,
    ) -> Table<Windowed<K>, A> {
        let Self {
            graph,
            id: parent,
            key,
            windows,
            ..
        } = self;
        let windows = window_spec(&graph, windows, &materialized.name);
        let given = (materialized.name.as_str(), materialized.retention);
        let retention_ms = window_retention_ms(&graph, windows, given);
        let row = materialized.value;
        let store = materialized.name;
        let mut node = LogicalNode::new(operator, LogicalKind::Operator, vec![parent]);
        node.stores.push(StoreSpec {
            name: store.clone(),
            kind: StoreKind::Window(WindowRules {
                window_size_ms: windows.size_ms,
                retention_ms,
                duplicates: false,
            }),
            medium: materialized.medium,
            timestamped: true,
            logged: materialized.logged,
            codecs: (key.name(), row.name()),
        });
        node.uses_stores.push(store.clone());
        let old_rows = OldRows::default();
        let asked = old_rows.clone();
        let windowed_key = Arc::new(WindowedCodec::new(key.clone(), windows.size_ms));
        let (own_key, own_row, own_store) = (key.clone(), row.clone(), store.clone());
        node.make = Some(Arc::new(move |wiring, id| {
            let store = &own_store;
            let rows = wiring.window(store)?;
            let observed = wiring.time(&format!("operator/{store}"));
            let closed = wiring.time(&format!("operator/{store}/closed"));
            let times = (observed, closed);
            let bound = wiring.bound(id);
            let fold = fold.clone();
            let fold = move |key: &K, value: V, row: Option<A>| fold(key, value, row);
            let codecs = (own_key.clone(), own_row.clone());
            let old = asked.are_asked().then(|| initial.clone());
            let process = WindowAggregate::new(fold, windows, rows, codecs, times, bound, old);
            wiring.add_process::<WindowAggregate<_, K, V, A>>(id, process)
        }));
        let id = graph.borrow_mut().add(node);
        let hold = HoldSpec {
            size_ms: windows.size_ms,
            grace_ms: windows.grace_ms,
        };
        Table::new(graph, id, windowed_key)
            .with_old_rows(old_rows)
            .with_windows(hold)
            .with_view(store.clone(), move |wiring| {
                let rows = wiring.window(&store)?;
                let view: ViewPort<Windowed<K>, A> =
                    std::rc::Rc::new(WindowView::new(key.clone(), row.clone(), rows));
                Ok(view)
            })
    }
}

impl<K: 'static, V: 'static> WindowedStream<K, V> {
    pub(super) fn new(
        graph: SharedGraph,
        id: LogicalId,
        key: SharedCodec<K>,
        windows: TimeWindows,
    ) -> Self {
        Self {
            graph,
            id,
            key,
            windows,
            types: std::marker::PhantomData,
        }
    }
}

/// The windows in milliseconds; what is wrong with them is reported for the store.
pub(super) fn window_spec(
    graph: &SharedGraph,
    windows: TimeWindows,
    store: &str,
) -> TimeWindowSpec {
    windows.spec().unwrap_or_else(|error| {
        graph.borrow_mut().report(error.context(store));
        TimeWindowSpec {
            size_ms: 1,
            advance_ms: 1,
            grace_ms: 0,
        }
    })
}

/// How long a store keeps the rows of windows: what was given for it, or size plus grace.
pub(super) fn window_retention_ms(
    graph: &SharedGraph,
    windows: TimeWindowSpec,
    (store, given): (&str, Option<Duration>),
) -> i64 {
    let least_ms = windows.size_ms.saturating_add(windows.grace_ms);
    match given.map(|given| millis(given, "a retention")) {
        None => least_ms,
        Some(Ok(given_ms)) if given_ms >= least_ms => given_ms,
        Some(Ok(given_ms)) => {
            let message = format!(
                "store {store} retains {given_ms} ms, less than its windows' size plus grace, {least_ms} ms"
            );
            graph.borrow_mut().report(Error::invalid(message));
            least_ms
        }
        Some(Err(error)) => {
            graph.borrow_mut().report(error);
            least_ms
        }
    }
}
