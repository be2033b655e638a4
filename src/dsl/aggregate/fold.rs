//! What the aggregates of all groupings share: what is folded, and into what.

use std::sync::Arc;

use crate::codec::SharedCodec;
use crate::dsl::builder::SharedGraph;
use crate::dsl::{Materialized, Table};
use crate::plan::LogicalId;

/// A fold as operators keep it: `(key, value, row so far)` to the new row, `None` deletes it.
pub(in crate::dsl) type SharedFold<K, V, A> =
    Arc<dyn Fn(&K, V, Option<A>) -> Option<A> + Send + Sync>;

/// Two rows of one key as one, where sessions meet.
pub(in crate::dsl) type SharedMerge<K, A> = Arc<dyn Fn(&K, A, A) -> Option<A> + Send + Sync>;

/// What the old row of an aggregate's first update is: the initial value, or nothing for a reduction.
pub(in crate::dsl) type Initial<A> = Arc<dyn Fn() -> Option<A> + Send + Sync>;

/// Which of the three aggregates it is; descriptions say it.
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
    /// Only sessions ask for it.
    pub(in crate::dsl) merge: Option<SharedMerge<K, A>>,
    pub(in crate::dsl) store: Materialized<A>,
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

/// A stream whose equal keys are together: what a grouping builds on.
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

/// One row a key, over all time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllTime;

impl WithoutMerge for AllTime {}
