//! What the aggregates of all groupings have in common: the values that are folded, and the rows they are
//! folded into.

use std::sync::Arc;

use crate::codec::SharedCodec;
use crate::dsl::builder::SharedGraph;
use crate::dsl::operator_time::OperatorTime;
use crate::dsl::{Materialized, Table};
use crate::plan::{LogicalId, OldRows};
use crate::task::{NodeId, Wiring};

/// A fold as operators keep it: `(key, value, row so far)` to the new row, `None` deletes it.
pub(in crate::dsl) type SharedFold<K, V, A> =
    Arc<dyn Fn(&K, V, Option<A>) -> Option<A> + Send + Sync>;

/// Merges two rows of one key, when sessions meet.
pub(in crate::dsl) type SharedMerge<K, A> = Arc<dyn Fn(&K, A, A) -> Option<A> + Send + Sync>;

/// The old row of an aggregate's first update: the initial value, or nothing for a reduction.
pub(in crate::dsl) type Initial<A> = Arc<dyn Fn() -> Option<A> + Send + Sync>;

/// Which of the three aggregates it is; used in descriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dsl) enum Verb {
    Count,
    Reduce,
    Aggregate,
}

impl Verb {
    /// One of the three words of a grouping.
    pub(in crate::dsl) fn of(self, [count, reduce, aggregate]: [&'static str; 3]) -> &'static str {
        match self {
            Self::Count => count,
            Self::Reduce => reduce,
            Self::Aggregate => aggregate,
        }
    }
}

/// What is aggregated, whatever the grouping.
pub struct Aggregation<K, V, A> {
    pub(in crate::dsl) verb: Verb,
    pub(in crate::dsl) initial: Initial<A>,
    pub(in crate::dsl) fold: SharedFold<K, V, A>,
    /// Used only by sessions.
    pub(in crate::dsl) merge: Option<SharedMerge<K, A>>,
    pub(in crate::dsl) store: Materialized<A>,
}

/// One operator of an aggregate: what it folds, and the store of its rows. A cogroup has several over one
/// store.
pub(super) struct Part<K, V, A> {
    pub(super) key: SharedCodec<K>,
    pub(super) value: SharedCodec<V>,
    pub(super) row: SharedCodec<A>,
    /// The name of the store.
    pub(super) store: String,
    pub(super) initial: Initial<A>,
    pub(super) fold: SharedFold<K, V, A>,
    /// Whether a cache follows it, which needs to know each row's previous value.
    pub(super) cached: bool,
    /// Which stream of a cogroup it folds; each has its own time.
    pub(super) number: Option<usize>,
}

impl<K, V, A: 'static> Part<K, V, A> {
    /// Of the one stream that is aggregated.
    pub(super) fn of(
        key: &SharedCodec<K>,
        value: SharedCodec<V>,
        aggregation: &Aggregation<K, V, A>,
    ) -> Self {
        Self {
            key: key.clone(),
            value,
            row: aggregation.store.value.clone(),
            store: aggregation.store.name.clone(),
            initial: aggregation.initial.clone(),
            fold: aggregation.fold.clone(),
            cached: aggregation.store.cached,
            number: None,
        }
    }

    /// Its time. Of several operators over one store each has its own, but all of them wait for the slowest
    /// origin.
    pub(super) fn time(&self, wiring: &Wiring<'_>, id: NodeId) -> OperatorTime {
        match self.number {
            None => OperatorTime::of(wiring, &self.store, wiring.bound(id)),
            Some(number) => {
                let bound = wiring.bound_of_stores(&[&self.store]);
                OperatorTime::of(wiring, &format!("{}/{number}", self.store), bound)
            }
        }
    }

    /// Whether old rows are sent too, and the old row of a first update: the initial value, or nothing if
    /// a cache follows, which passes on what there was before.
    pub(super) fn old(&self, wiring: &Wiring<'_>, id: NodeId) -> Option<Initial<A>> {
        match self.cached {
            true => Some(Arc::new(|| None)),
            false => wiring.sends_old_rows(id).then(|| self.initial.clone()),
        }
    }
}

/// When an aggregate of windows sends its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emit {
    /// Each update.
    #[default]
    Updates,
    /// The last row of each window, when it closes.
    OnClose,
}

impl Emit {
    /// What is known about the rows before its changes.
    pub(super) fn old_rows(self) -> OldRows {
        match self {
            Self::Updates => OldRows::Kept,
            Self::OnClose => OldRows::Absent,
        }
    }
}

/// A stream whose equal keys are together: the basis of a grouping.
pub struct Groups<K, V> {
    pub(in crate::dsl) graph: SharedGraph,
    pub(in crate::dsl) id: LogicalId,
    pub(in crate::dsl) key: SharedCodec<K>,
    pub(in crate::dsl) value: SharedCodec<V>,
    pub(in crate::dsl) emit: Emit,
}

/// Which rows a record belongs to: over all time, in windows, in sessions. Implemented by [`AllTime`] and
/// by the kinds of windows.
#[diagnostic::on_unimplemented(
    message = "records cannot be grouped by `{Self}`",
    note = "give windows: `TimeWindows::of(size)`, `SlidingWindows::of(difference)`, `SessionWindows::with_gap(gap)`",
    note = "windows need keys and values that are `Clone`: a record may belong to several"
)]
pub trait Grouping<K, V>: Sized {
    /// The key of the table.
    type Key: 'static;

    /// Adds the operator that keeps the rows.
    fn build<A: 'static>(
        self,
        groups: Groups<K, V>,
        aggregation: Aggregation<K, V, A>,
    ) -> Table<Self::Key, A>;
}

/// A grouping whose rows never become one: all but sessions.
pub trait WithoutMerge {}

/// One row per key, over all time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllTime;

impl WithoutMerge for AllTime {}
