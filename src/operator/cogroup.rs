//! `cogroup`: several streams folded into the rows of one table, each by a closure of its own.

use std::sync::Arc;

use super::Fold;

/// How one of the streams is folded in. What a row begins with is the same for all.
pub struct CogroupFold<A, F> {
    initial: Arc<dyn Fn() -> A + Send + Sync>,
    aggregate: Arc<F>,
}

impl<A, F> CogroupFold<A, F> {
    /// Folds with `aggregate` into what begins as `initial`.
    pub fn new(initial: Arc<dyn Fn() -> A + Send + Sync>, aggregate: Arc<F>) -> Self {
        Self { initial, aggregate }
    }
}

impl<A, F> Clone for CogroupFold<A, F> {
    fn clone(&self) -> Self {
        Self {
            initial: self.initial.clone(),
            aggregate: self.aggregate.clone(),
        }
    }
}

impl<K, V, A, F, R> Fold<K, V, A> for CogroupFold<A, F>
where
    F: Fn(&K, V, A) -> R + 'static,
    A: 'static,
    R: Into<Option<A>>,
{
    fn fold(&self, key: &K, value: V, row: Option<A>) -> Option<A> {
        let so_far = row.unwrap_or_else(|| (self.initial)());
        (self.aggregate)(key, value, so_far).into()
    }
}
