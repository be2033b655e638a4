//! Typed access to a driver's topics.

use std::sync::Arc;

use super::driver::Driver;
use crate::base::{Record, Result};
use crate::codec::{Codec, Encoded, OwnCodec, SharedCodec};
use crate::log::BatchBuilder;
use crate::task::CLOCK_HEADER;

impl Driver {
    /// A typed writer for a topic that the topology reads, with the codecs of the types.
    pub fn input_topic<K: OwnCodec, V: OwnCodec>(&self, topic: &str) -> InputTopic<K, V> {
        self.input_topic_with(topic, K::codec(), V::codec())
    }

    /// As [`Driver::input_topic`], with explicit codecs.
    pub fn input_topic_with<K: 'static, V: 'static>(
        &self,
        topic: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> InputTopic<K, V> {
        InputTopic::new(topic, Arc::new(key), Arc::new(value))
    }

    /// A typed reader of what the topology wrote to a topic, with the codecs of the types.
    pub fn output_topic<K: OwnCodec, V: OwnCodec>(&self, topic: &str) -> OutputTopic<K, V> {
        self.output_topic_with(topic, K::codec(), V::codec())
    }

    /// A typed reader of what the topology wrote to a topic, including an internal one
    /// (`<application>-<name>-repartition`), with explicit codecs.
    pub fn output_topic_with<K: 'static, V: 'static>(
        &self,
        topic: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> OutputTopic<K, V> {
        OutputTopic::new(topic, Arc::new(key), Arc::new(value))
    }
}

/// A typed writer for a topic that a topology reads; see [`Driver::input_topic`].
pub struct InputTopic<K, V> {
    topic: String,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
}

impl<K: 'static, V: 'static> InputTopic<K, V> {
    fn new(topic: &str, key: SharedCodec<K>, value: SharedCodec<V>) -> Self {
        let topic = topic.to_owned();
        Self { topic, key, value }
    }

    /// Writes a record to the topic and processes it, and everything that follows from it, to the end.
    ///
    /// # Errors
    /// `User` if the record does not encode; else as [`Driver::pipe_batch`].
    pub fn pipe(&self, driver: &mut Driver, record: Record<K, V>) -> Result<()> {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let has_key = self.key.encode(&record.key, &mut key)? == Encoded::Bytes;
        let has_value = self.value.encode(&record.value, &mut value)? == Encoded::Bytes;
        let mut builder = BatchBuilder::default();
        builder.push(
            has_key.then_some(&key),
            has_value.then_some(&value),
            record.timestamp_ms,
            record.headers.as_slice(),
        );
        match builder.seal() {
            Some(batch) => driver.pipe_batch(&self.topic, batch),
            None => Ok(()),
        }
    }
}

/// A typed reader for a topic that a topology writes; see [`Driver::output_topic`].
pub struct OutputTopic<K, V> {
    topic: String,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
}

impl<K: 'static, V: 'static> OutputTopic<K, V> {
    fn new(topic: &str, key: SharedCodec<K>, value: SharedCodec<V>) -> Self {
        let topic = topic.to_owned();
        Self { topic, key, value }
    }

    /// The records written since the topic was last read, in order.
    ///
    /// # Errors
    /// `Invalid` if the topology does not write the topic; `User`, naming topic and offset, if a record
    /// does not decode.
    pub fn read(&self, driver: &mut Driver) -> Result<Vec<Record<K, V>>> {
        driver.check_written(&self.topic)?;
        let mut records = Vec::new();
        for (base_offset, batch) in driver.topics.unread(&self.topic) {
            let mut cursor = batch.cursor(*base_offset);
            while let Some(raw) = cursor.next_record()? {
                let decode = || -> Result<Record<K, V>> {
                    Ok(Record {
                        key: self.key.decode(raw.key)?,
                        value: self.value.decode(raw.value)?,
                        timestamp_ms: raw.timestamp_ms,
                        headers: raw.headers_without(CLOCK_HEADER)?,
                    })
                };
                let place = || format!("{} at offset {}", self.topic, raw.offset);
                records.push(decode().map_err(|error| error.context(place()))?);
            }
        }
        Ok(records)
    }
}
