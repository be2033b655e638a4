//! Which results a join has, and how each is made: for joins of tables and of streams.

use std::sync::Arc;

/// Makes the result row from the rows of both sides; `None` if there is no result.
pub(in crate::dsl) trait JoinRows<K, V, W, R>: Send + Sync + 'static {
    /// Which sides may be missing.
    const KIND: JoinKind;

    /// The row of the result.
    fn join(&self, key: &K, left: Option<&V>, right: Option<&W>) -> Option<R>;
}

/// Which results a join of tables has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dsl) enum JoinKind {
    /// Those where both sides have a row.
    Inner,
    /// Those where the left side has one.
    Left,
    /// Those where either has one.
    Outer,
}

/// The inner join of rows.
pub(in crate::dsl) struct InnerRows<F>(pub(in crate::dsl) Arc<F>);
/// The left join of rows.
pub(in crate::dsl) struct LeftRows<F>(pub(in crate::dsl) Arc<F>);
/// The outer join of rows.
pub(in crate::dsl) struct OuterRows<F>(pub(in crate::dsl) Arc<F>);

impl<F, K, V, W, R> JoinRows<K, V, W, R> for InnerRows<F>
where
    F: Fn(&K, &V, &W) -> R + Send + Sync + 'static,
{
    const KIND: JoinKind = JoinKind::Inner;

    fn join(&self, key: &K, left: Option<&V>, right: Option<&W>) -> Option<R> {
        Some((self.0)(key, left?, right?))
    }
}

impl<F, K, V, W, R> JoinRows<K, V, W, R> for LeftRows<F>
where
    F: Fn(&K, &V, Option<&W>) -> R + Send + Sync + 'static,
{
    const KIND: JoinKind = JoinKind::Left;

    fn join(&self, key: &K, left: Option<&V>, right: Option<&W>) -> Option<R> {
        Some((self.0)(key, left?, right))
    }
}

impl<F, K, V, W, R> JoinRows<K, V, W, R> for OuterRows<F>
where
    F: Fn(&K, Option<&V>, Option<&W>) -> R + Send + Sync + 'static,
{
    const KIND: JoinKind = JoinKind::Outer;

    fn join(&self, key: &K, left: Option<&V>, right: Option<&W>) -> Option<R> {
        match (left, right) {
            (None, None) => None,
            (left, right) => Some((self.0)(key, left, right)),
        }
    }
}
