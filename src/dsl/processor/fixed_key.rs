//! Processors that keep the key, and with it the partition: operators behind one need no repartition.

use std::time::Duration;

use super::{Processor, ProcessorContext};
use crate::base::{Headers, Record, Result};
use crate::dsl::{RecordMetadata, TypedStore};
use crate::task::Clock;

/// A record whose key can be read but not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedKeyRecord<K, V> {
    key: K,
    /// The value.
    pub value: V,
    /// When it happened, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Its headers.
    pub headers: Headers,
}

impl<K, V> FixedKeyRecord<K, V> {
    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The same record with another value.
    pub fn with_value<W>(self, value: W) -> FixedKeyRecord<K, W> {
        FixedKeyRecord {
            key: self.key,
            value,
            timestamp_ms: self.timestamp_ms,
            headers: self.headers,
        }
    }
}

/// A [`Processor`] that forwards records with the keys they came with.
pub trait FixedKeyProcessor: 'static {
    /// Type of the key.
    type Key: 'static;
    /// Type of the incoming value.
    type ValueIn: 'static;
    /// Type of the outgoing value.
    type ValueOut: 'static;

    /// As [`Processor::init`].
    ///
    /// # Errors
    /// As in [`Processor::init`].
    fn init(
        &mut self,
        context: &mut FixedKeyContext<'_, '_, Self::Key, Self::ValueOut>,
    ) -> Result<()> {
        let _ = context;
        Ok(())
    }

    /// As [`Processor::process`].
    ///
    /// # Errors
    /// As in [`Processor::process`].
    fn process(
        &mut self,
        record: FixedKeyRecord<Self::Key, Self::ValueIn>,
        context: &mut FixedKeyContext<'_, '_, Self::Key, Self::ValueOut>,
    ) -> Result<()>;

    /// As [`Processor::punctuate`]; there is no record, and so nothing to forward.
    ///
    /// # Errors
    /// As in [`Processor::punctuate`].
    fn punctuate(
        &mut self,
        timer: &str,
        time_ms: i64,
        context: &mut FixedKeyContext<'_, '_, Self::Key, Self::ValueOut>,
    ) -> Result<()> {
        let _ = (timer, time_ms, context);
        Ok(())
    }

    /// As [`Processor::close`].
    fn close(&mut self) {}
}

/// What a [`FixedKeyProcessor`] can access of its task while it is called: see [`ProcessorContext`].
pub struct FixedKeyContext<'c, 'a, K, V>(&'c mut ProcessorContext<'a, K, V>);

impl<K: 'static, V: 'static> FixedKeyContext<'_, '_, K, V> {
    /// As [`ProcessorContext::forward`].
    ///
    /// # Errors
    /// As in [`ProcessorContext::forward`].
    pub fn forward(&mut self, record: FixedKeyRecord<K, V>) -> Result<()> {
        self.0.forward(plain(record))
    }

    /// As [`ProcessorContext::forward_to`].
    ///
    /// # Errors
    /// As in [`ProcessorContext::forward_to`].
    pub fn forward_to(&mut self, child: &str, record: FixedKeyRecord<K, V>) -> Result<()> {
        self.0.forward_to(child, plain(record))
    }

    /// As [`ProcessorContext::store`].
    ///
    /// # Errors
    /// As in [`ProcessorContext::store`].
    pub fn store<S: TypedStore>(&self, name: &str) -> Result<S> {
        self.0.store(name)
    }

    /// As [`ProcessorContext::schedule`].
    ///
    /// # Errors
    /// As in [`ProcessorContext::schedule`].
    pub fn schedule(&mut self, timer: &str, every: Duration, clock: Clock) -> Result<()> {
        self.0.schedule(timer, every, clock)
    }

    /// As [`ProcessorContext::schedule_from`].
    ///
    /// # Errors
    /// As in [`ProcessorContext::schedule_from`].
    pub fn schedule_from(
        &mut self,
        timer: &str,
        first_ms: i64,
        every: Duration,
        clock: Clock,
    ) -> Result<()> {
        self.0.schedule_from(timer, first_ms, every, clock)
    }

    /// As [`ProcessorContext::cancel`].
    ///
    /// # Errors
    /// As in [`ProcessorContext::cancel`].
    pub fn cancel(&mut self, timer: &str) -> Result<bool> {
        self.0.cancel(timer)
    }

    /// As [`ProcessorContext::record_metadata`].
    pub fn record_metadata(&self) -> Option<RecordMetadata<'_>> {
        self.0.record_metadata()
    }

    /// As [`ProcessorContext::stream_time_ms`].
    pub fn stream_time_ms(&self) -> i64 {
        self.0.stream_time_ms()
    }

    /// As [`ProcessorContext::wall_ms`].
    pub fn wall_ms(&self) -> i64 {
        self.0.wall_ms()
    }

    /// As [`ProcessorContext::partition`].
    pub fn partition(&self) -> u32 {
        self.0.partition()
    }
}

fn plain<K, V>(record: FixedKeyRecord<K, V>) -> Record<K, V> {
    Record {
        key: record.key,
        value: record.value,
        timestamp_ms: record.timestamp_ms,
        headers: record.headers,
    }
}

/// Adapts a fixed-key processor to a processor.
pub(super) struct FixedKey<P>(pub(super) P);

impl<P: FixedKeyProcessor> Processor for FixedKey<P> {
    type KeyIn = P::Key;
    type ValueIn = P::ValueIn;
    type KeyOut = P::Key;
    type ValueOut = P::ValueOut;

    fn init(&mut self, context: &mut ProcessorContext<'_, P::Key, P::ValueOut>) -> Result<()> {
        self.0.init(&mut FixedKeyContext(context))
    }

    fn process(
        &mut self,
        record: Record<P::Key, P::ValueIn>,
        context: &mut ProcessorContext<'_, P::Key, P::ValueOut>,
    ) -> Result<()> {
        let record = FixedKeyRecord {
            key: record.key,
            value: record.value,
            timestamp_ms: record.timestamp_ms,
            headers: record.headers,
        };
        self.0.process(record, &mut FixedKeyContext(context))
    }

    fn punctuate(
        &mut self,
        timer: &str,
        time_ms: i64,
        context: &mut ProcessorContext<'_, P::Key, P::ValueOut>,
    ) -> Result<()> {
        let mut context = FixedKeyContext(context);
        self.0.punctuate(timer, time_ms, &mut context)
    }

    fn close(&mut self) {
        self.0.close();
    }
}
