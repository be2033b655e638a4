//! A commit as a Kafka transaction, in steps:
//!
//! 1. begin; all records go to the client's queue, which sends them as they arrive. Staged parts are sent
//!    ahead: the transaction begins with the first of them;
//! 2. the group's offsets join the transaction, with the member's current metadata (KIP-447), so that the
//!    group's coordinator refuses a zombie;
//! 3. when every record is acknowledged, commit. From here on an answer may be lost: the outcome is
//!    unknown until the coordinator has been asked again.
//!
//! Any error before 3 aborts, which the coordinator also does by itself after `transaction.timeout.ms`. A
//! rebalance may change the group's generation during a commit: the member is still the owner of its
//! tasks, so the same commit is done again with the new metadata. If parts of it were sent ahead, they
//! are no longer here: then the commit is aborted, and the owner makes it again.
//!
//! If the coordinator can no longer tell the outcome (it moved, or closed a transaction that had been
//! open too long, and the answer to step 3 was lost), the commit is [`CommitError::Lost`]: opening the id
//! again ends what was left open, and then the group's offsets show whether the commit happened.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::cluster::Cluster;
use super::config;
use super::convert::list;
use super::deliveries::{Context, Deliveries, Load};
use super::error::{Verdict, failed, judge};
use super::jobs::{Answer, Failure, Job, Part, Pulse};
use super::locks::lock;
use super::waits::REQUEST_MS;
use crate::base::{Error, ErrorKind, Result, TopicPartition};
use crate::log::{CommitError, GroupCommit, Receipt, size_of};

/// How long a single call of the client may take before it is interrupted.
pub(super) const CALL: Duration = Duration::from_millis(2_000);
/// The pause between two polls of the client, at first; when it has had nothing to report for some polls,
/// the pause grows.
const SERVE: Duration = Duration::from_micros(300);
const SERVE_LOOKS: u32 = 8;
const SERVE_DOUBLINGS: u32 = 3;
/// How long a member may take to learn of the group's new generation, in milliseconds.
const REGENERATE_MS: u64 = 5_000;
/// How long the same commit is repeated because the generation changes, in milliseconds.
const REGENERATING_MS: u64 = 10_000;

/// The producer and its thread.
pub(super) struct Transactions {
    pub(super) cluster: Arc<Cluster>,
    pub(super) id: String,
    pub(super) producer: BaseProducer<Context>,
    /// For the owner, which detects with it that a call of the client does not return.
    pulse: Arc<Pulse>,
    load: Arc<Load>,
    /// For the owner: the outcome of parts that were sent ahead.
    failure: Arc<Failure>,
    /// How long a transaction may be open, in milliseconds.
    pub(super) transaction_ms: u64,
    pub(super) open: Option<Open>,
    /// The number of a commit whose parts are lost.
    failed: Option<u64>,
    /// How often in a row the client had nothing to report.
    quiet: Cell<u32>,
}

/// The open transaction.
#[derive(Default)]
pub(super) struct Open {
    pub(super) begun_ms: u64,
    /// Whether parts of it were sent ahead, and are therefore no longer here.
    has_staged: bool,
    /// The partitions that it writes to, by their numbers in it.
    pub(super) places: BTreeMap<TopicPartition, usize>,
}

/// Why an attempt did not reach its commit.
pub(super) enum Stop {
    /// Nothing happened; the commit may be retried.
    Client(KafkaError),
    /// The request cannot be fulfilled.
    Ours(CommitError),
}

impl Transactions {
    pub(super) fn open(
        cluster: Arc<Cluster>,
        id: &str,
        bytes: usize,
        pulse: Arc<Pulse>,
        load: Arc<Load>,
        failure: Arc<Failure>,
    ) -> Result<Self> {
        let config = cluster.address.writer(id, bytes);
        let context = Context::new(&cluster.address.tokens, Arc::clone(&load));
        let producer: BaseProducer<Context> =
            BaseProducer::from_config_and_context(&config, context).map_err(config::not_made)?;
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
            transaction_ms: cluster.address.transaction_ms(),
            cluster,
            id: id.to_owned(),
            producer,
            pulse,
            load,
            failure,
            open: None,
            failed: None,
            quiet: Cell::new(0),
        })
    }

    /// Processes jobs until nobody can send any more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>, answers: &Sender<Answer>) {
        while let Some(job) = self.next(jobs) {
            self.quiet.set(0);
            match job {
                Job::Stage(part) => self.stage(&part),
                Job::Commit(part, group) => {
                    let answer = self.commit(&part, group.as_ref(), answers);
                    self.open = None;
                    self.failed = None;
                    // A client that can write no more reports this again to every later job.
                    if answers.send(answer).is_err() {
                        return;
                    }
                }
                Job::Abandon { done } => {
                    if self.open.is_some() {
                        // If it cannot, the next commit finds out.
                        let _ = self.abort();
                    }
                    let _ = done.send(());
                }
            }
        }
    }

    /// The next job. While records are in flight, the client is polled.
    fn next(&mut self, jobs: &Receiver<Job>) -> Option<Job> {
        loop {
            if self.producer.in_flight_count() == 0 {
                return jobs.recv().ok();
            }
            match jobs.recv_timeout(self.pause()) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Sends part of a commit ahead.
    fn stage(&mut self, part: &Part) {
        self.load.take(size_of(&part.appends));
        if self.failed == Some(part.number) {
            return;
        }
        self.look();
        let until_ms = self.until_ms();
        let sent = self.begin().and_then(|()| {
            if let Some(open) = &mut self.open {
                open.has_staged = true;
            }
            self.send_all(part, true, until_ms)
        });
        if let Err(stop) = sent {
            let error = self.stopped(stop, None);
            self.failed = Some(part.number);
            *lock(&self.failure) = Some((part.number, error));
        }
    }

    fn commit(
        &mut self,
        part: &Part,
        group: Option<&GroupCommit>,
        answers: &Sender<Answer>,
    ) -> Answer {
        if self.failed == Some(part.number)
            && let Some((_, failure)) = lock(&self.failure).take()
        {
            return Err(failure);
        }
        let group = group.filter(|group| !group.offsets.is_empty());
        if part.appends.is_empty() && group.is_none() && self.open.is_none() {
            return Ok(Receipt::default());
        }
        let until_ms = self.until_ms();
        let regenerating_until_ms = self.cluster.env.monotonic_ms() + REGENERATING_MS;
        let mut seen = None;
        loop {
            self.beat();
            let stop = match self.attempt(part, group, &mut seen, until_ms) {
                Ok(()) => return self.finish(answers),
                Err(stop) => stop,
            };
            // What was sent ahead is no longer here.
            let again = self.open.as_ref().is_some_and(|open| !open.has_staged);
            let cause = match &stop {
                Stop::Client(cause) if judge(cause) == Verdict::Regenerate => Some(cause.clone()),
                _ => None,
            };
            let error = self.stopped(stop, group);
            let (Some(cause), Some(group), CommitError::Aborted(_)) = (cause, group, &error) else {
                return Err(error);
            };
            if !again {
                return Err(error);
            }
            if self.cluster.env.monotonic_ms() >= regenerating_until_ms {
                return Err(CommitError::Fenced(self.cluster.fenced(group, &cause)));
            }
            // The member learns of the generation by itself, or that it has lost its place.
            self.cluster.wait_regenerated(group, seen, REGENERATE_MS);
            self.beat();
            self.cluster
                .check_commit(group)
                .map_err(CommitError::Fenced)?;
        }
    }

    /// Aborts what is open after an error, and returns what the owner has to know.
    fn stopped(&mut self, stop: Stop, group: Option<&GroupCommit>) -> CommitError {
        let cause = match stop {
            Stop::Client(cause) => cause,
            Stop::Ours(error) => {
                // A topic may be gone: the client asks for one that it knows until its time is over.
                self.cluster.forget_topics();
                return self.abort().err().unwrap_or(error);
            }
        };
        let verdict = self.judge_unsettled(&cause);
        let delivery = lock(&self.producer.context().deliveries).failure.take();
        if matches!(verdict, Verdict::Fenced | Verdict::Fatal) {
            let dead = self.dead(verdict, cause.clone());
            return self.explain_dead(dead, cause, delivery);
        }
        if let Err(error) = self.abort() {
            return self.explain_dead(error, cause, delivery);
        }
        match (verdict, group) {
            (Verdict::Expelled, Some(group)) => {
                CommitError::Fenced(self.cluster.fenced(group, &cause))
            }
            (Verdict::Regenerate, Some(group)) if self.cluster.check_commit(group).is_err() => {
                CommitError::Fenced(self.cluster.fenced(group, &cause))
            }
            (Verdict::Expelled, None) => CommitError::Fenced(failed("committing", cause)),
            _ => CommitError::Aborted(self.explain(cause, delivery)),
        }
    }

    fn begin(&mut self) -> Result<(), Stop> {
        if self.open.is_some() {
            return Ok(());
        }
        *lock(&self.producer.context().deliveries) = Deliveries::default();
        self.producer.begin_transaction().map_err(Stop::Client)?;
        self.open = Some(Open {
            begun_ms: self.cluster.env.monotonic_ms(),
            ..Open::default()
        });
        Ok(())
    }

    /// Until when the transaction that is open, or begins now, may stay open.
    fn until_ms(&self) -> u64 {
        let open = self.open.as_ref().map(|open| open.begun_ms);
        let begun_ms = open.unwrap_or_else(|| self.cluster.env.monotonic_ms());
        begun_ms + self.transaction_ms
    }

    /// Steps 1 and 2, until every record is acknowledged.
    fn attempt(
        &mut self,
        part: &Part,
        group: Option<&GroupCommit>,
        seen: &mut Option<u64>,
        until_ms: u64,
    ) -> Result<(), Stop> {
        self.begin()?;
        self.send_all(part, false, until_ms)?;
        if let Some(group) = group {
            self.send_offsets(group, seen, until_ms)?;
        }
        self.drain(until_ms)
    }

    /// The partition's number in the transaction.
    pub(super) fn number_in_transaction(&mut self, partition: &TopicPartition) -> usize {
        let places = &mut self.open.get_or_insert_default().places;
        if let Some(place) = places.get(partition) {
            return *place;
        }
        let place = places.len();
        places.insert(partition.clone(), place);
        lock(&self.producer.context().deliveries).ends.push(0);
        place
    }

    pub(super) fn beat(&self) {
        self.pulse.beat(self.cluster.env.monotonic_ms());
    }

    /// Takes the client's reports.
    fn look(&self) {
        self.beat();
        let before = self.producer.in_flight_count();
        self.producer.poll(Duration::ZERO);
        self.quiet
            .set(match self.producer.in_flight_count() == before {
                true => self.quiet.get().saturating_add(1),
                false => 0,
            });
    }

    /// The pause before the next poll.
    fn pause(&self) -> Duration {
        SERVE * (1 << (self.quiet.get() / SERVE_LOOKS).min(SERVE_DOUBLINGS))
    }

    /// Takes the client's reports, and pauses if there are none. For a short time-out, the client's own
    /// wait is a busy loop.
    pub(super) fn serve(&self) {
        self.look();
        if self.quiet.get() > 0 {
            self.cluster.env.sleep(self.pause());
        }
    }

    /// Waits until every record is acknowledged.
    pub(super) fn drain(&self, until_ms: u64) -> Result<(), Stop> {
        while self.producer.in_flight_count() > 0 {
            self.serve();
            if let Some((failure, _)) = &lock(&self.producer.context().deliveries).failure {
                return Err(Stop::Client(failure.clone()));
            }
            self.check_time(until_ms)?;
        }
        match &lock(&self.producer.context().deliveries).failure {
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

    /// The metadata of a group that has no members.
    fn stranger(&self, group: &GroupCommit) -> Result<Arc<ConsumerGroupMetadata>> {
        let client = self.cluster.group(&group.group)?;
        let metadata = client.group_metadata();
        let missing = || Error::internal(format!("group {} has no metadata", group.group));
        Ok(Arc::new(metadata.ok_or_else(missing)?))
    }

    pub(super) fn check_time(&self, until_ms: u64) -> Result<(), Stop> {
        if self.cluster.env.monotonic_ms() < until_ms {
            return Ok(());
        }
        let message = format!(
            "the brokers at {} have not accepted the commit of writer {} within {} ms",
            self.cluster.address.brokers, self.id, self.transaction_ms
        );
        let error = Error::new(ErrorKind::Unavailable, message);
        Err(Stop::Ours(CommitError::Aborted(error)))
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
