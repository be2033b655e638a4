//! `to` and the writing side of `repartition`: encodes records for a topic.

use std::cell::RefCell;
use std::sync::Arc;

use super::scratch::Scratch;
use crate::base::{Record, Result};
use crate::codec::{Encoded, SharedCodec};
use crate::task::{
    Context, DropReason, OutputId, PartitionBy, Push, SinkTime, Stage, Tick, TimeBound,
};

/// What a sink does with a record whose key is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NullKeys {
    /// Writes it, to the partition of the task's own number.
    Keep,
    /// Drops it, under its own reason: behind a repartition it would be of no use.
    Drop,
}

/// Chooses the partition of a record, given key, value, and the number of partitions of the topic.
pub type Partitioner<K, V> = Arc<dyn Fn(&K, &V, u32) -> u32 + Send + Sync>;

/// Encodes records and appends them to the task's effects.
pub struct Sink<K, V> {
    encoder: Encoder<K, V>,
    output: OutputId,
    time: Option<(SinkTime, TimeBound)>,
}

/// Encodes records for topics.
pub(in crate::dsl) struct Encoder<K, V> {
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    partitioner: Option<Partitioner<K, V>>,
    null_keys: NullKeys,
    scratch: RefCell<Scratch>,
}

impl<K: 'static, V: 'static> Sink<K, V> {
    /// A sink of an output topic; `time` if the topic's records carry the task's clock.
    pub fn new(
        key: SharedCodec<K>,
        value: SharedCodec<V>,
        output: OutputId,
        null_keys: NullKeys,
        time: Option<(SinkTime, TimeBound)>,
    ) -> Self {
        Self {
            encoder: Encoder::new(key, value, null_keys, None),
            output,
            time,
        }
    }

    /// Writes each record to the partition that `partitioner` chooses, if there is one.
    pub fn partitioned_by(mut self, partitioner: Option<Partitioner<K, V>>) -> Self {
        self.encoder.partitioner = partitioner;
        self
    }
}

impl<K: 'static, V: 'static> Encoder<K, V> {
    pub(in crate::dsl) fn new(
        key: SharedCodec<K>,
        value: SharedCodec<V>,
        null_keys: NullKeys,
        partitioner: Option<Partitioner<K, V>>,
    ) -> Self {
        Self {
            key,
            value,
            partitioner,
            null_keys,
            scratch: RefCell::default(),
        }
    }

    /// Writes a record to an output topic.
    pub(in crate::dsl) fn write(
        &self,
        record: Record<K, V>,
        output: OutputId,
        time: Option<&(SinkTime, TimeBound)>,
        cx: &mut Context,
    ) -> Result<()> {
        let Scratch { key, row } = &mut *self.scratch.borrow_mut();
        key.clear();
        row.clear();
        let chosen = self.partitioner.as_ref().map(|choose| {
            let partitions = cx.effects().output(output).partitions;
            choose(&record.key, &record.value, partitions)
        });
        let stage = cx.enter(Stage::Encode);
        let has_key = self.key.encode(&record.key, key)? == Encoded::Bytes;
        if !has_key && self.null_keys == NullKeys::Drop {
            cx.enter(stage);
            cx.drop_record(DropReason::NullRepartitionKey);
            return Ok(());
        }
        let has_value = self.value.encode(&record.value, row)? == Encoded::Bytes;
        let partition_by = match chosen {
            Some(number) => PartitionBy::Number(number),
            None if has_key => PartitionBy::Key(self.key.partition_bytes(key)),
            None => PartitionBy::Task,
        };
        let partition = cx.partition_of(output, partition_by)?;
        cx.write_to(
            (output, partition),
            has_key.then_some(key.as_slice()),
            has_value.then_some(row.as_slice()),
            record.timestamp_ms,
            &record.headers,
            time,
        )?;
        cx.enter(stage);
        Ok(())
    }
}

impl<K: 'static, V: 'static> Push<K, V> for Sink<K, V> {
    fn push(&self, record: Record<K, V>, cx: &mut Context) -> Result<()> {
        self.encoder
            .write(record, self.output, self.time.as_ref(), cx)
    }

    fn tick(&self, tick: Tick, _cx: &mut Context) -> Result<()> {
        // Each record, and the commit, promise how far time has advanced.
        if let (Some((time, _)), Tick::Ended) = (&self.time, tick) {
            time.end();
        }
        Ok(())
    }
}
