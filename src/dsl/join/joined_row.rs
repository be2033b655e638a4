//! What a stream's record and a table's row make: for joins with tables and with global tables.

use std::sync::Arc;

use crate::base::{Record, Result};
use crate::task::{Context, Edges};

/// Makes the value of a result of a record's and of the row that it meets in a table.
pub(super) trait JoinRow<K, V, W, R>: Clone + Send + Sync + 'static {
    /// Whether a record without a row has a result.
    const KEEPS_ALONE: bool;

    /// The value of the result, if there is one.
    fn join(&self, key: &K, value: V, row: Option<W>) -> Option<R>;

    /// Sends the result on, if there is one, as the record that made it: with its key, time and headers.
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
