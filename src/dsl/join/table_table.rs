//! Joins of two tables: a change on either side changes the result row of the same key.
//!
//! A result has the larger of the two timestamps and the headers of the record that made it. Source:
//! `KTableKTableInnerJoin`, `-LeftJoin`, `-RightJoin`, `-OuterJoin`.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use super::rows::{InnerRows, JoinKind, JoinRows, LeftRows, OuterRows};
use crate::base::{Error, NO_TIMESTAMP, Record, Result};
use crate::codec::SharedCodec;
use crate::dsl::operator::Operator;
use crate::dsl::pass::Pass;
use crate::dsl::table::MakeView;
use crate::dsl::{Change, Materialized, Table};
use crate::plan::OldRows;
use crate::task::{Context, DropReason, Edges, Process, View, ViewPort};

impl<K: 'static, V: 'static> Table<K, V> {
    /// Joins with the row that another table has under the same key: the result contains the keys that
    /// both have, and its rows are kept in a store. Both tables must have stores.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let places = builder.table::<String, String>("places", "places-rows");
    /// # let owners = builder.table::<String, String>("owners", "owners-rows");
    /// places
    ///     .join(owners, |_sensor, place, owner| format!("{owner} at {place}"), "owned")
    ///     .to_stream()
    ///     .to("sensors");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn join<W: 'static, R: 'static>(
        self,
        other: Table<K, W>,
        join: impl Fn(&K, &V, &W) -> R + Send + Sync + 'static,
        store: impl Into<Materialized<R>>,
    ) -> Table<K, R> {
        self.join_without_store(other, join).materialized(store)
    }

    /// As [`Table::join`]; a row without a counterpart in the other table is joined with `None`: the
    /// result has all keys of this table.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let places = builder.table::<String, String>("places", "places-rows");
    /// # let owners = builder.table::<String, String>("owners", "owners-rows");
    /// places
    ///     .left_join(owners, |_sensor, place, owner| format!("{owner:?} at {place}"), "owned")
    ///     .to_stream()
    ///     .to("sensors");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn left_join<W: 'static, R: 'static>(
        self,
        other: Table<K, W>,
        join: impl Fn(&K, &V, Option<&W>) -> R + Send + Sync + 'static,
        store: impl Into<Materialized<R>>,
    ) -> Table<K, R> {
        self.left_join_without_store(other, join)
            .materialized(store)
    }

    /// As [`Table::join`]; a row of either table is joined with `None` if the other has none.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let places = builder.table::<String, String>("places", "places-rows");
    /// # let owners = builder.table::<String, String>("owners", "owners-rows");
    /// places
    ///     .outer_join(owners, |_sensor, place, owner| format!("{owner:?} at {place:?}"), "owned")
    ///     .to_stream()
    ///     .to("sensors");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn outer_join<W: 'static, R: 'static>(
        self,
        other: Table<K, W>,
        join: impl Fn(&K, Option<&V>, Option<&W>) -> R + Send + Sync + 'static,
        store: impl Into<Materialized<R>>,
    ) -> Table<K, R> {
        self.outer_join_without_store(other, join)
            .materialized(store)
    }

    /// As [`Table::join`], without a store of its own: a lookup computes the join of the two tables.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let places = builder.table::<String, String>("places", "places-rows");
    /// # let owners = builder.table::<String, String>("owners", "owners-rows");
    /// places
    ///     .join_without_store(owners, |_sensor, place, owner| format!("{owner} at {place}"))
    ///     .to_stream()
    ///     .to("sensors");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn join_without_store<W: 'static, R: 'static>(
        self,
        other: Table<K, W>,
        join: impl Fn(&K, &V, &W) -> R + Send + Sync + 'static,
    ) -> Table<K, R> {
        self.join_rows("table_join", other, InnerRows(Arc::new(join)))
    }

    /// As [`Table::left_join`], without a store of its own; see [`Table::join_without_store`].
    pub fn left_join_without_store<W: 'static, R: 'static>(
        self,
        other: Table<K, W>,
        join: impl Fn(&K, &V, Option<&W>) -> R + Send + Sync + 'static,
    ) -> Table<K, R> {
        self.join_rows("table_left_join", other, LeftRows(Arc::new(join)))
    }

    /// As [`Table::outer_join`], without a store of its own; see [`Table::join_without_store`].
    pub fn outer_join_without_store<W: 'static, R: 'static>(
        self,
        other: Table<K, W>,
        join: impl Fn(&K, Option<&V>, Option<&W>) -> R + Send + Sync + 'static,
    ) -> Table<K, R> {
        self.join_rows("table_outer_join", other, OuterRows(Arc::new(join)))
    }

    fn join_rows<W: 'static, R: 'static, J: JoinRows<K, V, W, R>>(
        self,
        word: &'static str,
        other: Table<K, W>,
        join: J,
    ) -> Table<K, R> {
        let self_history = self.history_ms();
        let graph = self.graph;
        let key = self.key;
        // Out-of-order changes take no part: results are computed from the newest rows.
        let newest_only = (self_history.is_some(), other.history_ms().is_some());
        let (Some((left_stores, left_view)), Some((right_stores, right_view))) =
            (self.view, other.view)
        else {
            graph.borrow_mut().report(Error::invalid(format!(
                "a {word} needs tables with a store; make both tables with \
                 `StreamBuilder::table`, or put `materialized` before the join"
            )));
            return Table::new(graph, self.id, key);
        };
        let join = Arc::new(join);
        let stores: Vec<String> = left_stores.into_iter().chain(right_stores).collect();
        let side = |word, parent, wants| {
            let operator = Operator::new(word).of([parent]);
            let operator = operator.old_rows(OldRows::OfParents);
            let operator = match wants {
                true => operator.wants_old_rows(),
                false => operator,
            };
            stores.iter().fold(operator, Operator::uses)
        };
        // A row that is missing now may have existed: its result must be deleted.
        let left_wants = J::KIND != JoinKind::Inner;
        let right_wants = J::KIND == JoinKind::Outer;

        let (own_join, own_key, view) = (join.clone(), key.clone(), right_view.clone());
        let left = side("table_join_left", self.id, left_wants);
        let left = left.add(&graph, move |wiring, id| {
            let (join, key, view) = (own_join.clone(), own_key.clone(), view(wiring)?);
            let sends_old = wiring.sends_old_rows(id);
            Ok(LeftTable::<J, K, V, W, R>::new(
                join,
                key,
                view,
                (sends_old, newest_only.0),
            ))
        });
        let (own_join, own_key, view) = (join.clone(), key.clone(), left_view.clone());
        let right = side("table_join_right", other.id, right_wants);
        let right = right.add(&graph, move |wiring, id| {
            let (join, key, view) = (own_join.clone(), own_key.clone(), view(wiring)?);
            let sends_old = wiring.sends_old_rows(id);
            Ok(RightTable::<J, K, V, W, R>::new(
                join,
                key,
                view,
                (sends_old, newest_only.1),
            ))
        });
        let operator = Operator::new(word).of([left, right]).joins_partitions();
        let operator = operator.old_rows(OldRows::OfParents);
        let id = operator.add(&graph, |_, _| Ok(Pass::<K, Change<R>>::default()));
        let make: MakeView<K, R> = Arc::new(move |wiring| {
            let (left, right) = (left_view(wiring)?, right_view(wiring)?);
            Ok(Rc::new(JoinView::new(join.clone(), left, right)) as ViewPort<K, R>)
        });
        Table {
            graph,
            id,
            key,
            view: Some((stores, make)),
            windows: self.windows,
        }
    }
}

/// Joins the changes of the left table with the rows of the right one.
struct LeftTable<J, K, V, W, R> {
    join: Arc<J>,
    key: SharedCodec<K>,
    right: ViewPort<K, W>,
    sends_old: bool,
    newest_only: bool,
    types: PhantomData<fn(V) -> R>,
}

impl<J, K, V, W, R> LeftTable<J, K, V, W, R> {
    /// The left side of a join; whether the result's old rows are needed, and whether out-of-order
    /// changes are left out.
    pub fn new(
        join: Arc<J>,
        key: SharedCodec<K>,
        right: ViewPort<K, W>,
        (sends_old, newest_only): (bool, bool),
    ) -> Self {
        Self {
            join,
            key,
            right,
            sends_old,
            newest_only,
            types: PhantomData,
        }
    }
}

impl<J, K, V, W, R> Process for LeftTable<J, K, V, W, R>
where
    J: JoinRows<K, V, W, R>,
    K: 'static,
    V: 'static,
    W: 'static,
    R: 'static,
{
    type KeyIn = K;
    type ValueIn = Change<V>;
    type KeyOut = K;
    type ValueOut = Change<R>;

    fn process(
        &self,
        record: Record<K, Change<V>>,
        out: &Edges<K, Change<R>>,
        cx: &mut Context,
    ) -> Result<()> {
        if self.key.is_null(&record.key) {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        if self.newest_only && cx.is_overtaken() {
            cx.drop_record(DropReason::OutOfOrder);
            return Ok(());
        }
        let right = self.right.get(&record.key, cx)?;
        let change = &record.value;
        let is_needless = match J::KIND {
            JoinKind::Inner => right.is_none(),
            _ => right.is_none() && change.new.is_none() && change.old.is_none(),
        };
        if is_needless {
            return Ok(());
        }
        let (right, right_ms) = apart(right);
        let timestamp_ms = record.timestamp_ms.max(right_ms);
        let mut joined = record.map_value(|key, change| Change {
            new: self.join.join(key, change.new.as_ref(), right.as_ref()),
            old: match self.sends_old {
                true => self.join.join(key, change.old.as_ref(), right.as_ref()),
                false => None,
            },
        });
        joined.timestamp_ms = timestamp_ms;
        out.push(joined, cx)
    }
}

/// Joins the changes of the right table with the rows of the left one.
struct RightTable<J, K, V, W, R> {
    join: Arc<J>,
    key: SharedCodec<K>,
    left: ViewPort<K, V>,
    sends_old: bool,
    newest_only: bool,
    types: PhantomData<fn(W) -> R>,
}

impl<J, K, V, W, R> RightTable<J, K, V, W, R> {
    /// The right side of a join; whether the result's old rows are needed, and whether out-of-order
    /// changes are left out.
    pub fn new(
        join: Arc<J>,
        key: SharedCodec<K>,
        left: ViewPort<K, V>,
        (sends_old, newest_only): (bool, bool),
    ) -> Self {
        Self {
            join,
            key,
            left,
            sends_old,
            newest_only,
            types: PhantomData,
        }
    }
}

impl<J, K, V, W, R> Process for RightTable<J, K, V, W, R>
where
    J: JoinRows<K, V, W, R>,
    K: 'static,
    V: 'static,
    W: 'static,
    R: 'static,
{
    type KeyIn = K;
    type ValueIn = Change<W>;
    type KeyOut = K;
    type ValueOut = Change<R>;

    fn process(
        &self,
        record: Record<K, Change<W>>,
        out: &Edges<K, Change<R>>,
        cx: &mut Context,
    ) -> Result<()> {
        if self.key.is_null(&record.key) {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        if self.newest_only && cx.is_overtaken() {
            cx.drop_record(DropReason::OutOfOrder);
            return Ok(());
        }
        let left = self.left.get(&record.key, cx)?;
        let change = &record.value;
        let is_needless = match J::KIND {
            JoinKind::Outer => left.is_none() && change.new.is_none() && change.old.is_none(),
            _ => left.is_none(),
        };
        if is_needless {
            return Ok(());
        }
        let (left, left_ms) = apart(left);
        let timestamp_ms = record.timestamp_ms.max(left_ms);
        let mut joined = record.map_value(|key, change| Change {
            new: self.join.join(key, left.as_ref(), change.new.as_ref()),
            old: match self.sends_old {
                true => self.join.join(key, left.as_ref(), change.old.as_ref()),
                false => None,
            },
        });
        joined.timestamp_ms = timestamp_ms;
        out.push(joined, cx)
    }
}

/// The view of a join: joins what it finds in both tables.
struct JoinView<J, K, V, W> {
    join: Arc<J>,
    left: ViewPort<K, V>,
    right: ViewPort<K, W>,
}

impl<J, K, V, W> JoinView<J, K, V, W> {
    /// A view over the views of both sides.
    pub fn new(join: Arc<J>, left: ViewPort<K, V>, right: ViewPort<K, W>) -> Self {
        Self { join, left, right }
    }
}

impl<J, K, V, W, R> View<K, R> for JoinView<J, K, V, W>
where
    J: JoinRows<K, V, W, R>,
{
    fn get(&self, key: &K, cx: &mut Context) -> Result<Option<(R, i64)>> {
        let (left, left_ms) = apart(self.left.get(key, cx)?);
        if left.is_none() && J::KIND != JoinKind::Outer {
            return Ok(None);
        }
        let (right, right_ms) = apart(self.right.get(key, cx)?);
        let joined = self.join.join(key, left.as_ref(), right.as_ref());
        Ok(joined.map(|row| (row, left_ms.max(right_ms))))
    }
}

/// A row and its timestamp, which is before all others if there is no row.
fn apart<V>(found: Option<(V, i64)>) -> (Option<V>, i64) {
    match found {
        Some((row, timestamp_ms)) => (Some(row), timestamp_ms),
        None => (None, NO_TIMESTAMP),
    }
}
