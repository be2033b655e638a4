//! The left side again: receives the answers, and joins those that its rows still wait for.
//!
//! Source: `ResponseJoinProcessorSupplier`.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

use super::hash::hash;
use super::layout::{Response, ResponseCodec, bytes_of};
use crate::base::{Record, Result};
use crate::codec::{Codec, SharedCodec};
use crate::dsl::Change;
use crate::dsl::join::rows::JoinRows;
use crate::state::KeyValueStore;
use crate::task::{
    Context, DropReason, Edges, OutputId, PartitionBy, Process, Push, SinkTime, Stage, Tick,
    TimeBound, ViewPort,
};

/// Sends answers to the partitions of the rows that asked.
pub(super) struct Back<K> {
    pub(super) key: SharedCodec<K>,
    pub(super) output: OutputId,
    pub(super) time: Option<(SinkTime, TimeBound)>,
    pub(super) response: RefCell<Vec<u8>>,
}

impl<K: 'static> Push<Vec<u8>, Response> for Back<K> {
    fn push(&self, record: Record<Vec<u8>, Response>, cx: &mut Context) -> Result<()> {
        let stage = cx.enter(Stage::Encode);
        let response = &mut *self.response.borrow_mut();
        response.clear();
        ResponseCodec.encode(&record.value, response)?;
        let partition = match record.value.partition {
            Some(partition) => cx.partition_of_task(self.output, partition),
            None => {
                let by_key = PartitionBy::Key(self.key.partition_bytes(&record.key));
                cx.partition_of(self.output, by_key)?
            }
        };
        cx.write_to(
            (self.output, partition),
            Some(&record.key),
            Some(response),
            record.timestamp_ms,
            &record.headers,
            self.time.as_ref(),
        )?;
        cx.enter(stage);
        Ok(())
    }

    fn tick(&self, tick: Tick, _cx: &mut Context) -> Result<()> {
        if let (Some((time, _)), Tick::Ended) = (&self.time, tick) {
            time.end();
        }
        Ok(())
    }
}

/// Joins an answer with the left row, if it is the row that asked.
pub(super) struct Resolve<J, K, V, W, R> {
    pub(super) join: Arc<J>,
    pub(super) key: SharedCodec<K>,
    pub(super) left: SharedCodec<V>,
    pub(super) right: SharedCodec<W>,
    pub(super) rows: ViewPort<K, V>,
    /// Which keys have a result, if a row without a partner has none.
    pub(super) results: Option<KeyValueStore>,
    pub(super) types: PhantomData<fn() -> R>,
}

impl<J, K, V, W, R> Process for Resolve<J, K, V, W, R>
where
    J: JoinRows<K, V, W, R>,
    K: 'static,
    V: 'static,
    W: 'static,
    R: 'static,
{
    type KeyIn = Vec<u8>;
    type ValueIn = Response;
    type KeyOut = K;
    type ValueOut = Change<R>;

    fn process(
        &self,
        record: Record<Vec<u8>, Response>,
        out: &Edges<K, Change<R>>,
        cx: &mut Context,
    ) -> Result<()> {
        let key = self.key.decode(Some(&record.key))?;
        let left = self.rows.get(&key, cx)?.map(|(row, _)| row);
        let bytes = left.as_ref().map(|row| bytes_of(&*self.left, row));
        let current = bytes.transpose()?.flatten().map(|bytes| hash(&bytes));
        if current != record.value.hash {
            // The current request of the row will be answered separately.
            if !record.value.not_found {
                cx.drop_record(DropReason::Superseded);
            }
            return Ok(());
        }
        let right = record.value.row.as_deref();
        let right = right.map(|row| self.right.decode(Some(row))).transpose()?;
        let new = self.join.join(&key, left.as_ref(), right.as_ref());
        if let Some(results) = &self.results {
            let is_out = results.get(&record.key, |row| row.is_some())?;
            if record.value.not_found && !is_out {
                return Ok(());
            }
            if is_out != new.is_some() {
                results.put(&record.key, new.is_some().then_some(&[1]))?;
            }
        }
        let mut joined = Record::new(key, Change::to(new), record.timestamp_ms);
        joined.headers = record.headers;
        out.push(joined, cx)
    }
}
