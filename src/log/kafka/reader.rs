//! Reads committed records of partitions that are assigned manually.
//!
//! The client fetches ahead on its own thread; a poll takes what is there, partition by partition, until
//! it has the requested number of bytes. A position also moves past what is never returned: the markers
//! that end transactions, aborted records, deleted ones.

mod assigning;
mod positions;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset as KafkaOffset};

use super::cluster::Cluster;
use super::cluster::questions::{Asked, Which};
use super::cluster::topic_ids::NotedIds;
use super::config::Consumer;
use super::convert;
use super::convert::list;
use super::error::failed;
use super::reader::positions::is_astray;
use super::reader_client::ReaderClient;
use super::waits::REQUEST;
use crate::base::{Error, ErrorKind, Offset, Result, TopicPartition};
use crate::log::{BatchBuilder, Fetched, Reader, Skipped, check};

/// The first and the longest wait for the client: records that are never returned do not end a wait, so
/// positions are checked in between.
const WAIT_MS: u64 = 4;
const WAIT_MS_MAX: u64 = 100;
/// How long nothing must have arrived before a reader checks whether its positions were deleted.
const STALLED_MS: u64 = 1_000;
/// How long an update may make its caller, who has other work, wait for a broker that is down.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many errors are skipped in one look for records.
const ERRORS_AT_ONCE: u32 = 10_000;
/// Approximate overhead of a record besides its key and value, in bytes.
const RECORD_BYTES: usize = 32;

pub(super) struct KafkaReader {
    cluster: Arc<Cluster>,
    /// Only `None` while it is dropped.
    client: Option<ReaderClient>,
    slots: Vec<Slot>,
    /// Where the slot of a partition is.
    places: HashMap<(String, i32), usize>,
    /// When something last arrived, or positions were checked.
    moved_ms: u64,
    /// Where the partitions begin now, requested when nothing had arrived for long.
    starts: Option<Asked>,
    /// The starts of the partitions in a pending update, until it is repeated.
    begin_at: Option<Asked>,
    /// Where they end, requested after the last records were returned.
    ends: Option<Asked>,
    /// Whether the client has found that a position is not in its partition.
    is_astray: bool,
    /// Whether a change of the assignment has failed halfway, so that the client may have another one.
    is_torn: bool,
    skipped: Vec<Skipped>,
    topic_ids: NotedIds,
}

struct Slot {
    partition: TopicPartition,
    number: i32,
    position: Offset,
    /// Whether the client is still where an older assignment ended. Until it has left that place, nothing
    /// is taken from it: taking moves the place, and the two could not be distinguished.
    is_stale: bool,
    /// Whether the owner has paused it.
    paused: bool,
    /// Whether the client was told so. That discards what it has fetched, so it is delayed until many
    /// unwanted records have arrived.
    stopped: bool,
    /// Records taken from the client and not returned yet: those that arrived during a pause, and those
    /// of the current poll.
    base_offset: Offset,
    builder: BatchBuilder,
}

impl Slot {
    /// Continues where the partition begins now.
    fn skip_to(&mut self, start: Offset) -> Skipped {
        Skipped {
            partition: self.partition.clone(),
            from: std::mem::replace(&mut self.position, start),
            to: start,
        }
    }
}

impl KafkaReader {
    /// A reader whose client keeps about this many bytes of fetched records.
    pub(super) fn new(cluster: Arc<Cluster>, bytes: usize) -> Result<Self> {
        let client = Some(cluster.take_reader(bytes)?);
        Ok(Self {
            moved_ms: cluster.env.monotonic_ms(),
            cluster,
            client,
            slots: Vec::new(),
            places: HashMap::new(),
            starts: None,
            begin_at: None,
            ends: None,
            is_astray: false,
            is_torn: false,
            skipped: Vec::new(),
            topic_ids: NotedIds::default(),
        })
    }

    fn consumer(&self) -> Result<&Consumer> {
        let closed = || Error::new(ErrorKind::Closed, "the reader was closed");
        let client = self.client.as_ref().ok_or_else(closed)?;
        Ok(&client.consumer)
    }

    /// Tells the client to stop or to resume fetching.
    fn set_stopped(consumer: &Consumer, slot: &mut Slot, stopped: bool) -> Result<()> {
        if slot.stopped == stopped {
            return Ok(());
        }
        let one = list([(&slot.partition, KafkaOffset::Invalid)])?;
        let told = match stopped {
            true => consumer.pause(&one),
            false => consumer.resume(&one),
        };
        told.map_err(|cause| failed(&format!("pausing {}", slot.partition), cause))?;
        slot.stopped = stopped;
        Ok(())
    }

    /// Lets the client fetch a partition: it remembers a pause beyond the assignment.
    fn end_pause(&mut self, index: usize) -> Result<()> {
        match &self.client {
            Some(client) => Self::set_stopped(&client.consumer, &mut self.slots[index], false),
            None => Ok(()),
        }
    }

    /// Takes what the client has, waiting for the first record; returns the slots that have received
    /// records, in the order of arrival.
    fn fill(&mut self, max_bytes: usize, wait: Duration) -> Result<Vec<usize>> {
        let mut order: Vec<usize> = Vec::new();
        let mut bytes = 0;
        let Self {
            cluster,
            client,
            slots,
            places,
            is_astray: astray,
            ..
        } = self;
        let Some(ReaderClient { consumer, .. }) = client.as_ref() else {
            return Ok(order);
        };
        if !slots.is_empty() && slots.iter().all(|slot| slot.paused) {
            // What the client has fetched waits there, until it is full.
            cluster.env.sleep(wait.min(Duration::from_millis(WAIT_MS)));
            return Ok(order);
        }
        if slots.iter().any(|slot| slot.is_stale) {
            // `follow_positions` sees it go.
            cluster.env.sleep(wait.min(Duration::from_millis(1)));
            return Ok(order);
        }
        for (index, slot) in slots.iter_mut().enumerate() {
            if !slot.paused {
                Self::set_stopped(consumer, slot, false)?;
                if !slot.builder.is_empty() {
                    bytes += slot.builder.byte_len();
                    order.push(index);
                }
            }
        }
        let mut last = 0;
        let mut errors = 0;
        while bytes < max_bytes {
            let wait = if bytes == 0 { wait } else { Duration::ZERO };
            let message = match consumer.poll(wait) {
                Some(Ok(message)) => message,
                Some(Err(cause)) if is_astray(&cause) => {
                    tracing::debug!(%cause, "a position is outside its partition");
                    *astray = true;
                    continue;
                }
                Some(Err(cause)) => {
                    // While brokers were down, there was one for each attempt to reach them.
                    tell(cause)?;
                    errors += 1;
                    if errors < ERRORS_AT_ONCE {
                        continue;
                    }
                    break;
                }
                None => break,
            };
            let is_at = |slot: &Slot| {
                slot.number == message.partition() && *slot.partition.topic == *message.topic()
            };
            if !slots.get(last).is_some_and(is_at) {
                let place = (message.topic().to_owned(), message.partition());
                let Some(found) = places.get(&place) else {
                    continue;
                };
                last = *found;
            }
            let begins = slots[last].builder.is_empty();
            let Some(taken) = take(slots, last, &message)? else {
                continue;
            };
            if slots[last].paused {
                if slots[last].builder.byte_len() > max_bytes {
                    Self::set_stopped(consumer, &mut slots[last], true)?;
                }
                continue;
            }
            bytes += taken;
            if begins {
                order.push(last);
            }
        }
        Ok(order)
    }

    /// All taken records, as batches.
    fn seal(&mut self, order: &[usize]) -> Vec<Fetched> {
        let mut fetched = Vec::with_capacity(order.len());
        for index in order {
            let slot = &mut self.slots[*index];
            let Some(batch) = slot.builder.seal() else {
                continue;
            };
            let next = slot.base_offset + i64::from(batch.last_offset_delta()) + 1;
            fetched.push(Fetched {
                partition: slot.partition.clone(),
                base_offset: slot.base_offset,
                position: slot.position,
                batch,
            });
            slot.position = next;
        }
        fetched
    }
}

/// Takes a message into its slot; returns its size in bytes, or `None` if it is no longer wanted.
fn take(slots: &mut [Slot], index: usize, message: &BorrowedMessage<'_>) -> Result<Option<usize>> {
    let slot = &mut slots[index];
    let offset = message.offset();
    if offset < slot.position {
        return Ok(None);
    }
    if slot.builder.is_empty() {
        slot.base_offset = offset;
    }
    let delta = u32::try_from(offset - slot.base_offset).map_err(|_| {
        Error::corrupt(format!(
            "{}: a gap of more than 2^32 offsets at {offset}",
            slot.partition
        ))
    })?;
    convert::push(&mut slot.builder, delta, message)
        .map_err(|error| error.context(format!("{} offset {offset}", slot.partition)))?;
    Ok(Some(
        message.key_len() + message.payload_len() + RECORD_BYTES,
    ))
}

impl Reader for KafkaReader {
    fn assign(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()> {
        let told_later = std::mem::take(&mut self.skipped);
        let changed = self.change(positions, |_, _| false, REQUEST);
        if changed.is_err() {
            self.skipped = told_later;
        }
        changed
    }

    fn update(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()> {
        let stays = |slot: &Slot, position| slot.position == position;
        self.change(positions, stays, PATIENCE)
    }

    fn pause(&mut self, partition: &TopicPartition, paused: bool) {
        let slot = self
            .slots
            .iter_mut()
            .find(|slot| slot.partition == *partition);
        if let Some(slot) = slot {
            slot.paused = paused;
        }
    }

    fn poll(&mut self, max_bytes: usize, timeout: Duration) -> Result<Vec<Fetched>> {
        let env = Arc::clone(&self.cluster.env);
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let until_ms = env.monotonic_ms().saturating_add(timeout_ms);
        let mut slice_ms = WAIT_MS;
        if !self.slots.is_empty() {
            self.cluster.watch_topic_ids(env.monotonic_ms())?;
        }
        loop {
            if self.is_astray {
                self.find_way()?;
            }
            let left_ms = until_ms.saturating_sub(env.monotonic_ms());
            let order = self.fill(max_bytes, Duration::from_millis(left_ms.min(slice_ms)))?;
            let fetched = self.seal(&order);
            // Records since the last check may belong to another topic.
            self.topic_ids.check(&self.cluster)?;
            let mut moved = !self.slots.is_empty() && self.follow_positions()?;
            let now_ms = env.monotonic_ms();
            if !fetched.is_empty() {
                self.ends = None;
            } else if !moved {
                moved = self.follow_starts(now_ms)?;
            }
            if moved || !fetched.is_empty() {
                self.moved_ms = now_ms;
                return Ok(fetched);
            }
            if now_ms >= until_ms {
                return Ok(fetched);
            }
            slice_ms = (slice_ms * 2).min(WAIT_MS_MAX);
        }
    }

    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        let slot = self
            .slots
            .iter()
            .find(|slot| slot.partition == *partition)?;
        Some(slot.position)
    }

    fn skipped(&mut self) -> Vec<Skipped> {
        std::mem::take(&mut self.skipped)
    }

    fn end(&mut self, partition: &TopicPartition, timeout: Duration) -> Result<Option<Offset>> {
        let asked = match &mut self.ends {
            Some(asked) => asked,
            // Of all of them: a caller that asks for one will ask for others.
            None => {
                let asked = self.cluster.ask(Which::Ends, self.partitions())?;
                self.ends.insert(asked)
            }
        };
        match asked.look(timeout) {
            Ok(None) => Ok(None),
            Ok(Some((partitions, ends))) => {
                let place = partitions.iter().position(|asked| asked == partition);
                let end = place.and_then(|place| ends.get(place).copied());
                end.map(Some)
                    .ok_or_else(|| check::unknown_partition(partition))
            }
            Err(error) => {
                self.ends = None;
                match error.kind() {
                    ErrorKind::Unavailable => Ok(None),
                    _ => Err(error),
                }
            }
        }
    }
}

/// Which of the client's errors concern its user.
fn tell(cause: KafkaError) -> Result<()> {
    match cause.rdkafka_error_code() {
        Some(Code::BadMessage | Code::BadCompression | Code::InvalidMessage) => Err(Error::corrupt(
            "a fetched batch is damaged; find the partition in the brokers' logs and restore it from a replica",
        )
        .with_source(cause)),
        Some(Code::NotImplemented | Code::UnsupportedFeature) => Err(Error::invalid(
            "this build cannot read the compression of a batch; write it with gzip, snappy or lz4",
        )
        .with_source(cause)),
        // The partition now has another history than the one that was read (KIP-320).
        Some(Code::LogTruncation) => Err(Error::corrupt(
            "an unclean election has removed records that were already read: results derived from them no \
             longer match the topic. Restart to continue with the remaining records",
        )
        .with_source(cause)),
        // Nothing can recover this client: this is not an outage that can be waited out.
        Some(Code::Fatal) => {
            let message = "the reader can no longer read; restart";
            Err(Error::new(ErrorKind::Closed, message).with_source(cause))
        }
        Some(Code::TopicAuthorizationFailed) => Err(failed("reading", cause)),
        // The client retries by itself; a caller that waits for records has its own deadline.
        _ => {
            tracing::debug!(%cause, "reading from kafka");
            Ok(())
        }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        let ended = (0..self.slots.len()).try_for_each(|index| self.end_pause(index));
        if let Some(client) = self.client.take()
            && ended.is_ok()
        {
            self.cluster.give_back_reader(client);
        }
    }
}
