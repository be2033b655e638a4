//! `cogroup`: several streams folded into the rows of one table, each by a closure of its own.
//!
//! Every stream has an operator of its own over the common store; in windows each has a time of its own too.

use std::sync::Arc;

use super::GroupedStream;
use super::fold::{AllTime, Initial, SharedFold};
use super::time_window::{TimeWindowSpec, WindowAggregate, window_retention_ms, window_spec};
use super::unwindowed::Aggregate;
use crate::codec::{SharedCodec, Windowed, WindowedCodec};
use crate::dsl::builder::SharedGraph;
use crate::dsl::operator::Operator;
use crate::dsl::pass::Pass;
use crate::dsl::table::{HoldSpec, StoreView, WindowView};
use crate::dsl::{Change, Materialized, OldRows, Table, TimeWindows};
use crate::plan::LogicalId;
use crate::state::{StoreSpec, WindowRules};

/// What all streams of a cogroup share once it is known.
struct Shared<K, A> {
    key: SharedCodec<K>,
    row: SharedCodec<A>,
    store: String,
    initial: Arc<dyn Fn() -> A + Send + Sync>,
    windows: Option<TimeWindowSpec>,
    old_rows: OldRows,
}

/// Adds the node of one stream: its number among the streams, and the store if it brings it.
type AddPart<K, A> =
    Box<dyn FnOnce(&SharedGraph, &Shared<K, A>, usize, Option<StoreSpec>) -> LogicalId>;

/// Grouped streams, each with the closure that folds it into a common row; over all time or in windows.
#[must_use = "cogrouped streams do nothing until they are aggregated"]
pub struct CogroupedStream<K, A, G = AllTime> {
    graph: SharedGraph,
    key: SharedCodec<K>,
    parts: Vec<AddPart<K, A>>,
    grouping: G,
}

impl<K: Clone + 'static, V: Clone + 'static> GroupedStream<K, V> {
    /// Begins a table that several streams make together: `aggregate` folds the records of this one into
    /// the row of their key.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let arrivals = builder.stream::<String, String>("arrivals");
    /// # let departures = builder.stream::<String, String>("departures");
    /// let departures = departures.group_by_key("departures-by-port");
    /// arrivals
    ///     .group_by_key("arrivals-by-port")
    ///     .cogroup(|_port, _ship, ships: i64| ships + 1)
    ///     .cogroup(departures, |_port, _ship, ships| ships - 1)
    ///     .aggregate(|| 0, "ships")
    ///     .to_stream()
    ///     .to("ships-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn cogroup<A: 'static, R: Into<Option<A>> + 'static>(
        self,
        aggregate: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
    ) -> CogroupedStream<K, A> {
        let groups = self.groups();
        let streams = CogroupedStream {
            graph: groups.graph.clone(),
            key: groups.key.clone(),
            parts: Vec::new(),
            grouping: AllTime,
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
        let groups = stream.into_groups();
        let (parent, value) = (groups.id, groups.value);
        self.parts
            .push(Box::new(move |graph, shared, number, spec| {
                let operator = Operator::new("cogroup_part").of([parent]);
                let operator = match spec {
                    Some(spec) => operator.store(spec),
                    None => operator.uses(&shared.store),
                };
                let initial = shared.initial.clone();
                let fold: SharedFold<K, V, A> = Arc::new(move |key, value, row| {
                    aggregate(key, value, row.unwrap_or_else(|| initial())).into()
                });
                let first = shared.initial.clone();
                let first: Initial<A> = Arc::new(move || Some(first()));
                let (key, row) = (shared.key.clone(), shared.row.clone());
                let (store, asked) = (shared.store.clone(), shared.old_rows.clone());
                match shared.windows {
                    None => operator.add(graph, move |wiring, _| {
                        Ok(Aggregate {
                            fold: fold.clone(),
                            store: wiring.key_value(&store)?,
                            key: key.clone(),
                            value: value.clone(),
                            row: row.clone(),
                            old: asked.are_asked().then(|| first.clone()),
                            scratch: Default::default(),
                        })
                    }),
                    Some(windows) => operator.add(graph, move |wiring, _| {
                        Ok(WindowAggregate {
                            fold: fold.clone(),
                            windows,
                            store: wiring.window(&store)?,
                            key: key.clone(),
                            row: row.clone(),
                            old: asked.are_asked().then(|| first.clone()),
                            // Each stream has a time of its own, but the slowest origin of all is waited for.
                            observed: wiring.time(&format!("operator/{store}/{number}")),
                            closed: wiring.time(&format!("operator/{store}/{number}/closed")),
                            bound: wiring.bound_of_stores(&[&store]),
                            scratch: Default::default(),
                        })
                    }),
                }
            }));
        self
    }

    /// Cuts time into windows. Each stream has a time of its own there.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let arrivals = builder.stream::<String, String>("arrivals").group_by_key("arrivals-by-port");
    /// # let departures = builder.stream::<String, String>("departures").group_by_key("departures-by-port");
    /// arrivals
    ///     .cogroup(|_port, _ship, moves: i64| moves + 1)
    ///     .cogroup(departures, |_port, _ship, moves| moves + 1)
    ///     .windowed_by(TimeWindows::of(Duration::from_secs(3600)))
    ///     .aggregate(|| 0, "moves")
    ///     .to_stream()
    ///     .to("moves-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn windowed_by(self, windows: TimeWindows) -> CogroupedStream<K, A, TimeWindows> {
        CogroupedStream {
            graph: self.graph,
            key: self.key,
            parts: self.parts,
            grouping: windows,
        }
    }

    /// Makes the table: a row begins as `initial`. See [`GroupedStream::cogroup`].
    pub fn aggregate(
        self,
        initial: impl Fn() -> A + Send + Sync + 'static,
        store: impl Into<Materialized<A>>,
    ) -> Table<K, A> {
        let store = store.into();
        let (graph, key, row) = (self.graph.clone(), self.key.clone(), store.value.clone());
        let spec = store.rows_spec(&graph, &key);
        let name = spec.name.clone();
        let (parts, old_rows) = self.add(Arc::new(initial), store, None, spec);
        let operator = Operator::new("cogroup").of(parts).joins_partitions();
        let id = operator.add(&graph, |_, _| Ok(Pass::<K, Change<A>>::default()));
        Table::new(graph, id, key.clone())
            .with_old_rows(old_rows)
            .with_view(name.clone(), StoreView::make(key, row, name))
    }
}

impl<K: Clone + 'static, A: 'static> CogroupedStream<K, A, TimeWindows> {
    /// Makes the table: a row begins as `initial`. See [`CogroupedStream::windowed_by`].
    pub fn aggregate(
        self,
        initial: impl Fn() -> A + Send + Sync + 'static,
        store: impl Into<Materialized<A>>,
    ) -> Table<Windowed<K>, A> {
        let store = store.into();
        let (graph, key, row) = (self.graph.clone(), self.key.clone(), store.value.clone());
        let windows = window_spec(&graph, self.grouping, &store.name);
        let rules = WindowRules {
            window_size_ms: windows.size_ms,
            retention_ms: window_retention_ms(&graph, windows, &store),
            duplicates: false,
        };
        let spec = store.windows_spec(&graph, &key, rules);
        let name = spec.name.clone();
        let (parts, old_rows) = self.add(Arc::new(initial), store, Some(windows), spec);
        let operator = Operator::new("cogroup").of(parts).joins_partitions();
        let id = operator.add(&graph, |_, _| Ok(Pass::<Windowed<K>, Change<A>>::default()));
        let hold = HoldSpec {
            size_ms: windows.size_ms,
            grace_ms: windows.grace_ms,
        };
        Table::new(
            graph,
            id,
            Arc::new(WindowedCodec::new(key.clone(), windows.size_ms)),
        )
        .with_old_rows(old_rows)
        .with_windows(hold)
        .with_view(name.clone(), WindowView::make(key, row, name))
    }
}

impl<K: Clone + 'static, A: 'static, G> CogroupedStream<K, A, G> {
    /// Adds the operators of all streams; the first brings the store.
    fn add(
        self,
        initial: Arc<dyn Fn() -> A + Send + Sync>,
        store: Materialized<A>,
        windows: Option<TimeWindowSpec>,
        spec: StoreSpec,
    ) -> (Vec<LogicalId>, OldRows) {
        let shared = Shared {
            key: self.key,
            row: store.value,
            store: store.name,
            initial,
            windows,
            old_rows: OldRows::default(),
        };
        let mut spec = Some(spec);
        let parts = self.parts.into_iter().enumerate();
        let parts = parts.map(|(number, add)| add(&self.graph, &shared, number, spec.take()));
        (parts.collect(), shared.old_rows)
    }
}
