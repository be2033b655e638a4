//! Tables grouped by another key, and the tables that they make.

use std::rc::Rc;
use std::sync::Arc;

use super::builder::SharedGraph;
use super::repartition::repartition_node;
use super::{Grouped, Materialized, Table};
use crate::base::Error;
use crate::codec::SharedCodec;
use crate::operator::{
    Change, ChangedCodec, CountRows, FoldRows, NullKeys, OldRows, ReduceRows, StoreView,
    TableAggregate, TableFold, TableGroupBy,
};
use crate::plan::{LogicalId, LogicalKind, LogicalNode};
use crate::state::{StoreKind, StoreSpec};
use crate::task::ViewPort;

/// A table whose rows are together by another key.
#[must_use = "a grouped table does nothing until it is aggregated"]
pub struct GroupedTable<K, V> {
    graph: SharedGraph,
    id: LogicalId,
    key: SharedCodec<K>,
    types: std::marker::PhantomData<fn(V)>,
}

impl<K: 'static, V: 'static> Table<K, V> {
    /// Groups the rows by a key that `select` makes, with the value that is to be aggregated. A row that
    /// changes leaves its group and enters one; a null key or value belongs to none. The table must have
    /// a store, since the row that leaves must be known.
    ///
    /// ```
    /// # use marea::codec::{I64, Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Grouped, Materialized, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let places = builder.materialized_table("places", Consumed::with(Utf8, Utf8), Materialized::with("places", Utf8));
    /// places
    ///     .group_by(|sensor, place| (place.clone(), sensor.clone()), Grouped::with("by-place", Utf8, Utf8))
    ///     .count("sensors-per-place")
    ///     .to_stream()
    ///     .to("sensors-per-place-out", Produced::with(Utf8, Nullable(I64)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn group_by<L: Clone + PartialEq + 'static, W: 'static>(
        self,
        select: impl Fn(&K, &V) -> (L, W) + Send + Sync + 'static,
        grouped: Grouped<L, W>,
    ) -> GroupedTable<L, W> {
        let graph = self.graph;
        let Grouped { name, key, value } = grouped;
        match &self.old_rows {
            Some(old_rows) => old_rows.ask(),
            None => graph.borrow_mut().report(Error::invalid(format!(
                "{name:?} groups a table without a store, so that rows which leave a group are not known; \
                 make the table with `materialized_table`, or put `materialized` before `group_by`"
            ))),
        }
        let mut node = LogicalNode::new("table_group_by", LogicalKind::Operator, vec![self.id]);
        node.changes_key = true;
        let select = Arc::new(select);
        let (own_key, own_value) = (key.clone(), value.clone());
        node.make = Some(Arc::new(move |wiring, id| {
            let process = TableGroupBy::new(select.clone(), own_key.clone(), own_value.clone());
            wiring.add_process::<TableGroupBy<_, K, V, L, W>>(id, process)
        }));
        let id = graph.borrow_mut().add(node);
        let changes: SharedCodec<Change<W>> = Arc::new(ChangedCodec::new(value));
        let codecs = (key.clone(), changes);
        let node = repartition_node(id, name, codecs, NullKeys::Drop, true, None);
        let id = graph.borrow_mut().add(node);
        GroupedTable {
            graph,
            id,
            key,
            types: std::marker::PhantomData,
        }
    }
}

impl<K: 'static, V: 'static> GroupedTable<K, V> {
    /// Counts the rows of each group.
    ///
    /// ```
    /// # use marea::codec::{I64, Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Grouped, Materialized, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream("readings", Consumed::with(Utf8, Utf8));
    /// let counts = readings.group_by_key(Grouped::with("by-sensor", Utf8, Utf8)).count("readings-per-sensor");
    /// counts
    ///     .group_by(|sensor, count| (*count, sensor.clone()), Grouped::with("by-count", I64, Utf8))
    ///     .count("sensors-per-count")
    ///     .to_stream()
    ///     .to("out", Produced::with(I64, Nullable(I64)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn count(self, materialized: impl Into<Materialized<i64>>) -> Table<K, i64> {
        self.fold("table_count", CountRows, materialized.into())
    }

    /// Combines the rows of each group: `add` puts one in, `subtract` takes one out. The first is taken
    /// as it is; `None` deletes the group's row.
    ///
    /// ```
    /// # use marea::codec::{I64, Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Grouped, Materialized, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let loads = builder.materialized_table("loads", Consumed::with(Utf8, I64), Materialized::with("loads", I64));
    /// loads
    ///     .group_by(|ship, tonnes| (ship[..2].to_owned(), *tonnes), Grouped::with("by-flag", Utf8, I64))
    ///     .reduce(|sum, tonnes| sum + tonnes, |sum, tonnes| sum - tonnes, Materialized::with("tonnes", I64))
    ///     .to_stream()
    ///     .to("tonnes-out", Produced::with(Utf8, Nullable(I64)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn reduce<R: Into<Option<V>> + 'static, S: Into<Option<V>> + 'static>(
        self,
        add: impl Fn(V, V) -> R + Send + Sync + 'static,
        subtract: impl Fn(V, V) -> S + Send + Sync + 'static,
        materialized: Materialized<V>,
    ) -> Table<K, V> {
        let fold = ReduceRows {
            add: Arc::new(add),
            subtract: Arc::new(subtract),
        };
        self.fold("table_reduce", fold, materialized)
    }

    /// Folds the rows of each group into one that starts as `initial`: `add` puts one in, `subtract`
    /// takes one out. `None` deletes the group's row.
    ///
    /// ```
    /// # use marea::codec::{I64, Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Grouped, Materialized, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let places = builder.materialized_table("places", Consumed::with(Utf8, Utf8), Materialized::with("places", Utf8));
    /// places
    ///     .group_by(|sensor, place| (place.clone(), sensor.clone()), Grouped::with("by-place", Utf8, Utf8))
    ///     .aggregate(
    ///         || 0,
    ///         |_place, sensor, letters| letters + sensor.len() as i64,
    ///         |_place, sensor, letters| letters - sensor.len() as i64,
    ///         Materialized::with("letters", I64),
    ///     )
    ///     .to_stream()
    ///     .to("letters-out", Produced::with(Utf8, Nullable(I64)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn aggregate<A: 'static, R: Into<Option<A>> + 'static, S: Into<Option<A>> + 'static>(
        self,
        initial: impl Fn() -> A + Send + Sync + 'static,
        add: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
        subtract: impl Fn(&K, V, A) -> S + Send + Sync + 'static,
        materialized: Materialized<A>,
    ) -> Table<K, A> {
        let fold = FoldRows {
            initial: Arc::new(initial),
            add: Arc::new(add),
            subtract: Arc::new(subtract),
        };
        self.fold("table_aggregate", fold, materialized)
    }

    fn fold<A: 'static>(
        self,
        operator: &'static str,
        fold: impl TableFold<K, V, A>,
        materialized: Materialized<A>,
    ) -> Table<K, A> {
        let (key, row, store) = (self.key, materialized.value, materialized.name);
        let mut node = LogicalNode::new(operator, LogicalKind::Operator, vec![self.id]);
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
        let fold = Arc::new(fold);
        let (own_key, own_row, own_store) = (key.clone(), row.clone(), store.clone());
        node.make = Some(Arc::new(move |wiring, id| {
            let rows = wiring.key_value(&own_store)?;
            let (key, row) = (own_key.clone(), own_row.clone());
            let process = TableAggregate::new(fold.clone(), rows, key, row, &asked);
            wiring.add_process::<TableAggregate<_, K, V, A>>(id, process)
        }));
        let id = self.graph.borrow_mut().add(node);
        let view_key = key.clone();
        Table::new(self.graph, id, key)
            .with_old_rows(old_rows)
            .with_view(store.clone(), move |wiring| {
                let rows = wiring.key_value(&store)?;
                let view: ViewPort<K, A> =
                    Rc::new(StoreView::new(view_key.clone(), row.clone(), rows));
                Ok(view)
            })
    }
}
