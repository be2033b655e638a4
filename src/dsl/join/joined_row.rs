//! The result of a stream's record and a table's row, for joins with tables and with global tables.

use std::sync::Arc;

use crate::base::{Record, Result};
use crate::task::{Context, Edges};

/// Computes the value of a result from a record and the table row that it meets.
pub(super) trait JoinRow<K, V, W, R>: Clone + Send + Sync + 'static {
    /// Whether a record without a row has a result.
    const KEEPS_ALONE: bool;

    /// The value of the result, if there is one.
    fn join(&self, key: &K, value: V, row: Option<W>) -> Option<R>;

    /// Forwards the result, if there is one, with the key, time and headers of its record.
    fn push(
        &self,
        record: Record<K, V>,
        row: Option<W>,
        out: &Edges<K, R>,
        cx: &mut Context,
    ) -> Result<()> {
        let Record {
            key,
            value,
            timestamp_ms,
            headers,
        } = record;
        let Some(value) = self.join(&key, value, row) else {
            return Ok(());
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

/// The inner join.
pub(super) struct InnerRow<F>(pub(super) Arc<F>);
/// The left join.
pub(super) struct LeftRow<F>(pub(super) Arc<F>);

impl<F> Clone for InnerRow<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F> Clone for LeftRow<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F, K, V, W, R> JoinRow<K, V, W, R> for InnerRow<F>
where
    F: Fn(&K, V, W) -> R + Send + Sync + 'static,
{
    const KEEPS_ALONE: bool = false;

    fn join(&self, key: &K, value: V, row: Option<W>) -> Option<R> {
        Some((self.0)(key, value, row?))
    }
}

impl<F, K, V, W, R> JoinRow<K, V, W, R> for LeftRow<F>
where
    F: Fn(&K, V, Option<W>) -> R + Send + Sync + 'static,
{
    const KEEPS_ALONE: bool = true;

    fn join(&self, key: &K, value: V, row: Option<W>) -> Option<R> {
        Some((self.0)(key, value, row))
    }
}
