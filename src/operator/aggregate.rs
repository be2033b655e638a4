//! `count`, `reduce`, `aggregate` of a grouped stream: one row a key.

use std::cell::RefCell;
use std::sync::Arc;

use super::Change;
use super::scratch::{Scratch, decode_row};
use crate::base::{Record, Result};
use crate::codec::SharedCodec;
use crate::state::KeyValueStore;
use crate::task::{Context, DropReason, Edges, Process};

/// How a value is folded into what there is: `(key, value, row so far)`, giving the new row or `None`
/// to delete it.
pub trait Fold<K, V, A>: 'static {
    /// The new row.
    fn fold(&self, key: &K, value: V, row: Option<A>) -> Option<A>;
}

impl<K, V, A, F> Fold<K, V, A> for F
where
    F: Fn(&K, V, Option<A>) -> Option<A> + 'static,
{
    fn fold(&self, key: &K, value: V, row: Option<A>) -> Option<A> {
        self(key, value, row)
    }
}

/// What the old row of an aggregate's first update is: the initial value, or nothing for a reduction.
pub type Initial<A> = Arc<dyn Fn() -> Option<A> + Send + Sync>;

/// Folds each record into the row of its key and forwards the row.
///
/// A null key or a null value is dropped and counted. The row's timestamp is the largest of the
/// records folded into it. A row that becomes null is deleted; the tombstone is forwarded.
pub struct Aggregate<F, K, V, A> {
    fold: F,
    store: KeyValueStore,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    row: SharedCodec<A>,
    old: Option<Initial<A>>,
    scratch: RefCell<Scratch>,
}

impl<F, K, V, A> Aggregate<F, K, V, A> {
    /// An aggregate over `store`; `value` is asked only whether a value is null. With `old` each
    /// change has the old row, or what that gives where there was none.
    pub fn new(
        fold: F,
        store: KeyValueStore,
        key: SharedCodec<K>,
        value: SharedCodec<V>,
        row: SharedCodec<A>,
        old: Option<Initial<A>>,
    ) -> Self {
        Self {
            fold,
            store,
            key,
            value,
            row,
            old,
            scratch: RefCell::default(),
        }
    }
}

impl<F, K, V, A> Process for Aggregate<F, K, V, A>
where
    F: Fold<K, V, A>,
    K: 'static,
    V: 'static,
    A: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = K;
    type ValueOut = Change<A>;

    fn process(
        &self,
        record: Record<K, V>,
        out: &Edges<K, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        let Record {
            key,
            value,
            timestamp_ms,
            headers,
        } = record;
        let mut scratch = self.scratch.borrow_mut();
        if !scratch.encode_key(&*self.key, &key)? {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        if self.value.is_null(&value) {
            cx.drop_record(DropReason::NullValue);
            return Ok(());
        }
        let sent_old = match &self.old {
            None => None,
            Some(initial) => {
                let row = self
                    .store
                    .get(&scratch.key, |row| decode_row(&*self.row, row))??;
                row.map(|(row, _)| row).or_else(|| initial())
            }
        };
        let old = self
            .store
            .get(&scratch.key, |row| decode_row(&*self.row, row))??;
        let (old, timestamp_ms) = match old {
            Some((old, old_ms)) => (Some(old), timestamp_ms.max(old_ms)),
            None => (None, timestamp_ms),
        };
        let new = self
            .fold
            .fold(&key, value, old)
            .filter(|new| !self.row.is_null(new));
        match &new {
            Some(row) if scratch.encode_row(&*self.row, row, timestamp_ms)? => {
                self.store.put(&scratch.key, Some(&scratch.row))?;
            }
            _ => self.store.put(&scratch.key, None)?,
        }
        drop(scratch);
        out.push(
            Record {
                key,
                value: Change { new, old: sent_old },
                timestamp_ms,
                headers,
            },
            cx,
        )
    }
}
