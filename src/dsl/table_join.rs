//! Joins of tables.

use std::rc::Rc;
use std::sync::Arc;

use super::Table;
use super::table::MakeView;
use crate::base::Error;
use crate::operator::{
    Change, InnerRows, JoinRows, JoinView, LeftRows, LeftTable, OldRows, OuterRows, Pass,
    RightTable, TableJoinKind,
};
use crate::plan::{LogicalKind, LogicalNode};
use crate::task::ViewPort;

impl<K: 'static, V: 'static> Table<K, V> {
    /// Joins with the row that another table has under the same key: a table of the keys that both
    /// have. It has no store of its own ([`Table::materialized`] gives it one): looked into, it joins
    /// what the two tables have. Both must have stores.
    ///
    /// ```
    /// # use marea::codec::{Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Materialized, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let places = builder.materialized_table("places", Consumed::with(Utf8, Utf8), Materialized::with("places", Utf8));
    /// # let owners = builder.materialized_table("owners", Consumed::with(Utf8, Utf8), Materialized::with("owners", Utf8));
    /// places
    ///     .join(owners, |_sensor, place, owner| format!("{owner} at {place}"))
    ///     .to_stream()
    ///     .to("sensors", Produced::with(Utf8, Nullable(Utf8)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn join<W: 'static, R: 'static>(
        self,
        other: Table<K, W>,
        join: impl Fn(&K, &V, &W) -> R + Send + Sync + 'static,
    ) -> Table<K, R> {
        self.join_rows("table_join", other, InnerRows(Arc::new(join)))
    }

    /// Joins with the row that another table has under the same key, or with `None` where it has none:
    /// a table of the keys that this one has. See [`Table::join`].
    ///
    /// ```
    /// # use marea::codec::{Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Materialized, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let places = builder.materialized_table("places", Consumed::with(Utf8, Utf8), Materialized::with("places", Utf8));
    /// # let owners = builder.materialized_table("owners", Consumed::with(Utf8, Utf8), Materialized::with("owners", Utf8));
    /// places
    ///     .left_join(owners, |_sensor, place, owner| format!("{owner:?} at {place}"))
    ///     .to_stream()
    ///     .to("sensors", Produced::with(Utf8, Nullable(Utf8)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn left_join<W: 'static, R: 'static>(
        self,
        other: Table<K, W>,
        join: impl Fn(&K, &V, Option<&W>) -> R + Send + Sync + 'static,
    ) -> Table<K, R> {
        self.join_rows("table_left_join", other, LeftRows(Arc::new(join)))
    }

    /// Joins the rows that either table has under a key, with `None` for the one that has none. See
    /// [`Table::join`].
    ///
    /// ```
    /// # use marea::codec::{Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Materialized, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let places = builder.materialized_table("places", Consumed::with(Utf8, Utf8), Materialized::with("places", Utf8));
    /// # let owners = builder.materialized_table("owners", Consumed::with(Utf8, Utf8), Materialized::with("owners", Utf8));
    /// places
    ///     .outer_join(owners, |_sensor, place, owner| format!("{owner:?} at {place:?}"))
    ///     .to_stream()
    ///     .to("sensors", Produced::with(Utf8, Nullable(Utf8)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn outer_join<W: 'static, R: 'static>(
        self,
        other: Table<K, W>,
        join: impl Fn(&K, Option<&V>, Option<&W>) -> R + Send + Sync + 'static,
    ) -> Table<K, R> {
        self.join_rows("table_outer_join", other, OuterRows(Arc::new(join)))
    }

    fn join_rows<W: 'static, R: 'static, J: JoinRows<K, V, W, R>>(
        self,
        operator: &'static str,
        other: Table<K, W>,
        join: J,
    ) -> Table<K, R> {
        let graph = self.graph;
        let key = self.key;
        let windows = self.windows;
        let below = [&self.old_rows, &other.old_rows];
        let old_rows = OldRows::made_of(below.into_iter().flatten().cloned().collect());
        if J::KIND != TableJoinKind::Inner {
            // What is not there now may have been: its result must be deleted.
            self.old_rows.iter().for_each(OldRows::ask);
        }
        if J::KIND == TableJoinKind::Outer {
            other.old_rows.iter().for_each(OldRows::ask);
        }
        let (Some((left_stores, left_view)), Some((right_stores, right_view))) =
            (self.view, other.view)
        else {
            graph.borrow_mut().report(Error::invalid(format!(
                "a {operator} looks into a table without a store; make both tables with \
                 `materialized_table`, or put `materialized` before the join"
            )));
            return Table::new(graph, self.id, key);
        };
        let join = Arc::new(join);
        let stores: Vec<String> = left_stores.into_iter().chain(right_stores).collect();

        let mut node = LogicalNode::new("table_join_left", LogicalKind::Operator, vec![self.id]);
        node.uses_stores.clone_from(&stores);
        let (own_join, own_key, view) = (join.clone(), key.clone(), right_view.clone());
        let asked = old_rows.clone();
        node.make = Some(Arc::new(move |wiring, id| {
            let view = view(wiring)?;
            let process = LeftTable::new(own_join.clone(), own_key.clone(), view, &asked);
            wiring.add_process::<LeftTable<J, K, V, W, R>>(id, process)
        }));
        let left = graph.borrow_mut().add(node);

        let mut node = LogicalNode::new("table_join_right", LogicalKind::Operator, vec![other.id]);
        node.uses_stores.clone_from(&stores);
        let (own_join, own_key, view) = (join.clone(), key.clone(), left_view.clone());
        let asked = old_rows.clone();
        node.make = Some(Arc::new(move |wiring, id| {
            let view = view(wiring)?;
            let process = RightTable::new(own_join.clone(), own_key.clone(), view, &asked);
            wiring.add_process::<RightTable<J, K, V, W, R>>(id, process)
        }));
        let right = graph.borrow_mut().add(node);

        let mut node = LogicalNode::new(operator, LogicalKind::Operator, vec![left, right]);
        node.joins_partitions = true;
        node.make = Some(Arc::new(|wiring, id| {
            wiring.add_process(id, Pass::<K, Change<R>>::default())
        }));
        let id = graph.borrow_mut().add(node);
        let make: MakeView<K, R> = Arc::new(move |wiring| {
            let (left, right) = (left_view(wiring)?, right_view(wiring)?);
            Ok(Rc::new(JoinView::new(join.clone(), left, right)) as ViewPort<K, R>)
        });
        Table {
            graph,
            id,
            key,
            view: Some((stores, make)),
            old_rows: Some(old_rows),
            windows,
        }
    }
}
