//! A commit as a Kafka transaction, in steps:
//!
//! 1. begin; all records go to the client's queue, which sends them as they come;
//! 2. the group's offsets join the transaction, with the member's metadata as of now (KIP-447), so that
//!    the group's coordinator refuses a zombie;
//! 3. when every record is acknowledged, commit. From here on an answer may be lost: the outcome is
//!    unknown until the coordinator was asked again.
//!
//! Any error before 3 aborts, which the coordinator also does by itself after `transaction.timeout.ms`.
//! A rebalance moves the group's generation under a commit: the member is still the owner of its tasks,
//! so the same commit is done again with the new metadata.
//!
//! Where the coordinator will not say any more (it moved, or closed a transaction that had been open too
//! long, and the answer to step 3 was lost), the commit is [`CommitError::Lost`]: opening the id anew ends
//! what was left open, and then the group's offsets are what the commit made them, or not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::cluster::{Cluster, lock};
use super::config::{self, BATCH_BYTES, REQUEST_MS, TRANSACTION_MS};
use super::convert::{list, number_of, outgoing, size_at_most};
use super::deliveries::{Context, Deliveries};
use super::error::{Verdict, dead_writer, failed, judge};
use super::writer::{Answer, Job, Pulse};
use crate::base::{Error, ErrorKind, Offset, Result, TopicPartition};
use crate::log::{CommitError, GroupCommit, Receipt};

/// How long a single call of the client may take before it is looked after.
const CALL: Duration = Duration::from_millis(2_000);
/// How long the client is left alone between two looks at what it has to say.
const SERVE: Duration = Duration::from_micros(300);
/// How long a member may take to learn of the group's new generation, in milliseconds.
const REGENERATE_MS: u64 = 5_000;

/// The bytes after which a batch has to end for a topic that takes less than a whole batch.
pub(super) fn small_limit(max_record_bytes: usize) -> Option<usize> {
    (max_record_bytes < BATCH_BYTES).then_some(max_record_bytes)
}

/// The producer and its thread.
pub(super) struct Transactions {
    cluster: Arc<Cluster>,
    id: String,
    producer: BaseProducer<Context>,
    /// For the owner, who sees by it that a call of the client does not come back.
    pulse: Arc<Pulse>,
}

/// Why an attempt did not get to its commit.
enum Stop {
    /// Nothing happened; the commit may be tried again.
    Client(KafkaError),
    /// What was asked for cannot be.
    Ours(CommitError),
}

impl Transactions {
    pub(super) fn open(cluster: Arc<Cluster>, id: &str, pulse: Arc<Pulse>) -> Result<Self> {
        let config = cluster.address.writer(id);
        let producer: BaseProducer<Context> =
            BaseProducer::from_config_and_context(&config, Context::new(&cluster.address.tokens))
                .map_err(config::not_made)?;
        cluster.address.tokens.give(producer.client())?;
        let until_ms = cluster.env.monotonic_ms() + 3 * REQUEST_MS;
        loop {
            // Waits for the transaction that a predecessor left open to be aborted.
            match producer.init_transactions(CALL) {
                Ok(()) => break,
                Err(cause)
                    if judge(&cause) == Verdict::Retry && cluster.env.monotonic_ms() < until_ms =>
                {
                    producer.poll(Duration::ZERO);
                }
                Err(cause) => return Err(failed(&format!("opening writer {id}"), cause)),
            }
        }
        Ok(Self {
            cluster,
            id: id.to_owned(),
            producer,
            pulse,
        })
    }

    /// Commits what comes until nobody can send any more.
    pub(super) fn run(self, jobs: &Receiver<Job>, answers: &Sender<Answer>) {
        while let Ok(job) = jobs.recv() {
            let answer = self.commit(&job, answers);
            // A client that can write no more says so again to whatever comes later.
            if answers.send(answer).is_err() {
                return;
            }
        }
    }

    fn commit(&self, job: &Job, answers: &Sender<Answer>) -> Answer {
        if job.commit.appends.is_empty()
            && job
                .commit
                .group
                .as_ref()
                .is_none_or(|group| group.offsets.is_empty())
        {
            return Ok(Receipt::default());
        }
        let env = &self.cluster.env;
        let until_ms = env.monotonic_ms() + TRANSACTION_MS;
        let mut seen = None;
        loop {
            self.beat();
            let cause = match self.attempt(job, &mut seen, until_ms) {
                Ok(()) => return self.finish(job, answers),
                Err(Stop::Client(cause)) => cause,
                Err(Stop::Ours(error)) => {
                    self.abort()?;
                    return Err(error);
                }
            };
            let verdict = judge(&cause);
            let delivery = lock(&self.producer.context().0).failure.take();
            if matches!(verdict, Verdict::Fenced | Verdict::Fatal) {
                let dead = dead_writer(&self.id, verdict, cause.clone());
                return Err(self.explain_dead(dead, cause, delivery));
            }
            if let Err(error) = self.abort() {
                return Err(self.explain_dead(error, cause, delivery));
            }
            let group = job.commit.group.as_ref();
            match verdict {
                Verdict::Regenerate if env.monotonic_ms() < until_ms => {
                    // The member learns of the generation by itself, or that it has lost its place.
                    if let Some(group) = group {
                        self.cluster.wait_regenerated(group, seen, REGENERATE_MS);
                        self.beat();
                        self.cluster
                            .check_commit(group)
                            .map_err(CommitError::Fenced)?;
                    }
                }
                Verdict::Regenerate | Verdict::Expelled => {
                    let error = match group {
                        Some(group) => self.cluster.fenced(group, &cause),
                        None => failed("committing", cause),
                    };
                    return Err(CommitError::Fenced(error));
                }
                _ => return Err(CommitError::Aborted(self.explain(cause, delivery))),
            }
        }
    }

    /// Steps 1 and 2, and every record acknowledged.
    fn attempt(&self, job: &Job, seen: &mut Option<u64>, until_ms: u64) -> Result<(), Stop> {
        let appends = &job.commit.appends;
        *lock(&self.producer.context().0) = Deliveries {
            ends: vec![0; appends.len()],
            failure: None,
        };
        self.producer.begin_transaction().map_err(Stop::Client)?;
        for (number, ((partition, batch), limit)) in appends.iter().zip(&job.limits).enumerate() {
            let wrong = |error: Error| Stop::Ours(CommitError::Aborted(error.context(partition)));
            let place = number_of(partition).map_err(wrong)?;
            let mut cursor = batch.cursor(0);
            let mut unsent = 0;
            while let Some(record) = cursor.next_record().map_err(wrong)? {
                let (timestamp_ms, headers) = outgoing(&record).map_err(wrong)?;
                if let Some(limit) = limit {
                    // Each record fits, and two of them may not.
                    let size = size_at_most(&record).map_err(wrong)?;
                    if unsent > 0 && unsent + size > *limit {
                        self.drain(until_ms)?;
                        unsent = 0;
                    }
                    unsent += size;
                }
                let mut message: BaseRecord<'_, [u8], [u8], usize> =
                    BaseRecord::with_opaque_to(&partition.topic, number)
                        .partition(place)
                        .timestamp(timestamp_ms);
                message.key = record.key;
                message.payload = record.value;
                message.headers = headers;
                self.send(message, until_ms)?;
            }
            if limit.is_some() {
                self.drain(until_ms)?;
            }
        }
        if let Some(group) = &job.commit.group
            && !group.offsets.is_empty()
        {
            self.send_offsets(group, seen, until_ms)?;
        }
        self.drain(until_ms)
    }

    fn send(&self, message: BaseRecord<'_, [u8], [u8], usize>, until_ms: u64) -> Result<(), Stop> {
        let mut message = message;
        loop {
            match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                    self.check_time(until_ms)?;
                    self.serve();
                    message = back;
                }
                Err((cause, _)) => return Err(Stop::Client(cause)),
            }
        }
    }

    fn beat(&self) {
        self.pulse.beat(self.cluster.env.monotonic_ms());
    }

    /// Takes what the client has to say, and waits a moment if that is nothing. The client's own wait of
    /// a short time turns in a circle for the whole of it.
    fn serve(&self) {
        self.beat();
        let before = self.producer.in_flight_count();
        self.producer.poll(Duration::ZERO);
        if self.producer.in_flight_count() == before {
            self.cluster.env.sleep(SERVE);
        }
    }

    /// Waits until every record is acknowledged.
    fn drain(&self, until_ms: u64) -> Result<(), Stop> {
        while self.producer.in_flight_count() > 0 {
            self.serve();
            if let Some((failure, _)) = &lock(&self.producer.context().0).failure {
                return Err(Stop::Client(failure.clone()));
            }
            self.check_time(until_ms)?;
        }
        match &lock(&self.producer.context().0).failure {
            Some((failure, _)) => Err(Stop::Client(failure.clone())),
            None => Ok(()),
        }
    }

    fn send_offsets(
        &self,
        group: &GroupCommit,
        seen: &mut Option<u64>,
        until_ms: u64,
    ) -> Result<(), Stop> {
        let fenced = |error| Stop::Ours(CommitError::Fenced(error));
        let aborted = |error| Stop::Ours(CommitError::Aborted(error));
        let offsets = offsets_of(group).map_err(aborted)?;
        let (metadata, number) = match &group.token {
            Some(_) => self.cluster.metadata_of(group).map_err(fenced)?,
            None => (self.stranger(group).map_err(aborted)?, 0),
        };
        *seen = Some(number);
        loop {
            self.beat();
            match self
                .producer
                .send_offsets_to_transaction(&offsets, &metadata, CALL)
            {
                Ok(()) => return Ok(()),
                Err(cause) if judge(&cause) == Verdict::Retry => {
                    self.check_time(until_ms)?;
                    self.serve();
                }
                Err(cause) => return Err(Stop::Client(cause)),
            }
        }
    }

    /// What a group that has no members is told.
    fn stranger(&self, group: &GroupCommit) -> Result<Arc<ConsumerGroupMetadata>> {
        let client = self.cluster.group(&group.group)?;
        let metadata = client.group_metadata();
        let missing = || Error::internal(format!("group {} has no metadata", group.group));
        Ok(Arc::new(metadata.ok_or_else(missing)?))
    }

    fn check_time(&self, until_ms: u64) -> Result<(), Stop> {
        if self.cluster.env.monotonic_ms() < until_ms {
            return Ok(());
        }
        let message = format!(
            "the brokers at {} have not taken the commit of writer {} within {TRANSACTION_MS} ms",
            self.cluster.address.brokers, self.id
        );
        let error = Error::new(ErrorKind::Unavailable, message);
        Err(Stop::Ours(CommitError::Aborted(error)))
    }

    /// Step 3: asks until the answer is definite.
    fn finish(&self, job: &Job, answers: &Sender<Answer>) -> Answer {
        let mut unknown = false;
        loop {
            self.beat();
            let cause = match self.producer.commit_transaction(CALL) {
                Ok(()) => return Ok(receipt(job, &lock(&self.producer.context().0).ends)),
                Err(cause) => cause,
            };
            match judge(&cause) {
                Verdict::Retry => {
                    unknown = true;
                    let message = format!("writer {} has no answer to its commit", self.id);
                    let error = Error::new(ErrorKind::Unavailable, message).with_source(cause);
                    if answers.send(Err(CommitError::Unknown(error))).is_err() {
                        // The owner is gone; whoever opens the id next learns the outcome.
                        return Err(CommitError::Fatal(closed()));
                    }
                    self.serve();
                }
                // The first asking may have been heard, and only the second one refused; the client asks
                // again by itself, too.
                Verdict::Fenced if unknown => {
                    return Err(dead_writer(&self.id, Verdict::Fatal, cause));
                }
                verdict @ (Verdict::Fenced | Verdict::Fatal) => {
                    return Err(dead_writer(&self.id, verdict, cause));
                }
                _ => {
                    let delivery = lock(&self.producer.context().0).failure.take();
                    return Err(match self.abort() {
                        Ok(()) => CommitError::Aborted(self.explain(cause, delivery)),
                        Err(error) => self.explain_dead(error, cause, delivery),
                    });
                }
            }
        }
    }

    /// Takes the transaction back. The client's own call does not serve what it waits for, so it is
    /// made again and again.
    fn abort(&self) -> Result<(), CommitError> {
        let until_ms = self.cluster.env.monotonic_ms() + 3 * TRANSACTION_MS;
        loop {
            self.beat();
            let cause = match self.producer.abort_transaction(Duration::from_millis(100)) {
                Ok(()) => {
                    // What is said of its records must not be taken for the next one's.
                    while self.producer.in_flight_count() > 0
                        && self.cluster.env.monotonic_ms() < until_ms
                    {
                        self.serve();
                    }
                    return Ok(());
                }
                Err(cause) => cause,
            };
            match judge(&cause) {
                verdict @ (Verdict::Fenced | Verdict::Fatal) => {
                    return Err(dead_writer(&self.id, verdict, cause));
                }
                // None was begun.
                Verdict::Abort if cause.rdkafka_error_code() == Some(Code::State) => return Ok(()),
                _ if self.cluster.env.monotonic_ms() < until_ms => self.serve(),
                // The coordinator has aborted it long since; a new client is needed to say so.
                _ => return Err(dead_writer(&self.id, Verdict::Fatal, cause)),
            }
        }
    }

    /// A client whose records were all refused cannot even abort. Why they were refused says more.
    fn explain_dead(
        &self,
        dead: CommitError,
        cause: KafkaError,
        delivery: Option<(KafkaError, String)>,
    ) -> CommitError {
        // The client may say what it was only after the calls that failed because of it.
        self.serve();
        let later = lock(&self.producer.context().0).failure.take();
        let refused = self.explain(cause, delivery.or(later));
        match refused.kind() {
            ErrorKind::Invalid => CommitError::Aborted(refused),
            _ => dead,
        }
    }

    /// Why a commit was aborted; what was said of a record says more than what followed from it.
    fn explain(&self, cause: KafkaError, delivery: Option<(KafkaError, String)>) -> Error {
        // A topic may be gone, or have other limits now.
        self.cluster.forget_topics();
        match delivery {
            Some((cause, place)) => failed(&format!("writing to {place}"), cause),
            None => failed(&format!("writer {}", self.id), cause),
        }
    }
}

fn offsets_of(group: &GroupCommit) -> Result<TopicPartitionList> {
    let offsets = list(
        group
            .offsets
            .iter()
            .map(|(partition, committed)| (partition, KafkaOffset::Offset(committed.offset))),
    )?;
    for (mut element, (_, committed)) in offsets.elements().into_iter().zip(&group.offsets) {
        if !committed.metadata.is_empty() {
            element.set_metadata(&committed.metadata);
        }
    }
    Ok(offsets)
}

fn receipt(job: &Job, ends: &[Offset]) -> Receipt {
    let mut all: BTreeMap<TopicPartition, Offset> = BTreeMap::new();
    for ((partition, _), end) in job.commit.appends.iter().zip(ends) {
        let known = all.entry(partition.clone()).or_default();
        *known = (*known).max(*end);
    }
    Receipt { ends: all }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the writer was closed")
}
