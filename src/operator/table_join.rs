//! Joins of two tables: what changes on either side changes the result's row of the same key.
//!
//! A result has the larger of the two timestamps and the headers of the record that made it. Source:
//! `KTableKTableInnerJoin`, `-LeftJoin`, `-RightJoin`, `-OuterJoin`.

use std::marker::PhantomData;
use std::sync::Arc;

use super::{Change, OldRows};
use crate::base::{NO_TIMESTAMP, Record, Result};
use crate::codec::SharedCodec;
use crate::task::{Context, DropReason, Edges, Process, View, ViewPort};

/// Makes the row of a result of the rows of both sides; `None` where that is none.
pub trait JoinRows<K, V, W, R>: Send + Sync + 'static {
    /// Which sides may be without a row.
    const KIND: TableJoinKind;

    /// The row of the result.
    fn join(&self, key: &K, left: Option<&V>, right: Option<&W>) -> Option<R>;
}

/// Which results a join of tables has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableJoinKind {
    /// Those where both sides have a row.
    Inner,
    /// Those where the left side has one.
    Left,
    /// Those where either has one.
    Outer,
}

/// The inner join of rows.
pub struct InnerRows<F>(pub Arc<F>);
/// The left join of rows.
pub struct LeftRows<F>(pub Arc<F>);
/// The outer join of rows.
pub struct OuterRows<F>(pub Arc<F>);

impl<F, K, V, W, R> JoinRows<K, V, W, R> for InnerRows<F>
where
    F: Fn(&K, &V, &W) -> R + Send + Sync + 'static,
{
    const KIND: TableJoinKind = TableJoinKind::Inner;

    fn join(&self, key: &K, left: Option<&V>, right: Option<&W>) -> Option<R> {
        Some((self.0)(key, left?, right?))
    }
}

impl<F, K, V, W, R> JoinRows<K, V, W, R> for LeftRows<F>
where
    F: Fn(&K, &V, Option<&W>) -> R + Send + Sync + 'static,
{
    const KIND: TableJoinKind = TableJoinKind::Left;

    fn join(&self, key: &K, left: Option<&V>, right: Option<&W>) -> Option<R> {
        Some((self.0)(key, left?, right))
    }
}

impl<F, K, V, W, R> JoinRows<K, V, W, R> for OuterRows<F>
where
    F: Fn(&K, Option<&V>, Option<&W>) -> R + Send + Sync + 'static,
{
    const KIND: TableJoinKind = TableJoinKind::Outer;

    fn join(&self, key: &K, left: Option<&V>, right: Option<&W>) -> Option<R> {
        match (left, right) {
            (None, None) => None,
            (left, right) => Some((self.0)(key, left, right)),
        }
    }
}

/// The changes of the left table against the rows of the right one.
pub struct LeftTable<J, K, V, W, R> {
    join: Arc<J>,
    key: SharedCodec<K>,
    right: ViewPort<K, W>,
    sends_old: bool,
    types: PhantomData<fn(V) -> R>,
}

impl<J, K, V, W, R> LeftTable<J, K, V, W, R> {
    /// The left side of a join; `old_rows` says whether the result's old rows are asked for.
    pub fn new(
        join: Arc<J>,
        key: SharedCodec<K>,
        right: ViewPort<K, W>,
        old_rows: &OldRows,
    ) -> Self {
        Self {
            join,
            key,
            right,
            sends_old: old_rows.are_asked(),
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
        let right = self.right.get(&record.key, cx)?;
        let change = &record.value;
        let is_needless = match J::KIND {
            TableJoinKind::Inner => right.is_none(),
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

/// The changes of the right table against the rows of the left one.
pub struct RightTable<J, K, V, W, R> {
    join: Arc<J>,
    key: SharedCodec<K>,
    left: ViewPort<K, V>,
    sends_old: bool,
    types: PhantomData<fn(W) -> R>,
}

impl<J, K, V, W, R> RightTable<J, K, V, W, R> {
    /// The right side of a join; `old_rows` says whether the result's old rows are asked for.
    pub fn new(
        join: Arc<J>,
        key: SharedCodec<K>,
        left: ViewPort<K, V>,
        old_rows: &OldRows,
    ) -> Self {
        Self {
            join,
            key,
            left,
            sends_old: old_rows.are_asked(),
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
        let left = self.left.get(&record.key, cx)?;
        let change = &record.value;
        let is_needless = match J::KIND {
            TableJoinKind::Outer => left.is_none() && change.new.is_none() && change.old.is_none(),
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
pub struct JoinView<J, K, V, W> {
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
        if left.is_none() && J::KIND != TableJoinKind::Outer {
            return Ok(None);
        }
        let (right, right_ms) = apart(self.right.get(key, cx)?);
        let joined = self.join.join(key, left.as_ref(), right.as_ref());
        Ok(joined.map(|row| (row, left_ms.max(right_ms))))
    }
}

/// A row and its timestamp, which is before all others where there is no row.
fn apart<V>(found: Option<(V, i64)>) -> (Option<V>, i64) {
    match found {
        Some((row, timestamp_ms)) => (Some(row), timestamp_ms),
        None => (None, NO_TIMESTAMP),
    }
}
