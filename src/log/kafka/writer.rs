//! The side of a writer that its owner holds: checks what is to be written and passes it to a separate
//! thread, which waits for the brokers.
//!
//! ```text
//!  owner           stage, stage, ... submit       Part: appends sent ahead        thread
//!                    waits here until 1 MiB         Job:  the rest, and offsets     one transaction at a time
//!                                     ---- jobs --->
//!  poll, stage  <--- answers, failure of a part ----
//! ```
//! Each transaction has a number, so that parts of one that has failed in the meantime are skipped.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::cluster::Cluster;
use super::deliveries::Load;
use super::jobs::{Answer, Failure, Job, Part, Pulse};
use super::locks::lock;
use super::transaction::Transactions;
use crate::base::{Error, ErrorKind, Result, TopicPartition};
use crate::log::{Batch, Commit, CommitError, Receipt, Staged, Staging, Writer, check, size_of};

pub(super) struct KafkaWriter {
    cluster: Arc<Cluster>,
    id: String,
    jobs: Sender<Job>,
    answers: Receiver<Answer>,
    pulse: Arc<Pulse>,
    load: Arc<Load>,
    failure: Arc<Failure>,
    in_flight: bool,
    /// The number of the next commit.
    number: u64,
    /// Staged records that stay here until there are more.
    waiting: Staged,
    /// Whether parts of the next commit were passed to the thread.
    has_begun: bool,
}

/// A call of the client that takes longer never returns, in milliseconds: each is given a fraction of it.
/// Librdkafka 2.12 does so in `rd_kafka_send_offsets_to_transaction` when the coordinator moves at the
/// wrong moment.
const HUNG_MS: u64 = 10_000;

/// A transaction costs the brokers some milliseconds of work, whatever it contains.
const SPACING: Duration = Duration::from_millis(10);

/// What is sent ahead cannot be repeated when the group's generation changes. For less than this it is
/// not worth it, in bytes.
const STAGE_BYTES: usize = 1 << 20;

/// How long a writer that is dropped waits until its staged records are aborted.
const LAST_WAIT: Duration = Duration::from_secs(1);

impl KafkaWriter {
    /// Opens the id, which fences its previous holder, and ends what that one left open. Its client keeps
    /// copies of about this many bytes of records.
    pub(super) fn open(cluster: Arc<Cluster>, id: &str, bytes: usize) -> Result<Self> {
        let (pulse, load) = (Arc::new(Pulse::default()), Arc::new(Load::default()));
        let failure = Arc::new(Failure::default());
        let transactions = Transactions::open(
            Arc::clone(&cluster),
            id,
            bytes,
            Arc::clone(&pulse),
            Arc::clone(&load),
            Arc::clone(&failure),
        )?;
        let (jobs, taken) = channel();
        let (answer, answers) = channel();
        let body = move || transactions.run(&taken, &answer);
        // It ends when the sender of jobs is dropped.
        let _ends_by_itself = cluster.env.spawn("marea-kafka-writer", Box::new(body))?;
        Ok(Self {
            cluster,
            id: id.to_owned(),
            jobs,
            answers,
            pulse,
            load,
            failure,
            in_flight: false,
            number: 0,
            waiting: Staged::default(),
            has_begun: false,
        })
    }

    fn part(&self, appends: Vec<(TopicPartition, Batch)>) -> Result<Part> {
        let mut limits = Vec::with_capacity(appends.len());
        for (partition, batch) in &appends {
            let spec = self.cluster.topic_of(partition)?;
            check::check_sizes(partition, batch, spec.max_record_bytes)?;
            limits.push(Part::limit(spec.max_record_bytes));
        }
        Ok(Part {
            number: self.number,
            appends,
            limits,
        })
    }

    fn checked(&self, commit: Commit) -> Result<Job, CommitError> {
        let part = self.part(commit.appends).map_err(CommitError::Aborted)?;
        if let Some(group) = &commit.group {
            for partition in check::partitions_of(group) {
                self.cluster
                    .topic_of(partition)
                    .map_err(CommitError::Aborted)?;
            }
            self.cluster
                .check_commit(group)
                .map_err(CommitError::Fenced)?;
        }
        Ok(Job::Commit(part, commit.group))
    }

    fn hand_over(&self, job: Job) -> Result<(), CommitError> {
        self.jobs.send(job).map_err(|_| self.gone())
    }

    /// The outcome of the parts that were sent ahead, if they are lost.
    fn look_for_failure(&mut self) -> Result<(), CommitError> {
        let failure = lock(&self.failure).take();
        match failure {
            // The outcome of an abandoned commit does not matter.
            Some((number, failure)) if number == self.number => {
                self.begin_anew();
                Err(failure)
            }
            _ => Ok(()),
        }
    }

    /// Parts still on their way to the thread belong to a commit that will not happen.
    fn begin_anew(&mut self) {
        self.number += 1;
        self.has_begun = false;
        self.waiting.clear();
    }

    /// Aborts what was staged; the caller may wait for the end of it.
    fn take_back(&mut self) -> Option<Receiver<()>> {
        let had_begun = self.has_begun;
        self.begin_anew();
        let (done, is_done) = channel();
        // A thread that is gone has nothing open.
        let asked = had_begun && self.jobs.send(Job::Abandon { done }).is_ok();
        asked.then_some(is_done)
    }

    fn gone(&self) -> CommitError {
        let message = format!("the thread of writer {} has ended; restart", self.id);
        CommitError::Fatal(Error::new(ErrorKind::Internal, message))
    }
}

impl Writer for KafkaWriter {
    fn stage(&mut self, appends: Vec<(TopicPartition, Batch)>) -> Result<(), CommitError> {
        assert!(!self.in_flight, "nothing is staged beside a commit");
        self.waiting.add(appends);
        if !self.has_begun && self.waiting.bytes() < STAGE_BYTES {
            return Ok(());
        }
        self.look_for_failure()?;
        let appends = self.waiting.take();
        let bytes = size_of(&appends);
        let part = match self.part(appends) {
            Ok(part) => part,
            Err(error) => {
                self.take_back();
                return Err(CommitError::Aborted(error));
            }
        };
        self.has_begun = true;
        self.load.add(bytes);
        self.hand_over(Job::Stage(part))
    }

    fn abandon(&mut self) {
        assert!(!self.in_flight, "a commit is not taken back");
        self.take_back();
    }

    fn staged(&mut self) -> &mut Staged {
        &mut self.waiting
    }

    fn staged_bytes(&mut self) -> usize {
        self.waiting.bytes() + self.load.bytes()
    }

    fn staging(&self) -> Option<Staging> {
        Some(Staging {
            from_bytes: STAGE_BYTES,
            within: Duration::from_millis(self.cluster.address.transaction_ms() / 3),
        })
    }

    fn submit(&mut self, commit: Commit) -> Result<(), CommitError> {
        assert!(!self.in_flight, "one commit at a time");
        self.look_for_failure()?;
        let commit = self.waiting.complete(commit);
        let job = self.checked(commit);
        if job.is_err() {
            self.take_back();
        }
        let job = job?;
        self.pulse.beat(self.cluster.env.monotonic_ms());
        self.hand_over(job)?;
        self.begin_anew();
        self.in_flight = true;
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> Result<Option<Receipt>, CommitError> {
        if !self.in_flight {
            return Ok(None);
        }
        let answer = match self.answers.recv_timeout(timeout) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                let silent_ms = self.pulse.silent_ms(self.cluster.env.monotonic_ms());
                if silent_ms < HUNG_MS {
                    return Ok(None);
                }
                // The thread and its client are left behind: nothing ends them. The next one to open the
                // id fences them.
                self.in_flight = false;
                let message = format!(
                    "the client of writer {} has not responded for {silent_ms} ms; reopen the writer",
                    self.id
                );
                return Err(CommitError::Lost(Error::new(
                    ErrorKind::Unavailable,
                    message,
                )));
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.gone()),
        };
        // After an unknown outcome the thread keeps asking, and answers again.
        self.in_flight = matches!(answer, Err(CommitError::Unknown(_)));
        answer.map(Some)
    }

    fn spacing(&self) -> Option<Duration> {
        Some(SPACING)
    }
}

/// An open transaction holds up readers of its partitions, until the brokers end it.
impl Drop for KafkaWriter {
    fn drop(&mut self) {
        if let Some(is_done) = self.take_back() {
            // It may be that nobody answers.
            let _ = is_done.recv_timeout(LAST_WAIT);
        }
    }
}
