//! `cogroup`: several streams folded into the rows of one table, each with its own closure.
//!
//! Every stream has its own operator over the shared store; with windows, each also has its own time.

use std::sync::Arc;

use super::fold::{AllTime, Emit, Initial, Part, SharedFold, SharedMerge};
use super::specs::{session_spec, sliding_spec};
use super::time_window::window_spec;
use super::{
    GroupedStream, SessionWindows, SlidingWindows, TimeWindows, UnlimitedWindows, session, sliding,
    time_window, unwindowed,
};
use crate::codec::{SharedCodec, Windowed};
use crate::dsl::builder::SharedGraph;
use crate::dsl::operator::Operator;
use crate::dsl::pass::Pass;
use crate::dsl::table::StoreView;
use crate::dsl::windows::{SessionSpec, SlidingSpec, TimeWindowSpec};
use crate::dsl::{Change, Materialized, Table};
use crate::plan::{LogicalId, OldRows};
use crate::state::StoreSpec;

/// What all streams of a cogroup share, once it is known.
struct Shared<K, A> {
    key: SharedCodec<K>,
    row: SharedCodec<A>,
    store: String,
    cached: bool,
    initial: Arc<dyn Fn() -> A + Send + Sync>,
    rows: Rows<K, A>,
}

/// Which rows a record belongs to.
enum Rows<K, A> {
    AllTime,
    Time(TimeWindowSpec),
    Sliding(SlidingSpec),
    Sessions(SessionSpec, SharedMerge<K, A>),
}

/// Windows that several streams can share: all kinds of windows.
pub trait CogroupWindows {}

impl CogroupWindows for TimeWindows {}
impl CogroupWindows for SlidingWindows {}
impl CogroupWindows for SessionWindows {}
impl CogroupWindows for UnlimitedWindows {}

/// Adds the node of one stream, given its number among the streams and, for the first, the store.
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
    /// Starts a table that several streams build together: `aggregate` folds the records of this one into
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
    /// Adds a stream and the closure that folds it into the shared row. See [`GroupedStream::cogroup`].
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
                let operator = operator.old_rows(OldRows::Kept);
                let operator = match spec {
                    Some(spec) => operator.store(spec),
                    None => operator.uses(&shared.store),
                };
                let operator = match &shared.rows {
                    Rows::Sessions(sessions, _) => operator.holds_back_ms(sessions.gap_ms),
                    _ => operator,
                };
                let initial = shared.initial.clone();
                let fold: SharedFold<K, V, A> = Arc::new(move |key, value, row| {
                    aggregate(key, value, row.unwrap_or_else(|| initial())).into()
                });
                let first = shared.initial.clone();
                let first: Initial<A> = Arc::new(move || Some(first()));
                let part = Part {
                    key: shared.key.clone(),
                    value,
                    row: shared.row.clone(),
                    store: shared.store.clone(),
                    initial: first,
                    fold,
                    cached: shared.cached,
                    number: Some(number),
                };
                match &shared.rows {
                    Rows::AllTime => unwindowed::add(graph, operator, part),
                    Rows::Time(windows) => time_window::add(graph, operator, part, *windows, None),
                    Rows::Sliding(windows) => sliding::add(graph, operator, part, *windows, None),
                    Rows::Sessions(sessions, merge) => {
                        session::add(graph, operator, part, (*sessions, merge.clone()), None)
                    }
                }
            }));
        self
    }

    /// Divides time into windows, in which each stream has its own time.
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
    pub fn windowed_by<W: CogroupWindows>(self, windows: W) -> CogroupedStream<K, A, W> {
        CogroupedStream {
            graph: self.graph,
            key: self.key,
            parts: self.parts,
            grouping: windows,
        }
    }

    /// Creates the table: each row starts as `initial`. See [`GroupedStream::cogroup`].
    pub fn aggregate(
        self,
        initial: impl Fn() -> A + Send + Sync + 'static,
        store: impl Into<Materialized<A>>,
    ) -> Table<K, A> {
        let store = store.into();
        let (graph, key, row) = (self.graph.clone(), self.key.clone(), store.value.clone());
        let spec = store.rows_spec(&graph, &key);
        let (name, cached) = (spec.name.clone(), store.cached);
        let parts = self.add(Arc::new(initial), &store, Rows::AllTime, spec);
        let id = together::<K, A>(&graph, parts);
        Table::new(graph, id, key.clone())
            .with_view(
                name.clone(),
                StoreView::make(key, row.clone(), name.clone()),
            )
            .cached_if(cached, &name, row)
    }
}

impl<K: Clone + 'static, A: 'static> CogroupedStream<K, A, TimeWindows> {
    /// Creates the table: each row starts as `initial`. See [`CogroupedStream::windowed_by`].
    pub fn aggregate(
        self,
        initial: impl Fn() -> A + Send + Sync + 'static,
        store: impl Into<Materialized<A>>,
    ) -> Table<Windowed<K>, A> {
        let store = store.into();
        let windows = window_spec(&self.graph, self.grouping, &store.name);
        self.in_windows(Arc::new(initial), windows, store)
    }
}

impl<K: Clone + 'static, A: 'static> CogroupedStream<K, A, UnlimitedWindows> {
    /// Creates the table: each row starts as `initial`. See [`CogroupedStream::windowed_by`].
    pub fn aggregate(
        self,
        initial: impl Fn() -> A + Send + Sync + 'static,
        store: impl Into<Materialized<A>>,
    ) -> Table<Windowed<K>, A> {
        let windows = self.grouping.spec();
        self.in_windows(Arc::new(initial), windows, store.into())
    }
}

impl<K: Clone + 'static, A: 'static> CogroupedStream<K, A, SlidingWindows> {
    /// Creates the table: each row starts as `initial`. See [`CogroupedStream::windowed_by`].
    pub fn aggregate(
        self,
        initial: impl Fn() -> A + Send + Sync + 'static,
        store: impl Into<Materialized<A>>,
    ) -> Table<Windowed<K>, A> {
        let store = store.into();
        let (graph, key) = (self.graph.clone(), self.key.clone());
        let windows = sliding_spec(&graph, self.grouping, &store.name);
        let spec = windows.store_spec(&graph, &store, &key, Emit::Updates);
        let rows = Rows::Sliding(windows);
        let parts = self.add(Arc::new(initial), &store, rows, spec);
        let id = together::<Windowed<K>, A>(&graph, parts);
        windows.table(graph, id, key, store, Emit::Updates)
    }
}

impl<K: Clone + 'static, A: 'static> CogroupedStream<K, A, SessionWindows> {
    /// Creates the table: each row starts as `initial`, and `merge` combines two rows into one when a
    /// record closes the gap between sessions.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let clicks = builder.stream::<String, String>("clicks").group_by_key("clicks-by-user");
    /// # let views = builder.stream::<String, String>("views").group_by_key("views-by-user");
    /// clicks
    ///     .cogroup(|_user, _click, acts: i64| acts + 1)
    ///     .cogroup(views, |_user, _view, acts| acts + 1)
    ///     .windowed_by(SessionWindows::with_gap(Duration::from_secs(1_800)))
    ///     .aggregate(|| 0, |_user, earlier, later| earlier + later, "acts")
    ///     .to_stream()
    ///     .to("acts-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn aggregate<M: Into<Option<A>>>(
        self,
        initial: impl Fn() -> A + Send + Sync + 'static,
        merge: impl Fn(&K, A, A) -> M + Send + Sync + 'static,
        store: impl Into<Materialized<A>>,
    ) -> Table<Windowed<K>, A> {
        let store = store.into();
        let (graph, key) = (self.graph.clone(), self.key.clone());
        let sessions = session_spec(&graph, self.grouping, &store.name);
        let spec = sessions.store_spec(&graph, &store, &key);
        let merge: SharedMerge<K, A> =
            Arc::new(move |key, one, other| merge(key, one, other).into());
        let rows = Rows::Sessions(sessions, merge);
        let parts = self.add(Arc::new(initial), &store, rows, spec);
        let id = together::<Windowed<K>, A>(&graph, parts);
        sessions.table(graph, id, key, store, Emit::Updates)
    }
}

/// The result of all streams, as one table.
fn together<K: 'static, A: 'static>(graph: &SharedGraph, parts: Vec<LogicalId>) -> LogicalId {
    let operator = Operator::new("cogroup").of(parts).joins_partitions();
    let operator = operator.old_rows(OldRows::OfParents);
    operator.add(graph, |_, _| Ok(Pass::<K, Change<A>>::default()))
}

impl<K: Clone + 'static, A: 'static, G> CogroupedStream<K, A, G> {
    fn in_windows(
        self,
        initial: Arc<dyn Fn() -> A + Send + Sync>,
        windows: TimeWindowSpec,
        store: Materialized<A>,
    ) -> Table<Windowed<K>, A> {
        let (graph, key) = (self.graph.clone(), self.key.clone());
        let spec = windows.store_spec(&graph, &store, &key, Emit::Updates);
        let parts = self.add(initial, &store, Rows::Time(windows), spec);
        let id = together::<Windowed<K>, A>(&graph, parts);
        windows.table(graph, id, key, store, Emit::Updates)
    }

    /// Adds the operators of all streams; the first one brings the store.
    fn add(
        self,
        initial: Arc<dyn Fn() -> A + Send + Sync>,
        store: &Materialized<A>,
        rows: Rows<K, A>,
        spec: StoreSpec,
    ) -> Vec<LogicalId> {
        let shared = Shared {
            key: self.key,
            row: store.value.clone(),
            store: store.name.clone(),
            cached: store.cached,
            initial,
            rows,
        };
        let mut spec = Some(spec);
        let parts = self.parts.into_iter().enumerate();
        let parts = parts.map(|(number, add)| add(&self.graph, &shared, number, spec.take()));
        parts.collect()
    }
}
