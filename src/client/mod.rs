//! Typed clients for any log: a producer, a consumer, and a list of topics.
//!
//! ```
//! use marea::prelude::*;
//! use std::time::Duration;
//!
//! let log = marea::open("memory:")?;
//! log.create_topics(&[TopicSpec::new("orders", 4)])?;
//! log.producer::<String, f64>("orders")?.send("eu".to_owned(), 12.5)?;
//!
//! let mut consumer = log.consumer::<String, f64>("billing", ["orders"])?;
//! let mut amounts = Vec::new();
//! while amounts.is_empty() {
//!     amounts.extend(consumer.poll(Duration::from_secs(1))?.into_iter().map(|r| r.value));
//! }
//! consumer.commit()?;
//! assert_eq!(amounts, [12.5]);
//! # Ok::<(), marea::Error>(())
//! ```
//!
//! They work on every backend, since they use only the [`Log`] trait: `delivery` determines the outcome
//! of a commit, `producer` and `consumer` are the two ends.

mod consumer;
mod delivery;
mod producer;

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Env, Error, ErrorKind, Offset, Result, SystemEnv, TopicPartition};
use crate::codec::OwnCodec;
use crate::log::{Isolation, Log, Reader, TopicSpec};

/// How much memory a client of the log may use in addition to its owner's, in bytes, unless set.
const MEMORY_BYTES: usize = 8 << 20;

pub use consumer::{Consumer, ConsumerOptions, ConsumerRecord, Start};
pub use producer::{Producer, ProducerOptions, Sent, SourcePosition};

/// How long to wait for open transactions when a whole topic is read. Markers take milliseconds; a
/// transaction that takes longer belongs to a writer that is still working.
const SETTLING_MS: u64 = 5_000;
const SETTLING_TICK: Duration = Duration::from_millis(10);

/// The clients of a log, typed by key and value.
pub trait LogClients {
    /// A producer for `topic`, with the types' own codecs.
    ///
    /// # Errors
    /// As [`Producer::open`].
    fn producer<K: OwnCodec, V: OwnCodec>(&self, topic: &str) -> Result<Producer<K, V>>;

    /// A consumer of `topics` as a member of `group`, with the types' own codecs. A group that has
    /// committed nothing starts at the first record.
    ///
    /// # Errors
    /// As [`Consumer::open`].
    fn consumer<K: OwnCodec, V: OwnCodec>(
        &self,
        group: &str,
        topics: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Consumer<K, V>>;

    /// The records of `topic` up to its current end, partition by partition: for tests, tools and small
    /// topics, since all of them are held in memory. Everything acknowledged before the call is included;
    /// open transactions are waited for, for five seconds at most.
    ///
    /// # Errors
    /// `Invalid` if there is no such topic; `User` if a record does not decode; `Unavailable` if the log
    /// does not deliver the records.
    fn records<K: OwnCodec, V: OwnCodec>(&self, topic: &str) -> Result<Vec<ConsumerRecord<K, V>>>;

    /// All topics with their settings, by name. [`Log::create_topics`] and [`Log::delete_topics`] change
    /// them.
    ///
    /// # Errors
    /// `Unavailable` if the log cannot answer now.
    fn topics(&self) -> Result<Vec<TopicSpec>>;
}

impl LogClients for Arc<dyn Log> {
    fn producer<K: OwnCodec, V: OwnCodec>(&self, topic: &str) -> Result<Producer<K, V>> {
        let options = ProducerOptions::default();
        Producer::open(self, topic, K::codec(), V::codec(), options)
    }

    fn consumer<K: OwnCodec, V: OwnCodec>(
        &self,
        group: &str,
        topics: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Consumer<K, V>> {
        let options = ConsumerOptions::default();
        Consumer::open(self, group, topics, K::codec(), V::codec(), options)
    }

    fn records<K: OwnCodec, V: OwnCodec>(&self, topic: &str) -> Result<Vec<ConsumerRecord<K, V>>> {
        let partitions = partitions_of(&**self, topic)?;
        let ends = settled_ends(&**self, &partitions, &*SystemEnv::shared())?;
        let mut reader = self.reader(MEMORY_BYTES)?;
        let (key, value) = (K::codec(), V::codec());
        let mut records = Vec::new();
        for (partition, end) in partitions.into_iter().zip(ends) {
            let start = self.start_offset(&partition)?;
            reader.assign(&[(partition.clone(), start)])?;
            read_to(&mut *reader, &partition, end, |fetched| {
                consumer::decode(fetched, &*key, &*value, &mut records)
            })?;
        }
        Ok(records)
    }

    fn topics(&self) -> Result<Vec<TopicSpec>> {
        let mut topics = Vec::new();
        for name in self.topic_names()? {
            // A topic that was deleted in the meantime is left out.
            topics.extend(self.topic(&name)?);
        }
        Ok(topics)
    }
}

/// Where the committed records end, once everything appended before the call is committed or aborted.
///
/// Kafka acknowledges a transaction when its outcome is stored, before the markers that make its records
/// readable are in all partitions (KIP-98): a client that asks in between sees an end before its own
/// records.
fn settled_ends(
    log: &dyn Log,
    partitions: &[TopicPartition],
    env: &dyn Env,
) -> Result<Vec<Offset>> {
    let appended = log.end_offsets(partitions, Isolation::ReadUncommitted)?;
    let asked_at_ms = env.monotonic_ms();
    loop {
        let committed = log.end_offsets(partitions, Isolation::ReadCommitted)?;
        let open = committed.iter().zip(&appended).any(|(end, all)| end < all);
        if !open || env.monotonic_ms() - asked_at_ms >= SETTLING_MS {
            return Ok(committed);
        }
        env.sleep(SETTLING_TICK);
    }
}

/// Reads an assigned partition up to `end`.
fn read_to(
    reader: &mut dyn Reader,
    partition: &TopicPartition,
    end: i64,
    mut each: impl FnMut(&crate::log::Fetched) -> Result<()>,
) -> Result<()> {
    while let Some(before) = reader
        .position(partition)
        .filter(|position| *position < end)
    {
        for fetched in reader.poll(consumer::FETCH_BYTES, consumer::READING)? {
            each(&fetched)?;
        }
        if reader.position(partition) == Some(before) {
            let message = format!(
                "{partition}: no records were received from offset {before}, although the partition ends \
                 at {end}; try again"
            );
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
    }
    Ok(())
}

/// All partitions of a topic.
fn partitions_of(log: &dyn Log, topic: &str) -> Result<Vec<TopicPartition>> {
    let spec = spec_of(log, topic)?;
    let name: Arc<str> = topic.into();
    let partition = |number| TopicPartition::new(Arc::clone(&name), number);
    Ok((0..spec.partitions).map(partition).collect())
}

fn spec_of(log: &dyn Log, topic: &str) -> Result<TopicSpec> {
    log.topic(topic)?.ok_or_else(|| {
        Error::invalid(format!(
            "topic {topic} does not exist; create it with `create_topics`"
        ))
    })
}
