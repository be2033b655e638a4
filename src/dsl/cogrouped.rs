//! Grouped streams that make one table together.

use std::rc::Rc;
use std::sync::Arc;

use super::builder::SharedGraph;
use super::windowed::{window_retention_ms, window_spec};
use super::{GroupedStream, Materialized, Table, TimeWindows};
use crate::codec::{SharedCodec, Windowed, WindowedCodec};
use crate::operator::{
    Aggregate, Change, CogroupFold, HoldSpec, Initial, OldRows, Pass, StoreView, TimeWindowSpec,
    WindowAggregate, WindowView,
};
use crate::plan::{LogicalId, LogicalKind, LogicalNode};
use crate::state::{StoreKind, StoreSpec, WindowRules};
use crate::task::ViewPort;

/// What all streams of a cogroup share once it is known.
struct Shared<K, A> {
    key: SharedCodec<K>,
    row: SharedCodec<A>,
    store: String,
    initial: Arc<dyn Fn() -> A + Send + Sync>,
    windows: Option<TimeWindowSpec>,
    old_rows: OldRows,
}

/// Adds the node of one stream: its number among the streams, and whether it brings the store.
type AddPart<K, A> =
    Box<dyn FnOnce(&SharedGraph, &Shared<K, A>, usize, Option<StoreSpec>) -> LogicalId>;

/// Grouped streams, each with the closure that folds it into a common row.
#[must_use = "cogrouped streams do nothing until they are aggregated"]
pub struct CogroupedStream<K, A> {
    graph: SharedGraph,
    key: SharedCodec<K>,
    parts: Vec<AddPart<K, A>>,
}

/// Cogrouped streams in windows.
#[must_use = "cogrouped streams do nothing until they are aggregated"]
pub struct WindowedCogroupedStream<K, A> {
    streams: CogroupedStream<K, A>,
    windows: TimeWindows,
}

impl<K: Clone + 'static, V: Clone + 'static> GroupedStream<K, V> {
    /// Begins a table that several streams make together: `aggregate` folds the records of this one into
    /// the row of their key.
    ///
    /// ```
    /// # use marea::codec::{I64, Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Grouped, Materialized, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let arrivals = builder.stream("arrivals", Consumed::with(Utf8, Utf8));
    /// # let departures = builder.stream("departures", Consumed::with(Utf8, Utf8));
    /// let departures = departures.group_by_key(Grouped::with("departures-by-port", Utf8, Utf8));
    /// arrivals
    ///     .group_by_key(Grouped::with("arrivals-by-port", Utf8, Utf8))
    ///     .cogroup(|_port, _ship, ships: i64| ships + 1)
    ///     .cogroup(departures, |_port, _ship, ships| ships - 1)
    ///     .aggregate(|| 0, Materialized::with("ships", I64))
    ///     .to_stream()
    ///     .to("ships-out", Produced::with(Utf8, Nullable(I64)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn cogroup<A: 'static, R: Into<Option<A>> + 'static>(
        self,
        aggregate: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
    ) -> CogroupedStream<K, A> {
        let streams = CogroupedStream {
            graph: self.graph.clone(),
            key: self.key.clone(),
            parts: Vec::new(),
        };
        streams.cogroup(self, aggregate)
    }
}

impl<K: Clone + 'static, A: 'static> CogroupedStream<K, A> {
    /// Adds a stream, with the closure that folds it into the common row. See
    /// [`GroupedStream::cogroup`].
    pub fn cogroup<V: Clone + 'static, R: Into<Option<A>> + 'static>(
        mut self,
        stream: GroupedStream<K, V>,
        aggregate: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
    ) -> Self {
        let aggregate = Arc::new(aggregate);
        let (parent, value) = (stream.id, stream.value);
        self.parts
            .push(Box::new(move |graph, shared, number, spec| {
                let mut node =
                    LogicalNode::new("cogroup_part", LogicalKind::Operator, vec![parent]);
                node.stores.extend(spec);
                node.uses_stores.push(shared.store.clone());
                let fold = CogroupFold::new(shared.initial.clone(), aggregate);
                let first = shared.initial.clone();
                let first: Initial<A> = Arc::new(move || Some(first()));
                let (key, row) = (shared.key.clone(), shared.row.clone());
                let (store, asked) = (shared.store.clone(), shared.old_rows.clone());
                node.make = Some(match shared.windows {
                    None => Arc::new(move |wiring, id| {
                        let rows = wiring.key_value(&store)?;
                        let old = asked.are_asked().then(|| first.clone());
                        let (key, value, row) = (key.clone(), value.clone(), row.clone());
                        let process = Aggregate::new(fold.clone(), rows, key, value, row, old);
                        wiring.add_process::<Aggregate<_, K, V, A>>(id, process)
                    }),
                    Some(windows) => Arc::new(move |wiring, id| {
                        let rows = wiring.window(&store)?;
                        let old = asked.are_asked().then(|| first.clone());
                        // Each stream has a time of its own, but the slowest origin of all is waited for.
                        let observed = wiring.time(&format!("operator/{store}/{number}"));
                        let closed = wiring.time(&format!("operator/{store}/{number}/closed"));
                        let bound = wiring.bound_of_stores(&[&store]);
                        let codecs = (key.clone(), row.clone());
                        let times = (observed, closed);
                        let fold = fold.clone();
                        let process =
                            WindowAggregate::new(fold, windows, rows, codecs, times, bound, old);
                        wiring.add_process::<WindowAggregate<_, K, V, A>>(id, process)
                    }),
                });
                graph.borrow_mut().add(node)
            }));
        self
    }

    /// Cuts time into windows. Each stream has a time of its own there.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::codec::{I64, Nullable, Utf8, WindowedCodec};
    /// # use marea::dsl::{Consumed, Grouped, Materialized, Produced, StreamBuilder, TimeWindows};
    /// # let builder = StreamBuilder::new();
    /// # let arrivals = builder.stream("arrivals", Consumed::with(Utf8, Utf8)).group_by_key(Grouped::with("arrivals-by-port", Utf8, Utf8));
    /// # let departures = builder.stream("departures", Consumed::with(Utf8, Utf8)).group_by_key(Grouped::with("departures-by-port", Utf8, Utf8));
    /// arrivals
    ///     .cogroup(|_port, _ship, moves: i64| moves + 1)
    ///     .cogroup(departures, |_port, _ship, moves| moves + 1)
    ///     .windowed_by(TimeWindows::of(Duration::from_secs(3600)))
    ///     .aggregate(|| 0, Materialized::with("moves", I64))
    ///     .to_stream()
    ///     .to("moves-out", Produced::with(WindowedCodec::new(Utf8, 3_600_000), Nullable(I64)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn windowed_by(self, windows: TimeWindows) -> WindowedCogroupedStream<K, A> {
        WindowedCogroupedStream {
            streams: self,
            windows,
        }
    }

    /// Makes the table: a row begins as `initial`. See [`GroupedStream::cogroup`].
    pub fn aggregate(
        self,
        initial: impl Fn() -> A + Send + Sync + 'static,
        materialized: Materialized<A>,
    ) -> Table<K, A> {
        let (key, row) = (self.key.clone(), materialized.value.clone());
        let store = materialized.name.clone();
        let (graph, id, old_rows) =
            self.add(Arc::new(initial), materialized, None, StoreKind::KeyValue);
        let view_key = key.clone();
        Table::new(graph, id, key)
            .with_old_rows(old_rows)
            .with_view(store.clone(), move |wiring| {
                let rows = wiring.key_value(&store)?;
                let view: ViewPort<K, A> =
                    Rc::new(StoreView::new(view_key.clone(), row.clone(), rows));
                Ok(view)
            })
    }

    fn add(
        self,
        initial: Arc<dyn Fn() -> A + Send + Sync>,
        materialized: Materialized<A>,
        windows: Option<TimeWindowSpec>,
        kind: StoreKind,
    ) -> (SharedGraph, LogicalId, OldRows) {
        let graph = self.graph;
        let mut spec = Some(StoreSpec {
            name: materialized.name.clone(),
            kind,
            medium: materialized.medium,
            timestamped: true,
            logged: materialized.logged,
            codecs: (self.key.name(), materialized.value.name()),
        });
        let shared = Shared {
            key: self.key,
            row: materialized.value,
            store: materialized.name,
            initial,
            windows,
            old_rows: OldRows::default(),
        };
        let parts = self.parts.into_iter().enumerate();
        let parts = parts.map(|(number, add)| add(&graph, &shared, number, spec.take()));
        let parts = parts.collect();
        let mut node = LogicalNode::new("cogroup", LogicalKind::Operator, parts);
        node.joins_partitions = true;
        node.make = Some(match shared.windows {
            None => Arc::new(|wiring, id| wiring.add_process(id, Pass::<K, Change<A>>::default())),
            Some(_) => Arc::new(|wiring, id| {
                wiring.add_process(id, Pass::<Windowed<K>, Change<A>>::default())
            }),
        });
        let id = graph.borrow_mut().add(node);
        (graph, id, shared.old_rows)
    }
}

impl<K: Clone + 'static, A: 'static> WindowedCogroupedStream<K, A> {
    /// Makes the table: a row begins as `initial`. See [`CogroupedStream::windowed_by`].
    pub fn aggregate(
        self,
        initial: impl Fn() -> A + Send + Sync + 'static,
        materialized: Materialized<A>,
    ) -> Table<Windowed<K>, A> {
        let Self { streams, windows } = self;
        let windows = window_spec(&streams.graph, windows, &materialized.name);
        let given = (materialized.name.as_str(), materialized.retention);
        let retention_ms = window_retention_ms(&streams.graph, windows, given);
        let kind = StoreKind::Window(WindowRules {
            window_size_ms: windows.size_ms,
            retention_ms,
            duplicates: false,
        });
        let (key, row) = (streams.key.clone(), materialized.value.clone());
        let store = materialized.name.clone();
        let (graph, id, old_rows) =
            streams.add(Arc::new(initial), materialized, Some(windows), kind);
        let windowed_key = Arc::new(WindowedCodec::new(key.clone(), windows.size_ms));
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
                    Rc::new(WindowView::new(key.clone(), row.clone(), rows));
                Ok(view)
            })
    }
}
