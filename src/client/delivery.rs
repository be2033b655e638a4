//! One commit after another, each until its outcome is known.
//!
//! ```text
//!  submit --> Ok                          appended
//!     ^  \--> Unknown      poll again     until it is known, or patience ends
//!     |  \--> Aborted      nothing of it is there: submit again if the log was only unavailable
//!     |  \--> Lost         reopen the writer, which settles it; the position shows what happened
//!     +---------------------- it was not committed
//! ```
//! A commit that carries a position can always be settled. One without a position cannot be settled after
//! `Lost`, and reports that.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Env, Error, ErrorKind, Result};
use crate::log::{Commit, CommitError, CommittedOffset, GroupCommit, Log, Receipt, Writer};

/// How long to wait for an answer at a time, and the pause between two attempts.
const TICK: Duration = Duration::from_millis(20);

/// Decides whether to continue, given how long a commit has been waited for.
pub(super) type Patience = Arc<dyn Fn(Duration) -> bool + Send + Sync>;

/// The connection of one client to the log.
pub(super) struct Delivery {
    log: Arc<dyn Log>,
    env: Arc<dyn Env>,
    id: String,
    memory_bytes: usize,
    patience: Patience,
    writer: Box<dyn Writer>,
    /// A commit of unknown outcome was abandoned: the writer accepts no other.
    unsettled: bool,
}

impl Delivery {
    /// Fences the previous owner of the id.
    pub(super) fn open(
        log: &Arc<dyn Log>,
        env: &Arc<dyn Env>,
        id: &str,
        memory_bytes: usize,
        patience: Patience,
    ) -> Result<Self> {
        Ok(Self {
            writer: log.writer(id, memory_bytes)?,
            log: Arc::clone(log),
            env: Arc::clone(env),
            id: id.to_owned(),
            memory_bytes,
            patience,
            unsettled: false,
        })
    }

    /// Submits a commit and waits until its outcome is definite.
    pub(super) fn deliver(&mut self, commit: &Commit) -> Result<Receipt> {
        if self.unsettled {
            self.writer = self.log.writer(&self.id, self.memory_bytes)?;
            self.unsettled = false;
        }
        let asked_at_ms = self.env.monotonic_ms();
        let mut answer = self.submit(commit);
        loop {
            let (resend, cause) = match answer {
                Ok(Some(receipt)) => return Ok(receipt),
                Ok(None) => (false, None),
                Err(CommitError::Unknown(error)) => (false, Some(error)),
                Err(CommitError::Aborted(error)) if error.kind() == ErrorKind::Unavailable => {
                    tracing::warn!(%error, writer = %self.id, "appending again");
                    (true, Some(error))
                }
                Err(CommitError::Lost(error)) => match &commit.group {
                    Some(group) => {
                        tracing::warn!(%error, writer = %self.id, "checking whether the commit happened");
                        self.unsettled = true;
                        if self.has_happened(group)? {
                            return Ok(Receipt::default());
                        }
                        (true, Some(error))
                    }
                    None => {
                        self.unsettled = true;
                        return Err(error.context(
                            "the records may or may not have been appended; commit them with a position to \
                             make this known",
                        ));
                    }
                },
                Err(error) => return Err(error.into_error()),
            };
            let waited_ms = self.env.monotonic_ms() - asked_at_ms;
            if !(self.patience)(Duration::from_millis(waited_ms)) {
                self.unsettled |= !resend;
                return Err(late(commit, waited_ms, resend, cause));
            }
            answer = if resend {
                self.env.sleep(TICK);
                self.submit(commit)
            } else {
                self.writer.poll(TICK)
            };
        }
    }

    fn submit(&mut self, commit: &Commit) -> Result<Option<Receipt>, CommitError> {
        self.writer.submit(commit.clone())?;
        self.writer.poll(TICK)
    }

    /// Reopens the writer, which settles what it left open, and compares the log with what the commit
    /// would have written.
    fn has_happened(&mut self, group: &GroupCommit) -> Result<bool> {
        let partitions: Vec<_> = group
            .offsets
            .iter()
            .map(|(place, _)| place.clone())
            .collect();
        let asked_at_ms = self.env.monotonic_ms();
        loop {
            let look = || -> Result<(Box<dyn Writer>, Vec<Option<CommittedOffset>>)> {
                let writer = self.log.writer(&self.id, self.memory_bytes)?;
                Ok((writer, self.log.committed(&group.group, &partitions)?))
            };
            match look() {
                Ok((writer, found)) => {
                    self.writer = writer;
                    self.unsettled = false;
                    let mut wanted = group.offsets.iter().zip(&found);
                    return Ok(wanted.all(|((_, wanted), found)| found.as_ref() == Some(wanted)));
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    let waited_ms = self.env.monotonic_ms() - asked_at_ms;
                    if !(self.patience)(Duration::from_millis(waited_ms)) {
                        return Err(error);
                    }
                    self.env.sleep(TICK);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The error if patience ended first.
fn late(commit: &Commit, waited_ms: u64, absent: bool, cause: Option<Error>) -> Error {
    let topic = commit.appends.first();
    let topic = topic.map_or("the log", |(place, _)| &*place.topic);
    let state = match (absent, commit.group.is_some()) {
        (true, _) => "nothing was appended; try again",
        (false, true) => {
            "reopen the producer: its position shows whether the records were appended"
        }
        (false, false) => "the records may or may not have been appended",
    };
    let message = format!("appending to {topic}: no acknowledgement for {waited_ms} ms; {state}");
    let late = Error::new(ErrorKind::Unavailable, message);
    match cause {
        Some(cause) => late.with_source(cause),
        None => late,
    }
}
