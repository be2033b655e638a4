//! How a transaction ends: committed, aborted, or unknowable.

use std::sync::mpsc::Sender;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;

use super::error::{Verdict, dead_writer, failed, is_fencing, judge};
use super::jobs::Answer;
use super::locks::lock;
use super::transaction::{CALL, Transactions};
use crate::base::{Error, ErrorKind, Offset, TopicPartition};
use crate::log::{CommitError, Receipt};

/// How long to wait for records in flight before their transaction is aborted, in milliseconds.
const SETTLE_MS: u64 = 2_000;

/// How long aborting a transaction may take before its client is abandoned, in milliseconds.
const ABORT_MS: u64 = 30_000;

impl Transactions {
    /// Step 3: asks until the answer is definite.
    pub(super) fn finish(&mut self, answers: &Sender<Answer>) -> Answer {
        let mut unknown = false;
        loop {
            self.beat();
            let cause = match self.producer.commit_transaction(CALL) {
                Ok(()) => return Ok(self.receipt()),
                Err(cause) => cause,
            };
            match judge(&cause) {
                Verdict::Retry => {
                    unknown = true;
                    let message = format!("writer {} has no response to its commit", self.id);
                    let error = Error::new(ErrorKind::Unavailable, message).with_source(cause);
                    if answers.send(Err(CommitError::Unknown(error))).is_err() {
                        // The owner is gone; the next one to open the id learns the outcome.
                        return Err(CommitError::Fatal(closed()));
                    }
                    self.serve();
                }
                // The first request may have succeeded, and only the second one been refused; the client
                // also retries by itself.
                Verdict::Fenced if unknown => {
                    return Err(self.dead(Verdict::Fatal, cause));
                }
                verdict @ (Verdict::Fenced | Verdict::Fatal) => {
                    return Err(self.dead(verdict, cause));
                }
                _ => {
                    let delivery = lock(&self.producer.context().deliveries).failure.take();
                    return Err(match self.abort() {
                        Ok(()) => CommitError::Aborted(self.explain(cause, delivery)),
                        Err(error) => self.explain_dead(error, cause, delivery),
                    });
                }
            }
        }
    }

    /// What must happen after an error before step 3. A client that ended while records were on their way
    /// tells the next call only that it has ended; it is asked for the reason.
    pub(super) fn judge_unsettled(&self, cause: &KafkaError) -> Verdict {
        let was_fenced = || {
            let reason = self.producer.client().fatal_error();
            reason.is_some_and(|(code, _)| is_fencing(code))
        };
        match judge(cause) {
            Verdict::Fatal if was_fenced() => Verdict::Fenced,
            verdict => verdict,
        }
    }

    /// Waits for the records in flight, unless some have failed. A client that aborts a transaction
    /// discards records that wait for an answer, and may then have lost count of its sequence: the next
    /// record would end it ("Fatal error").
    fn settle(&self) {
        let until_ms = self.cluster.env.monotonic_ms() + SETTLE_MS;
        let has_failed = || lock(&self.producer.context().deliveries).failure.is_some();
        while self.producer.in_flight_count() > 0
            && !has_failed()
            && self.cluster.env.monotonic_ms() < until_ms
        {
            self.beat();
            self.serve();
        }
    }

    /// Aborts the transaction. The client's own call does not serve the callbacks it waits for, so it is
    /// repeated.
    pub(super) fn abort(&mut self) -> Result<(), CommitError> {
        self.settle();
        let until_ms = self.cluster.env.monotonic_ms() + ABORT_MS;
        loop {
            self.beat();
            let cause = match self.producer.abort_transaction(Duration::from_millis(100)) {
                Ok(()) => {
                    // Answers about its records must not be taken for the next one's.
                    while self.producer.in_flight_count() > 0
                        && self.cluster.env.monotonic_ms() < until_ms
                    {
                        self.serve();
                    }
                    self.open = None;
                    return Ok(());
                }
                Err(cause) => cause,
            };
            match judge(&cause) {
                verdict @ (Verdict::Fenced | Verdict::Fatal) => {
                    return Err(self.dead(verdict, cause));
                }
                // None was begun.
                Verdict::Abort if cause.rdkafka_error_code() == Some(Code::State) => {
                    self.open = None;
                    return Ok(());
                }
                _ if self.cluster.env.monotonic_ms() < until_ms => self.serve(),
                // The coordinator has aborted it long ago; it takes a new client to find that out.
                _ => return Err(self.dead(Verdict::Fatal, cause)),
            }
        }
    }

    /// A client whose records were all refused cannot even abort. The reason for the refusal is more
    /// informative.
    pub(super) fn explain_dead(
        &self,
        dead: CommitError,
        cause: KafkaError,
        delivery: Option<(KafkaError, String)>,
    ) -> CommitError {
        // The client may report the cause only after the calls that failed because of it.
        self.serve();
        let later = lock(&self.producer.context().deliveries).failure.take();
        let refused = self.explain(cause, delivery.or(later));
        match refused.kind() {
            ErrorKind::Invalid => CommitError::Aborted(refused),
            _ => dead,
        }
    }

    /// Why a commit was aborted; an error about a record is more informative than its consequences.
    pub(super) fn explain(
        &self,
        cause: KafkaError,
        delivery: Option<(KafkaError, String)>,
    ) -> Error {
        // A topic may be gone, or have other limits now.
        self.cluster.forget_topics();
        match delivery {
            Some((cause, place)) => failed(&format!("writing to {place}"), cause),
            None => failed(&format!("writer {}", self.id), cause),
        }
    }

    /// The error of a client that can write no more. For a transaction that was open too long, the
    /// brokers return the same error as for one whose writer was opened again.
    pub(super) fn dead(&self, verdict: Verdict, cause: KafkaError) -> CommitError {
        let now_ms = self.cluster.env.monotonic_ms();
        let open = self.open.as_ref();
        let open_ms = open.map_or(0, |open| now_ms.saturating_sub(open.begun_ms));
        if verdict != Verdict::Fenced || open_ms < self.transaction_ms {
            return dead_writer(&self.id, verdict, cause);
        }
        let message = format!(
            "a transaction of writer {} was open for {open_ms} ms, and the brokers end transactions after \
             transaction.timeout.ms, {} ms; reopen the writer",
            self.id, self.transaction_ms
        );
        CommitError::Lost(Error::new(ErrorKind::Unavailable, message).with_source(cause))
    }

    fn receipt(&self) -> Receipt {
        let ends = &lock(&self.producer.context().deliveries).ends;
        let places = self.open.iter().flat_map(|open| &open.places);
        let end = |(partition, place): (&TopicPartition, &usize)| {
            let end: Offset = ends.get(*place).copied().unwrap_or_default();
            (partition.clone(), end)
        };
        Receipt {
            ends: places.map(end).collect(),
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the writer was closed")
}
