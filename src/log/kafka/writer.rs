//! The writer's side that its owner holds: checks a commit and hands it to a thread of its own, which
//! waits for the brokers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::cluster::Cluster;
use super::transaction::{Transactions, small_limit};
use crate::base::{Error, ErrorKind, Result};
use crate::log::{Commit, CommitError, Receipt, Writer, check};

pub(super) type Answer = Result<Receipt, CommitError>;

pub(super) struct KafkaWriter {
    cluster: Arc<Cluster>,
    id: String,
    jobs: Sender<Job>,
    answers: Receiver<Answer>,
    pulse: Arc<Pulse>,
    in_flight: bool,
}

/// When the writer's thread last came back from a call of the client, by the monotonic clock.
#[derive(Default)]
pub(super) struct Pulse(AtomicU64);

impl Pulse {
    pub(super) fn beat(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }

    fn silent_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.0.load(Ordering::Relaxed))
    }
}

/// A call of the client that takes longer never comes back, in milliseconds: each is given a fraction of
/// it. Librdkafka 2.12 does so in `rd_kafka_send_offsets_to_transaction` when the coordinator moves at the
/// wrong moment.
const HUNG_MS: u64 = 10_000;

/// A transaction costs the brokers some milliseconds of work, whatever is in it.
const SPACING: Duration = Duration::from_millis(10);

/// A commit that passed the checks.
pub(super) struct Job {
    pub(super) commit: Commit,
    /// For each append: the bytes after which its topic wants a batch to end, if that is less than
    /// the client's own limit.
    pub(super) limits: Vec<Option<usize>>,
}

impl KafkaWriter {
    /// Opens the id, which fences whoever had it, and ends what that one left open.
    pub(super) fn open(cluster: Arc<Cluster>, id: &str) -> Result<Self> {
        let pulse = Arc::new(Pulse::default());
        let transactions = Transactions::open(Arc::clone(&cluster), id, Arc::clone(&pulse))?;
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
            in_flight: false,
        })
    }

    fn checked(&self, commit: Commit) -> Result<Job, CommitError> {
        let mut limits = Vec::with_capacity(commit.appends.len());
        for (partition, batch) in &commit.appends {
            let spec = self.cluster.topic_of(partition);
            let spec = spec.map_err(CommitError::Aborted)?;
            check::check_sizes(partition, batch, spec.max_record_bytes)
                .map_err(CommitError::Aborted)?;
            limits.push(small_limit(spec.max_record_bytes));
        }
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
        Ok(Job { commit, limits })
    }

    fn gone(&self) -> CommitError {
        let message = format!("the thread of writer {} has ended; restart", self.id);
        CommitError::Fatal(Error::new(ErrorKind::Internal, message))
    }
}

impl Writer for KafkaWriter {
    fn submit(&mut self, commit: Commit) -> Result<(), CommitError> {
        assert!(!self.in_flight, "one commit at a time");
        let job = self.checked(commit)?;
        self.pulse.beat(self.cluster.env.monotonic_ms());
        self.jobs.send(job).map_err(|_| self.gone())?;
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
                // The thread and its client are left behind: nothing ends them. Whoever opens the id anew
                // fences them.
                self.in_flight = false;
                let message = format!(
                    "the client of writer {} has not come back for {silent_ms} ms; open it anew",
                    self.id
                );
                return Err(CommitError::Lost(Error::new(
                    ErrorKind::Unavailable,
                    message,
                )));
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.gone()),
        };
        // After an unknown outcome the thread goes on asking, and answers again.
        self.in_flight = matches!(answer, Err(CommitError::Unknown(_)));
        answer.map(Some)
    }

    fn spacing(&self) -> Option<Duration> {
        Some(SPACING)
    }
}
