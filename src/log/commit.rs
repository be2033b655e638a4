//! Writing: commits, and the writers that make them.
//!
//! ```text
//!  stage   records are sent ahead of their commit; no reader of committed records sees them
//!  stage   ...
//!  submit  the rest, and the group's offsets: all of it together is one commit
//!  poll    the outcome
//!
//!  abandon instead of submit: what was staged is gone
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::base::{Error, Offset, TopicPartition};
use crate::batch::Batch;

/// A group's progress on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: Offset,
    /// A note of the group's own, stored with the offset.
    pub metadata: String,
}

/// Proof of membership; part of each commit, so that a zombie is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberToken {
    /// The member's name.
    pub member: String,
    /// The group generation in which it got its tasks.
    pub generation: u64,
}

/// The offsets part of a commit.
#[derive(Clone, Debug)]
pub struct GroupCommit {
    /// The group whose progress it is.
    pub group: String,
    /// The committing member; `None` for a group that has no members (a feeder), which is never fenced.
    pub token: Option<MemberToken>,
    /// The progress.
    pub offsets: Vec<(TopicPartition, CommittedOffset)>,
}

/// Everything that becomes visible at once.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Records to append. There may be several batches for a partition; they are appended in order.
    pub appends: Vec<(TopicPartition, Batch)>,
    /// Progress to record with them.
    pub group: Option<GroupCommit>,
}

/// The result of a successful commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// For each partition appended to: the offset after the last appended record.
    pub ends: BTreeMap<TopicPartition, Offset>,
}

/// Why a commit did not happen, and what is true now.
#[derive(Debug)]
pub enum CommitError {
    /// Nothing of it happened, and it may be retried: rebuild from committed state.
    Aborted(Error),
    /// Nothing of it happened: the group has moved on. Give up all tasks and rejoin.
    Fenced(Error),
    /// It may or may not have happened, and stays in flight. Call [`Writer::poll`] again until the
    /// outcome is definite.
    Unknown(Error),
    /// It may or may not have happened, and this writer cannot find out. Open the writer's id again,
    /// which settles it, and read the group's offsets: either the commit has changed them, or they are as
    /// before.
    Lost(Error),
    /// Nothing more can be written. Stop; a restart continues from committed state.
    Fatal(Error),
}

impl CommitError {
    /// The underlying error.
    pub fn into_error(self) -> Error {
        match self {
            Self::Aborted(error)
            | Self::Fenced(error)
            | Self::Unknown(error)
            | Self::Lost(error)
            | Self::Fatal(error) => error,
        }
    }
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted(error) => write!(f, "commit aborted: {error}"),
            Self::Fenced(error) => write!(f, "commit refused: {error}"),
            Self::Unknown(error) => write!(f, "commit with unknown outcome: {error}"),
            Self::Lost(error) => {
                write!(
                    f,
                    "commit whose outcome this writer cannot determine: {error}"
                )
            }
            Self::Fatal(error) => write!(f, "commit failed: {error}"),
        }
    }
}

impl std::error::Error for CommitError {}

/// Records that wait in a writer for the commit they belong to.
#[derive(Clone, Debug, Default)]
pub struct Staged {
    appends: Vec<(TopicPartition, Batch)>,
    bytes: usize,
}

impl Staged {
    /// Adds records after those already waiting.
    pub fn add(&mut self, appends: Vec<(TopicPartition, Batch)>) {
        self.bytes += size_of(&appends);
        self.appends.extend(appends);
    }

    /// How many bytes are waiting.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes all waiting records.
    pub fn take(&mut self) -> Vec<(TopicPartition, Batch)> {
        self.bytes = 0;
        std::mem::take(&mut self.appends)
    }

    /// Discards the waiting records.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The commit with the waiting records before its own; nothing is waiting after that.
    #[must_use]
    pub fn complete(&mut self, mut commit: Commit) -> Commit {
        if !self.appends.is_empty() {
            let own = std::mem::replace(&mut commit.appends, self.take());
            commit.appends.extend(own);
        }
        commit
    }
}

/// The total size of the batches in bytes.
pub(crate) fn size_of(appends: &[(TopicPartition, Batch)]) -> usize {
    let sizes = appends.iter().map(|(_, batch)| batch.as_bytes().len());
    sizes.sum()
}

/// When staging is worthwhile for a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staging {
    /// How many bytes should wait before records are staged; a smaller commit is sent in one piece when
    /// it is submitted.
    pub from_bytes: usize,
    /// How long after the first staged record the commit should be submitted at the latest: the log
    /// aborts a commit that stays open too long.
    pub within: Duration,
}

/// Commits, one at a time. Owned by one thread.
pub trait Writer: Send {
    /// Adds records of the next commit before it is submitted. Returns at once. A log that benefits from
    /// it begins to write them; no reader of committed records sees any of them before the commit is
    /// definite. They come before the records that are submitted. Not to be called while a commit is in
    /// flight.
    ///
    /// # Errors
    /// As [`Writer::poll`], including errors of what was staged before: nothing is staged any more after
    /// an error.
    fn stage(
        &mut self,
        appends: Vec<(TopicPartition, Batch)>,
    ) -> std::result::Result<(), CommitError> {
        self.staged().add(appends);
        Ok(())
    }

    /// Discards staged records: no reader of committed records will ever see them. Not to be called while
    /// a commit is in flight.
    fn abandon(&mut self) {
        self.staged().clear();
    }

    /// Where staged records wait. A writer that writes only when a commit is submitted needs no more than
    /// this and [`Staged::complete`] in its `submit`.
    fn staged(&mut self) -> &mut Staged;

    /// How many bytes of staged records still use memory of this process.
    fn staged_bytes(&mut self) -> usize {
        self.staged().bytes()
    }

    /// When staging is worthwhile; `None` if the log does not benefit from it.
    fn staging(&self) -> Option<Staging> {
        None
    }

    /// Submits a commit, which has the staged records before its own, and returns at once. The outcome
    /// comes from [`Writer::poll`]. While one is in flight, another must not be submitted. Whatever the
    /// outcome, nothing is staged after it.
    ///
    /// # Errors
    /// As [`Writer::poll`].
    fn submit(&mut self, commit: Commit) -> std::result::Result<(), CommitError>;

    /// The outcome of the commit in flight; `None` if it is not known within `timeout` or none is in
    /// flight.
    ///
    /// # Errors
    /// See [`CommitError`]. After `Unknown` the commit stays in flight: call again, which asks the log
    /// again, and returns `Unknown` again while there is no answer.
    fn poll(&mut self, timeout: Duration) -> std::result::Result<Option<Receipt>, CommitError>;

    /// If results should be visible soon: the minimum time after submitting a commit at which the next
    /// one is worth its cost, however quick the last one was; `None` if the log has no recommendation.
    fn spacing(&self) -> Option<Duration> {
        None
    }
}
