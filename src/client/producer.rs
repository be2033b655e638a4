//! Writes typed records with acknowledgement, together with a source's position if they must be written
//! exactly once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::delivery::{Delivery, Patience};
use super::{MEMORY_BYTES, spec_of};
use crate::base::{
    Env, Error, Header, Offset, Record, Result, SystemEnv, TopicPartition, partition_for_key,
};
use crate::codec::{Encoded, SharedCodec};
use crate::log::{BatchBuilder, Commit, CommittedOffset, GroupCommit, Log, MemberToken, Receipt};

/// How long to wait for an acknowledgement unless the options say otherwise: Kafka's
/// `delivery.timeout.ms`.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(120);
/// `send_all` commits whenever this many bytes are encoded.
const COMMIT_BYTES: usize = 512 << 10;

/// Options of a producer; [`Default`] is right for most.
#[derive(Clone)]
pub struct ProducerOptions {
    source: Option<String>,
    patience: Patience,
    memory_bytes: usize,
    env: Arc<dyn Env>,
}

impl Default for ProducerOptions {
    /// No source, 120 seconds for an acknowledgement, 8 MiB of memory, the system clock.
    fn default() -> Self {
        Self {
            source: None,
            patience: Arc::new(|waited| waited < DELIVERY_TIMEOUT),
            memory_bytes: MEMORY_BYTES,
            env: SystemEnv::shared(),
        }
    }
}

impl fmt::Debug for ProducerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerOptions")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl ProducerOptions {
    /// Feeds exactly once from a source: records are committed together with the source's position
    /// ([`Producer::commit_at`]), under this name, and [`Producer::position`] says where to continue.
    /// Only one producer of a name can be active: opening another fences the first.
    #[must_use]
    pub fn source(mut self, name: impl Into<String>) -> Self {
        self.source = Some(name.into());
        self
    }

    /// How long to wait for an acknowledgement.
    #[must_use]
    pub fn delivery_timeout(self, timeout: Duration) -> Self {
        self.patience(move |waited| waited < timeout)
    }

    /// Waits for an acknowledgement as long as `go_on` returns true, given how long the wait has lasted;
    /// it is called some fifty times a second.
    #[must_use]
    pub fn patience(mut self, go_on: impl Fn(Duration) -> bool + Send + Sync + 'static) -> Self {
        self.patience = Arc::new(go_on);
        self
    }

    /// How many bytes of records in flight the log may copy.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Clock and randomness.
    #[must_use]
    pub fn env(mut self, env: Arc<dyn Env>) -> Self {
        self.env = env;
        self
    }
}

/// The position of an acknowledged record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its topic and partition.
    pub partition: TopicPartition,
    /// Its offset.
    pub offset: Offset,
}

impl Sent {
    /// The position after it. A client that waits for it reads the results of the record ([`Queries::view_at`]).
    ///
    /// [`Queries::view_at`]: crate::runtime::Queries::view_at
    pub fn position(&self) -> (TopicPartition, Offset) {
        (self.partition.clone(), self.offset + 1)
    }
}

/// A typed producer for one topic; see [`LogClients::producer`](super::LogClients::producer).
///
/// A record goes to the partition of its key, by Kafka's rule; records without a key rotate over the
/// partitions. When a method returns, the records sent are acknowledged: committed, and as durable as the
/// log makes commits.
///
/// ```
/// use marea::prelude::*;
/// # let log = marea::open("memory:")?;
/// # log.create_topics(&[TopicSpec::new("readings", 4)])?;
/// // A source is fed exactly once: after a crash it continues where the log says.
/// let options = ProducerOptions::default().source("sensor-file");
/// let mut producer = Producer::open(&log, "readings", String::codec(), f64::codec(), options)?;
/// let first = producer.position()?.map_or(0, |position| position.offset);
/// for line in first..10 {
///     producer.add(&Record::new("buoy-7".to_owned(), line as f64, 1_000 * line))?;
///     producer.commit_at(line + 1)?;
/// }
/// assert_eq!(producer.position()?.map(|position| position.offset), Some(10));
/// # Ok::<(), marea::Error>(())
/// ```
pub struct Producer<K, V> {
    log: Arc<dyn Log>,
    env: Arc<dyn Env>,
    topic: Arc<str>,
    partitions: u32,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    source: Option<String>,
    token: Option<MemberToken>,
    delivery: Delivery,
    pending: BTreeMap<TopicPartition, BatchBuilder>,
    pending_bytes: usize,
    /// The partition for the next record without a key; changes with each commit.
    turn: u32,
    key_bytes: Vec<u8>,
    value_bytes: Vec<u8>,
}

impl<K, V> fmt::Debug for Producer<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl<K: 'static, V: 'static> Producer<K, V> {
    /// Opens a producer with explicit codecs and options.
    ///
    /// # Errors
    /// `Invalid` if there is no such topic; else as [`Log::writer`].
    pub fn open(
        log: &Arc<dyn Log>,
        topic: &str,
        key: SharedCodec<K>,
        value: SharedCodec<V>,
        options: ProducerOptions,
    ) -> Result<Self> {
        let ProducerOptions {
            source,
            patience,
            memory_bytes,
            env,
        } = options;
        let partitions = spec_of(&**log, topic)?.partitions;
        let turn = env.random_u64();
        let id = (source.clone()).unwrap_or_else(|| format!("producer-{:016x}", env.random_u64()));
        Ok(Self {
            delivery: Delivery::open(log, &env, &id, memory_bytes, patience)?,
            log: Arc::clone(log),
            topic: topic.into(),
            partitions,
            key,
            value,
            source,
            token: None,
            env,
            pending: BTreeMap::new(),
            pending_bytes: 0,
            turn: (turn % u64::from(partitions.max(1))) as u32,
            key_bytes: Vec::new(),
            value_bytes: Vec::new(),
        })
    }

    /// Sends a record with the wall clock as its timestamp, and waits for the acknowledgement.
    ///
    /// # Errors
    /// As [`Producer::send_record`].
    pub fn send(&mut self, key: K, value: V) -> Result<Sent> {
        let timestamp_ms = self.env.wall_ms();
        self.send_record(&Record::new(key, value, timestamp_ms))
    }

    /// Sends a record with its timestamp and headers, and waits for the acknowledgement. Records added
    /// before are committed with it.
    ///
    /// # Errors
    /// `User` if it does not encode, `TooLarge` if it is too large for the topic: in both cases nothing
    /// was sent. `Unavailable` if no acknowledgement came in time; the message says what is known.
    pub fn send_record(&mut self, record: &Record<K, V>) -> Result<Sent> {
        let partition = self.add(record)?;
        let receipt = self.commit()?;
        let end = receipt.ends.get(&partition).copied();
        let offset = end.map_or(-1, |end| end - 1);
        Ok(Sent { partition, offset })
    }

    /// Sends many records, in commits of about half a MiB, and waits for the acknowledgement of the last;
    /// returns their number.
    ///
    /// # Errors
    /// As [`Producer::send_record`]. Commits before the failed one remain.
    pub fn send_all(&mut self, records: impl IntoIterator<Item = Record<K, V>>) -> Result<usize> {
        let mut sent = 0;
        for record in records {
            self.add(&record)?;
            sent += 1;
            if self.pending_bytes >= COMMIT_BYTES {
                self.commit()?;
            }
        }
        self.commit()?;
        Ok(sent)
    }

    /// Encodes a record for the next commit; returns its partition.
    ///
    /// # Errors
    /// `User` if it does not encode; records added before stay.
    pub fn add(&mut self, record: &Record<K, V>) -> Result<TopicPartition> {
        let (mut key, mut value) = (
            std::mem::take(&mut self.key_bytes),
            std::mem::take(&mut self.value_bytes),
        );
        key.clear();
        value.clear();
        let encoded = (self.key.encode(&record.key, &mut key))
            .and_then(|has_key| Ok((has_key, self.value.encode(&record.value, &mut value)?)));
        let added = encoded.map(|(has_key, has_value)| {
            let has_key = has_key == Encoded::Bytes;
            let number = match has_key {
                true => partition_for_key(self.key.partition_bytes(&key), self.partitions),
                false => self.turn,
            };
            let place = TopicPartition::new(Arc::clone(&self.topic), number);
            self.add_bytes(
                &place,
                has_key.then_some(&*key),
                (has_value == Encoded::Bytes).then_some(&*value),
                record.timestamp_ms,
                record.headers.as_slice(),
            );
            place
        });
        (self.key_bytes, self.value_bytes) = (key, value);
        added.map_err(|error| error.context(format!("a record for {}", self.topic)))
    }

    /// Adds a record of raw bytes to the next commit, for any partition of any topic: useful for lines
    /// that a producer cannot parse.
    pub fn add_bytes(
        &mut self,
        partition: &TopicPartition,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &[Header],
    ) {
        let builder = self.pending.entry(partition.clone()).or_default();
        builder.push(key, value, timestamp_ms, headers);
        self.pending_bytes += key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
    }

    /// Commits the added records, all or nothing, and waits for the acknowledgement.
    ///
    /// # Errors
    /// As [`Producer::send_record`]; the added records are then dropped. `Invalid` for a producer of a
    /// source: its records need a position.
    pub fn commit(&mut self) -> Result<Receipt> {
        if self.source.is_some() {
            return Err(Error::invalid(
                "a producer with a source commits records with a position; call `commit_at`",
            ));
        }
        self.deliver(None)
    }

    /// Commits the added records together with the source's position after them: all of it or nothing.
    /// After a crash, either [`Producer::position`] is this position and the records are there, or
    /// neither.
    ///
    /// # Errors
    /// As [`Producer::send_record`]; the added records are then dropped, and [`Producer::position`] tells
    /// whether they are in the log. `Fenced` once another producer of the source was opened: stop.
    /// `Invalid` if the options named no source.
    pub fn commit_at(&mut self, position: impl Into<SourcePosition>) -> Result<()> {
        let Some(source) = self.source.clone() else {
            return Err(Error::invalid(
                "a position requires a source; name it with `ProducerOptions::source`",
            ));
        };
        let group = GroupCommit {
            group: source,
            token: self.token.clone(),
            offsets: vec![(self.anchor(), position.into().0)],
        };
        self.deliver(Some(group)).map(drop)
    }

    /// Where the source continues: the position of the last [`Producer::commit_at`], by this producer or
    /// an earlier one. `None` if nothing was committed.
    ///
    /// # Errors
    /// As [`Log::committed`]; `Invalid` if the options named no source.
    pub fn position(&self) -> Result<Option<CommittedOffset>> {
        let Some(source) = &self.source else {
            return Err(Error::invalid(
                "a position requires a source; name it with `ProducerOptions::source`",
            ));
        };
        let found = self.log.committed(source, &[self.anchor()])?;
        Ok(found.into_iter().next().flatten())
    }

    /// From now on, commits count only while the member keeps its place in the source's group: for
    /// producers that take turns. The token changes with every assignment.
    pub fn set_token(&mut self, token: MemberToken) {
        self.token = Some(token);
    }

    /// The partition whose committed offset is the source's position.
    fn anchor(&self) -> TopicPartition {
        TopicPartition::new(Arc::clone(&self.topic), 0)
    }

    fn deliver(&mut self, group: Option<GroupCommit>) -> Result<Receipt> {
        self.turn = (self.turn + 1) % self.partitions.max(1);
        self.pending_bytes = 0;
        let pending = std::mem::take(&mut self.pending).into_iter();
        let sealed = pending.filter_map(|(place, mut builder)| Some((place, builder.seal()?)));
        let commit = Commit {
            appends: sealed.collect(),
            group,
        };
        if commit.appends.is_empty() && commit.group.is_none() {
            return Ok(Receipt::default());
        }
        self.delivery.deliver(&commit)
    }
}

/// How far a source has been fed: a number, such as a line number, with a note if more information is
/// needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePosition(CommittedOffset);

impl From<Offset> for SourcePosition {
    fn from(offset: Offset) -> Self {
        Self(CommittedOffset {
            offset,
            metadata: String::new(),
        })
    }
}

impl From<CommittedOffset> for SourcePosition {
    fn from(position: CommittedOffset) -> Self {
        Self(position)
    }
}
