//! `count`, `reduce`, `aggregate` of a grouped table: rows leave one group and enter another.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::base::{Record, Result};
use crate::codec::SharedCodec;
use crate::dsl::builder::SharedGraph;
use crate::dsl::operator::Operator;
use crate::dsl::scratch::{Scratch, decode_row};
use crate::dsl::table::StoreView;
use crate::dsl::{Change, Materialized, Table};
use crate::plan::{LogicalId, OldRows};
use crate::state::KeyValueStore;
use crate::task::{Context, DropReason, Edges, Process};

/// A table whose rows are grouped by another key.
#[must_use = "a grouped table does nothing until it is aggregated"]
pub struct GroupedTable<K, V> {
    graph: SharedGraph,
    id: LogicalId,
    key: SharedCodec<K>,
    types: PhantomData<fn(V)>,
}

impl<K: 'static, V: 'static> GroupedTable<K, V> {
    /// Counts the rows of each group.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// let counts = readings.group_by_key("by-sensor").count("readings-per-sensor");
    /// counts
    ///     .group_by("by-count", |sensor, count| (*count, sensor.clone()))
    ///     .count("sensors-per-count")
    ///     .to_stream()
    ///     .to("out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn count(self, store: impl Into<Materialized<i64>>) -> Table<K, i64> {
        self.fold("table_count", CountRows, store.into())
    }

    /// Combines the rows of each group: `add` adds one, `subtract` removes one. The first is used as is;
    /// `None` deletes the group's row.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let loads = builder.table::<String, i64>("loads", "loads");
    /// loads
    ///     .group_by("by-flag", |ship, tonnes| (ship[..2].to_owned(), *tonnes))
    ///     .reduce(|sum, tonnes| sum + tonnes, |sum, tonnes| sum - tonnes, "tonnes")
    ///     .to_stream()
    ///     .to("tonnes-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn reduce<R: Into<Option<V>> + 'static, S: Into<Option<V>> + 'static>(
        self,
        add: impl Fn(V, V) -> R + Send + Sync + 'static,
        subtract: impl Fn(V, V) -> S + Send + Sync + 'static,
        store: impl Into<Materialized<V>>,
    ) -> Table<K, V> {
        let fold = ReduceRows {
            add: Arc::new(add),
            subtract: Arc::new(subtract),
        };
        self.fold("table_reduce", fold, store.into())
    }

    /// Folds the rows of each group into one that starts as `initial`: `add` adds one, `subtract` removes
    /// one. `None` deletes the group's row.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let places = builder.table::<String, String>("places", "places");
    /// places
    ///     .group_by("by-place", |sensor, place| (place.clone(), sensor.clone()))
    ///     .aggregate(
    ///         || 0,
    ///         |_place, sensor, letters| letters + sensor.len() as i64,
    ///         |_place, sensor, letters| letters - sensor.len() as i64,
    ///         "letters",
    ///     )
    ///     .to_stream()
    ///     .to("letters-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn aggregate<A: 'static, R: Into<Option<A>> + 'static, S: Into<Option<A>> + 'static>(
        self,
        initial: impl Fn() -> A + Send + Sync + 'static,
        add: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
        subtract: impl Fn(&K, V, A) -> S + Send + Sync + 'static,
        store: impl Into<Materialized<A>>,
    ) -> Table<K, A> {
        let fold = FoldRows {
            initial: Arc::new(initial),
            add: Arc::new(add),
            subtract: Arc::new(subtract),
        };
        self.fold("table_aggregate", fold, store.into())
    }

    pub(in crate::dsl) fn new(graph: SharedGraph, id: LogicalId, key: SharedCodec<K>) -> Self {
        Self {
            graph,
            id,
            key,
            types: PhantomData,
        }
    }

    fn fold<A: 'static>(
        self,
        word: &'static str,
        fold: impl TableFold<K, V, A>,
        store: Materialized<A>,
    ) -> Table<K, A> {
        let (key, row) = (self.key, store.value.clone());
        let spec = store.rows_spec(&self.graph, &key);
        let (name, cached) = (spec.name.clone(), store.cached);
        let fold = Arc::new(fold);
        let (own_key, own_row, own_name) = (key.clone(), row.clone(), name.clone());
        let operator = Operator::new(word).of([self.id]).store(spec);
        let operator = operator.old_rows(OldRows::Kept);
        let id = operator.add(&self.graph, move |wiring, id| {
            let rows = wiring.key_value(&own_name)?;
            let (key, row) = (own_key.clone(), own_row.clone());
            Ok(TableAggregate::<_, K, V, A>::new(
                fold.clone(),
                rows,
                key,
                row,
                wiring.sends_old_rows(id),
            ))
        });
        Table::new(self.graph, id, key.clone())
            .with_view(
                name.clone(),
                StoreView::make(key, row.clone(), name.clone()),
            )
            .cached_if(cached, &name, row)
    }
}

/// How rows enter a group and leave it.
trait TableFold<K, V, A>: Send + Sync + 'static {
    /// The group's row after adding a row to it; `so_far` is `None` if the group has no row yet.
    fn add(&self, key: &K, row: V, so_far: Option<A>) -> Option<A>;

    /// The group's row after removing a row from it; `None` deletes it.
    fn subtract(&self, key: &K, row: V, so_far: A) -> Option<A>;
}

/// How many rows a group has.
struct CountRows;

impl<K, V> TableFold<K, V, i64> for CountRows {
    fn add(&self, _key: &K, _row: V, so_far: Option<i64>) -> Option<i64> {
        Some(so_far.unwrap_or(0) + 1)
    }

    fn subtract(&self, _key: &K, _row: V, so_far: i64) -> Option<i64> {
        Some(so_far - 1)
    }
}

/// A group's rows combined two at a time; the first is used as is.
struct ReduceRows<F, G> {
    /// Combines the current row with one that enters.
    pub add: Arc<F>,
    /// Removes a leaving row from the current row.
    pub subtract: Arc<G>,
}

impl<K, V, F, G, R, S> TableFold<K, V, V> for ReduceRows<F, G>
where
    F: Fn(V, V) -> R + Send + Sync + 'static,
    G: Fn(V, V) -> S + Send + Sync + 'static,
    R: Into<Option<V>>,
    S: Into<Option<V>>,
{
    fn add(&self, _key: &K, row: V, so_far: Option<V>) -> Option<V> {
        match so_far {
            Some(so_far) => (self.add)(so_far, row).into(),
            None => Some(row),
        }
    }

    fn subtract(&self, _key: &K, row: V, so_far: V) -> Option<V> {
        (self.subtract)(so_far, row).into()
    }
}

/// A group's rows folded into a row of another type.
struct FoldRows<I, F, G> {
    /// The initial row of a group.
    pub initial: Arc<I>,
    /// Folds in a row that enters.
    pub add: Arc<F>,
    /// Removes a row that leaves.
    pub subtract: Arc<G>,
}

impl<K, V, A, I, F, G, R, S> TableFold<K, V, A> for FoldRows<I, F, G>
where
    I: Fn() -> A + Send + Sync + 'static,
    F: Fn(&K, V, A) -> R + Send + Sync + 'static,
    G: Fn(&K, V, A) -> S + Send + Sync + 'static,
    R: Into<Option<A>>,
    S: Into<Option<A>>,
{
    fn add(&self, key: &K, row: V, so_far: Option<A>) -> Option<A> {
        (self.add)(key, row, so_far.unwrap_or_else(|| (self.initial)())).into()
    }

    fn subtract(&self, key: &K, row: V, so_far: A) -> Option<A> {
        (self.subtract)(key, row, so_far).into()
    }
}

/// Removes each old row from its group's row, and adds each new one.
///
/// The subtractor is not called if the group has no row; a row that becomes null is deleted, and the
/// tombstone is forwarded. The timestamp is the larger of the record's and the row's. Source:
/// `KTableAggregate`, `KTableReduce`.
struct TableAggregate<F, K, V, A> {
    fold: Arc<F>,
    store: KeyValueStore,
    key: SharedCodec<K>,
    row: SharedCodec<A>,
    sends_old: bool,
    scratch: RefCell<Scratch>,
    types: PhantomData<fn(V)>,
}

impl<F, K, V, A> TableAggregate<F, K, V, A> {
    /// An aggregate over `store`.
    pub fn new(
        fold: Arc<F>,
        store: KeyValueStore,
        key: SharedCodec<K>,
        row: SharedCodec<A>,
        sends_old: bool,
    ) -> Self {
        Self {
            fold,
            store,
            key,
            row,
            sends_old,
            scratch: RefCell::default(),
            types: PhantomData,
        }
    }
}

impl<F, K, V, A> Process for TableAggregate<F, K, V, A>
where
    F: TableFold<K, V, A>,
    K: 'static,
    V: 'static,
    A: 'static,
{
    type KeyIn = K;
    type ValueIn = Change<V>;
    type KeyOut = K;
    type ValueOut = Change<A>;

    fn process(
        &self,
        record: Record<K, Change<V>>,
        out: &Edges<K, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        let Record {
            key,
            value: change,
            timestamp_ms,
            headers,
        } = record;
        let mut scratch = self.scratch.borrow_mut();
        if !scratch.encode_key(&*self.key, &key)? {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        let read = || {
            let row = self
                .store
                .get(&scratch.key, |row| decode_row(&*self.row, row));
            row.and_then(|row| row)
        };
        let sent_old = match self.sends_old {
            true => read()?.map(|(row, _)| row),
            false => None,
        };
        let (mut row, timestamp_ms) = match read()? {
            Some((row, row_ms)) => (Some(row), timestamp_ms.max(row_ms)),
            None => (None, timestamp_ms),
        };
        let is_row = |row: &A| !self.row.is_null(row);
        if let Some(old) = change.old
            && let Some(so_far) = row.take()
        {
            row = self.fold.subtract(&key, old, so_far).filter(is_row);
        }
        if let Some(new) = change.new {
            row = self.fold.add(&key, new, row).filter(is_row);
        }
        match &row {
            Some(row) if scratch.encode_row(&*self.row, row, timestamp_ms)? => {
                self.store.put(&scratch.key, Some(&scratch.row))?;
            }
            _ => self.store.put(&scratch.key, None)?,
        }
        drop(scratch);
        let value = Change {
            new: row,
            old: sent_old,
        };
        out.push(
            Record {
                key,
                value,
                timestamp_ms,
                headers,
            },
            cx,
        )
    }
}
