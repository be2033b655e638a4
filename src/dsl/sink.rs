//! `to` and the writing side of `repartition`: encodes records for a topic.

use std::cell::RefCell;

use super::scratch::Scratch;
use crate::base::{Record, Result};
use crate::codec::{Encoded, SharedCodec};
use crate::task::{Context, DropReason, OutputId, Push, SinkTime, Stage, Tick, TimeBound};

/// What a sink does with a record whose key is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NullKeys {
    /// Writes it, to the partition of the task's own number.
    Keep,
    /// Drops it, under a reason of its own: behind a repartition nobody could use it.
    Drop,
}

/// Encodes records and appends them to the task's effects.
pub struct Sink<K, V> {
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    output: OutputId,
    null_keys: NullKeys,
    time: Option<(SinkTime, TimeBound)>,
    scratch: RefCell<Scratch>,
}

impl<K: 'static, V: 'static> Sink<K, V> {
    /// A sink of an output topic; `time` where the topic's records carry the task's clock.
    pub fn new(
        key: SharedCodec<K>,
        value: SharedCodec<V>,
        output: OutputId,
        null_keys: NullKeys,
        time: Option<(SinkTime, TimeBound)>,
    ) -> Self {
        Self {
            key,
            value,
            output,
            null_keys,
            time,
            scratch: RefCell::default(),
        }
    }
}

impl<K: 'static, V: 'static> Push<K, V> for Sink<K, V> {
    fn push(&self, record: Record<K, V>, cx: &mut Context) -> Result<()> {
        let Scratch { key, row } = &mut *self.scratch.borrow_mut();
        key.clear();
        row.clear();
        let stage = cx.enter(Stage::Encode);
        let has_key = self.key.encode(&record.key, key)? == Encoded::Bytes;
        if !has_key && self.null_keys == NullKeys::Drop {
            cx.enter(stage);
            cx.drop_record(DropReason::NullRepartitionKey);
            return Ok(());
        }
        let has_value = self.value.encode(&record.value, row)? == Encoded::Bytes;
        let partition_by = has_key.then(|| self.key.partition_bytes(key));
        let partition = cx.partition_of(self.output, partition_by);
        cx.write_to(
            (self.output, partition),
            has_key.then_some(key.as_slice()),
            has_value.then_some(row.as_slice()),
            record.timestamp_ms,
            &record.headers,
            self.time.as_ref(),
        )?;
        cx.enter(stage);
        Ok(())
    }

    fn tick(&self, tick: Tick, _cx: &mut Context) -> Result<()> {
        // How far time has come is promised with each record and at the commit.
        if let (Some((time, _)), Tick::Ended) = (&self.time, tick) {
            time.end();
        }
        Ok(())
    }
}
