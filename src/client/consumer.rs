//! Reads typed records as a member of a group, and commits its progress.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::delivery::Delivery;
use super::{MEMORY_BYTES, partitions_of};
use crate::base::{
    Env, Error, ErrorKind, Headers, Offset, Result, SystemEnv, TaskId, TopicPartition,
};
use crate::codec::{Codec, SharedCodec};
use crate::log::{
    Commit, CommittedOffset, Fetched, GroupCommit, Isolation, JoinRequest, Log, Membership, Reader,
    TaskPlan,
};

/// About what one poll returns, in bytes.
pub(super) const FETCH_BYTES: usize = 1 << 20;
/// How long to wait for records that exist.
pub(super) const READING: Duration = Duration::from_secs(10);
/// How often a waiting consumer checks its group.
const LOOK: Duration = Duration::from_millis(50);
/// How long to wait for a commit's acknowledgement.
const COMMITTING: Duration = Duration::from_secs(60);
/// As Kafka's `session.timeout.ms`.
const SESSION_TIMEOUT: Duration = Duration::from_secs(45);

/// Where a group starts in a partition for which it has committed nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the first record that still exists.
    #[default]
    Earliest,
    /// At the records appended from now on.
    Latest,
}

/// Options of a consumer; [`Default`] is right for most.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    member: Option<String>,
    start: Start,
    session_timeout: Duration,
    memory_bytes: usize,
    env: Arc<dyn Env>,
}

impl Default for ConsumerOptions {
    /// A random name, from the earliest record, 45 seconds of silence, 8 MiB of memory, the system clock.
    fn default() -> Self {
        Self {
            member: None,
            start: Start::default(),
            session_timeout: SESSION_TIMEOUT,
            memory_bytes: MEMORY_BYTES,
            env: SystemEnv::shared(),
        }
    }
}

impl ConsumerOptions {
    /// A name that stays the same across restarts: a consumer that returns in time gets its partitions
    /// back, and opening a consumer with the name of another one replaces it.
    #[must_use]
    pub fn member(mut self, name: impl Into<String>) -> Self {
        self.member = Some(name.into());
        self
    }

    /// Where the group starts.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// A consumer that does not poll for this long loses its partitions to the others.
    #[must_use]
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// How much the log may fetch ahead of [`Consumer::poll`], in bytes, and copy of what is committed.
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

/// A record and its position.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerRecord<K, V> {
    /// Its topic and partition.
    pub partition: TopicPartition,
    /// Its offset there.
    pub offset: Offset,
    /// Its key.
    pub key: K,
    /// Its value.
    pub value: V,
    /// When it happened, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Its headers.
    pub headers: Headers,
}

/// A member of a group that reads topics; see [`LogClients::consumer`](super::LogClients::consumer).
///
/// The consumers of a group share the partitions of its topics, and must all name the same topics.
/// Records returned by [`Consumer::poll`] count as done after [`Consumer::commit`]; after a crash, or
/// when a partition moves to another member, the records after the last commit are returned again.
pub struct Consumer<K, V> {
    log: Arc<dyn Log>,
    env: Arc<dyn Env>,
    request: JoinRequest,
    memory_bytes: usize,
    start: Start,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    reader: Box<dyn Reader>,
    /// Its place in the group; `None` before it has joined, and after it was expelled.
    membership: Option<Box<dyn Membership>>,
    /// Opened by the first commit.
    delivery: Option<Delivery>,
    /// The assigned partitions, each with the offset after the last record that was returned.
    positions: BTreeMap<TopicPartition, Offset>,
    /// What was returned since the last commit.
    uncommitted: BTreeSet<TopicPartition>,
    /// Read but not decoded yet.
    fetched: VecDeque<Fetched>,
}

impl<K: 'static, V: 'static> Consumer<K, V> {
    /// Joins a group with explicit codecs and options.
    ///
    /// # Errors
    /// `Invalid` if a topic does not exist, or the other members of the group read other topics; else as
    /// [`Log::join`].
    pub fn open(
        log: &Arc<dyn Log>,
        group: &str,
        topics: impl IntoIterator<Item = impl Into<String>>,
        key: SharedCodec<K>,
        value: SharedCodec<V>,
        options: ConsumerOptions,
    ) -> Result<Self> {
        let mut tasks = Vec::new();
        for topic in topics
            .into_iter()
            .map(Into::into)
            .collect::<BTreeSet<String>>()
        {
            let partitions = partitions_of(&**log, &topic)?;
            tasks.extend(partitions.into_iter().map(|partition| TaskPlan {
                task: TaskId::new(Arc::clone(&partition.topic), partition.partition),
                inputs: vec![partition],
            }));
        }
        if tasks.is_empty() {
            return Err(Error::invalid(format!(
                "consumer of group {group}: name at least one topic"
            )));
        }
        let env = options.env;
        let random = || format!("consumer-{:016x}", env.random_u64());
        let timeout_ms = u64::try_from(options.session_timeout.as_millis()).unwrap_or(u64::MAX);
        let request = JoinRequest {
            group: group.to_owned(),
            member: options.member.unwrap_or_else(random),
            tasks,
            session_timeout_ms: timeout_ms,
            max_poll_interval_ms: timeout_ms,
        };
        Ok(Self {
            membership: Some(log.join(request.clone())?),
            reader: log.reader(options.memory_bytes)?,
            log: Arc::clone(log),
            env,
            request,
            memory_bytes: options.memory_bytes,
            start: options.start,
            key,
            value,
            delivery: None,
            positions: BTreeMap::new(),
            uncommitted: BTreeSet::new(),
            fetched: VecDeque::new(),
        })
    }

    /// The next records, in order within their partition; waits up to `timeout` for the first. An empty
    /// result is not an error: there is nothing new, or the group has not assigned a partition to this
    /// member yet.
    ///
    /// # Errors
    /// `User`, naming topic, partition and offset, if a record does not decode; records fetched before it
    /// are returned first. To skip it, [`Consumer::seek`] to the offset after it. Else as
    /// [`Reader::poll`].
    pub fn poll(&mut self, timeout: Duration) -> Result<Vec<ConsumerRecord<K, V>>> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let until_ms = self.env.monotonic_ms().saturating_add(timeout_ms);
        loop {
            self.follow_group()?;
            if self.fetched.is_empty() {
                let left_ms = until_ms.saturating_sub(self.env.monotonic_ms());
                let wait = LOOK.min(Duration::from_millis(left_ms));
                if self.positions.is_empty() {
                    self.env.sleep(wait);
                } else {
                    self.fetched.extend(self.reader.poll(FETCH_BYTES, wait)?);
                }
            }
            let records = self.take()?;
            if !records.is_empty() || self.env.monotonic_ms() >= until_ms {
                return Ok(records);
            }
        }
    }

    /// Commits that all records returned so far are done.
    ///
    /// # Errors
    /// `Fenced` if the group has moved on in the meantime: uncommitted records are returned again, here
    /// or to another member. `Unavailable` if the log does not answer; call it again.
    pub fn commit(&mut self) -> Result<()> {
        let done = self.uncommitted.iter();
        let offsets: Vec<_> = done
            .filter_map(|place| Some((place.clone(), *self.positions.get(place)?)))
            .map(|(place, offset)| {
                let metadata = String::new();
                (place, CommittedOffset { offset, metadata })
            })
            .collect();
        let Some(membership) = self.membership.as_ref().filter(|_| !offsets.is_empty()) else {
            return Ok(());
        };
        let group = GroupCommit {
            group: self.request.group.clone(),
            token: Some(membership.token()),
            offsets,
        };
        let delivery = match &mut self.delivery {
            Some(delivery) => delivery,
            none => {
                let id = format!("{}-{}", self.request.group, self.request.member);
                let patience = Arc::new(|waited: Duration| waited < COMMITTING);
                none.insert(Delivery::open(
                    &self.log,
                    &self.env,
                    &id,
                    self.memory_bytes,
                    patience,
                )?)
            }
        };
        delivery.deliver(&Commit {
            appends: Vec::new(),
            group: Some(group),
        })?;
        self.uncommitted.clear();
        Ok(())
    }

    /// Continues a partition at `offset`.
    ///
    /// # Errors
    /// `Invalid` if the partition is not assigned to this member now.
    pub fn seek(&mut self, partition: &TopicPartition, offset: Offset) -> Result<()> {
        let Some(position) = self.positions.get_mut(partition) else {
            return Err(Error::invalid(format!(
                "{partition} is not assigned to this consumer; see `assignment`"
            )));
        };
        *position = offset;
        self.uncommitted.insert(partition.clone());
        self.read_on()
    }

    /// The partitions assigned to this member now; they change in [`Consumer::poll`].
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.positions.keys().cloned().collect()
    }

    /// Leaves the group, so that the others need not wait for the session to time out. Uncommitted
    /// records are returned again.
    pub fn close(mut self) {
        if let Some(membership) = self.membership.take() {
            membership.leave();
        }
    }

    /// Starts reading newly assigned partitions, and gives up revoked ones.
    fn follow_group(&mut self) -> Result<()> {
        let membership = match &mut self.membership {
            Some(membership) => membership,
            none => none.insert(self.log.join(self.request.clone())?),
        };
        let assigned = match membership.poll() {
            Ok(None) => return Ok(()),
            Ok(Some(assigned)) => assigned.tasks,
            Err(error) if error.kind() == ErrorKind::Fenced => {
                tracing::warn!(%error, group = %self.request.group, "the consumer lost its place in the \
                                                                     group; rejoining");
                self.membership = None;
                self.positions.clear();
                return self.read_on();
            }
            Err(error) => return Err(error),
        };
        let place =
            |task: &TaskId| TopicPartition::new(Arc::clone(&task.subtopology), task.partition);
        let assigned: BTreeSet<TopicPartition> = assigned.iter().map(place).collect();
        let lost = self
            .positions
            .keys()
            .filter(|place| !assigned.contains(place));
        let lost: Vec<TopicPartition> = lost.cloned().collect();
        for place in &lost {
            self.positions.remove(place);
        }
        if !lost.is_empty() {
            let tasks = lost.iter();
            let tasks: Vec<_> = tasks
                .map(|place| TaskId::new(Arc::clone(&place.topic), place.partition))
                .collect();
            membership.release(&tasks)?;
        }
        let new = assigned.into_iter();
        let new: Vec<_> = new
            .filter(|place| !self.positions.contains_key(place))
            .collect();
        let committed = self.log.committed(&self.request.group, &new)?;
        for (place, committed) in new.into_iter().zip(committed) {
            let offset = match (committed, self.start) {
                (Some(committed), _) => committed.offset,
                (None, Start::Earliest) => self.log.start_offset(&place)?,
                (None, Start::Latest) => self.log.end_offset(&place, Isolation::ReadCommitted)?,
            };
            self.positions.insert(place, offset);
        }
        self.read_on()
    }

    /// Reads from the positions; records that were read but not returned are read again.
    fn read_on(&mut self) -> Result<()> {
        self.fetched.clear();
        let positions = &self.positions;
        self.uncommitted
            .retain(|place| positions.contains_key(place));
        let positions = positions
            .iter()
            .map(|(place, offset)| (place.clone(), *offset));
        self.reader.assign(&positions.collect::<Vec<_>>())
    }

    /// Decodes the next batch that was read.
    fn take(&mut self) -> Result<Vec<ConsumerRecord<K, V>>> {
        let mut records = Vec::new();
        while let Some(mut fetched) = self.fetched.pop_front() {
            let position = self.positions.get(&fetched.partition).copied();
            fetched.position = fetched.position.max(position.unwrap_or_default());
            let outcome = decode(&fetched, &*self.key, &*self.value, &mut records);
            let done = match (&outcome, records.last()) {
                (Ok(()), _) => {
                    Some(fetched.base_offset + i64::from(fetched.batch.last_offset_delta()) + 1)
                }
                (Err(_), Some(last)) => Some(last.offset + 1),
                (Err(_), None) => None,
            };
            if let Some(done) = done {
                self.positions.insert(fetched.partition.clone(), done);
                self.uncommitted.insert(fetched.partition.clone());
            }
            if let Err(error) = outcome {
                self.fetched.push_front(fetched);
                // It will be returned again, alone.
                return if records.is_empty() {
                    Err(error)
                } else {
                    Ok(records)
                };
            }
            if !records.is_empty() {
                break;
            }
        }
        Ok(records)
    }
}

impl<K, V> std::fmt::Debug for Consumer<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("group", &self.request.group)
            .field("member", &self.request.member)
            .finish_non_exhaustive()
    }
}

/// Decodes the records of a batch at or after its position.
pub(super) fn decode<K: 'static, V: 'static>(
    fetched: &Fetched,
    key: &dyn Codec<K>,
    value: &dyn Codec<V>,
    records: &mut Vec<ConsumerRecord<K, V>>,
) -> Result<()> {
    let mut cursor = fetched.batch.cursor(fetched.base_offset);
    while let Some(raw) = cursor.next_record()? {
        if raw.offset < fetched.position {
            continue;
        }
        let place =
            |error: Error| error.context(format!("{} at offset {}", fetched.partition, raw.offset));
        records.push(ConsumerRecord {
            partition: fetched.partition.clone(),
            offset: raw.offset,
            key: key.decode(raw.key).map_err(place)?,
            value: value.decode(raw.value).map_err(place)?,
            timestamp_ms: raw.timestamp_ms,
            headers: raw.headers().map_err(place)?,
        });
    }
    Ok(())
}
