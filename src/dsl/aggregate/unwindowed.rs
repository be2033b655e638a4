//! Aggregates over all time: one row per key.

use std::cell::RefCell;

use super::fold::{Aggregation, AllTime, Grouping, Groups, Initial, Part, SharedFold};
use crate::base::{Record, Result};
use crate::codec::SharedCodec;
use crate::dsl::builder::SharedGraph;
use crate::dsl::operator::Operator;
use crate::dsl::scratch::{Scratch, decode_row};
use crate::dsl::table::StoreView;
use crate::dsl::{Change, Table};
use crate::plan::{LogicalId, OldRows};
use crate::state::KeyValueStore;
use crate::task::{Context, DropReason, Edges, Process};

impl<K: 'static, V: 'static> Grouping<K, V> for AllTime {
    type Key = K;

    fn build<A: 'static>(
        self,
        groups: Groups<K, V>,
        aggregation: Aggregation<K, V, A>,
    ) -> Table<K, A> {
        let Groups {
            graph,
            id: parent,
            key,
            value,
            ..
        } = groups;
        let store = &aggregation.store;
        let (name, row, cached) = (store.name.clone(), store.value.clone(), store.cached);
        let spec = store.rows_spec(&graph, &key);
        let word = aggregation.verb.of(["count", "reduce", "aggregate"]);
        let operator = Operator::new(word).of([parent]).store(spec);
        let operator = operator.old_rows(OldRows::Kept);
        let part = Part::of(&key, value, &aggregation);
        let id = add(&graph, operator, part);
        Table::new(graph, id, key.clone())
            .with_view(
                name.clone(),
                StoreView::make(key, row.clone(), name.clone()),
            )
            .cached_if(cached, &name, row)
    }
}

/// Adds an operator over a store that already exists.
pub(super) fn add<K: 'static, V: 'static, A: 'static>(
    graph: &SharedGraph,
    operator: Operator,
    part: Part<K, V, A>,
) -> LogicalId {
    operator.add(graph, move |wiring, id| {
        Ok(Aggregate {
            fold: part.fold.clone(),
            store: wiring.key_value(&part.store)?,
            key: part.key.clone(),
            value: part.value.clone(),
            row: part.row.clone(),
            old: part.old(wiring, id),
            scratch: RefCell::default(),
        })
    })
}

/// Folds each record into the row of its key and forwards the row.
///
/// A null key or a null value is dropped and counted. The row's timestamp is the largest of the
/// records folded into it. A row that becomes null is deleted; the tombstone is forwarded.
struct Aggregate<K, V, A> {
    fold: SharedFold<K, V, A>,
    store: KeyValueStore,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    row: SharedCodec<A>,
    old: Option<Initial<A>>,
    scratch: RefCell<Scratch>,
}

impl<K, V, A> Process for Aggregate<K, V, A>
where
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
        let new = (self.fold)(&key, value, old).filter(|new| !self.row.is_null(new));
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
