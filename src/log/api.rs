//! The log as the rest of marea sees it: partitioned, append-only, committed atomically.
//!
//! ```text
//!  partition   | purged | r r r r r r r r r r r | w w (being appended)
//!              0        start                   end = the next offset to be written
//!                             position = the next offset a reader will return
//!                        committed = where a group continues after a crash
//! ```
//!
//! What every backend MUST keep, and `log::conformance` checks:
//! 1. A commit is atomic over all its appends and offsets: readers see all of it or nothing.
//! 2. After [`Writer::poll`] returned a receipt the commit survives a crash, as far as the fsync
//!    policy says.
//! 3. The records of a partition are ordered, their offsets grow, and a reader gets each once.
//! 4. A commit that names a group member is refused as [`CommitError::Fenced`] once the group has
//!    moved on from the member's generation.
//! 5. A commit error says whether the effects are absent (`Aborted`, `Fenced`), not known yet
//!    (`Unknown`), or not to be learned by this writer (`Lost`). Opening a writer's id settles what the
//!    last holder of the id left open, before [`Log::writer`] returns.
//! 6. Records deleted by retention, compaction or [`Log::delete_records`] leave gaps; offsets are
//!    never used twice.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::Batch;
use crate::base::{Error, Offset, Result, TaskId, TopicPartition};

/// How a topic gives up old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Whole batches go when they are older, or the partition larger, than the topic's retention.
    Delete,
    /// Of each key the last record stays; tombstones go after `delete_retention_ms`.
    Compact,
    /// Both.
    CompactDelete,
}

/// What a topic must be like. `None` is the backend's default for limits, and "unlimited" for
/// retention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Full name.
    pub name: String,
    /// Number of partitions, at least 1.
    pub partitions: u32,
    /// How old records go.
    pub cleanup: Cleanup,
    /// Age by wall clock since append at which records go, in milliseconds.
    pub retention_ms: Option<i64>,
    /// Size of a partition above which its oldest records go, in bytes.
    pub retention_bytes: Option<u64>,
    /// How long compaction keeps a tombstone, in milliseconds.
    pub delete_retention_ms: i64,
    /// How long after it was appended a record is spared from compaction, in milliseconds: what came meanwhile
    /// is there whole, for readers that need more than the last of each key.
    pub compaction_lag_ms: i64,
    /// Largest record accepted: key, value and headers together, in bytes.
    pub max_record_bytes: usize,
}

/// Kafka's default for `delete.retention.ms`: one day.
pub const DEFAULT_DELETE_RETENTION_MS: i64 = 86_400_000;
/// Kafka's default for `message.max.bytes`, about 1 MiB.
pub const DEFAULT_MAX_RECORD_BYTES: usize = 1_048_588;

impl TopicSpec {
    /// A topic of `partitions` partitions that keeps everything.
    pub fn new(name: impl Into<String>, partitions: u32) -> Self {
        Self {
            name: name.into(),
            partitions,
            cleanup: Cleanup::Delete,
            retention_ms: None,
            retention_bytes: None,
            delete_retention_ms: DEFAULT_DELETE_RETENTION_MS,
            compaction_lag_ms: 0,
            max_record_bytes: DEFAULT_MAX_RECORD_BYTES,
        }
    }

    /// The same topic with another way of giving up old records.
    #[must_use]
    pub fn with_cleanup(mut self, cleanup: Cleanup) -> Self {
        self.cleanup = cleanup;
        self
    }
}

/// A group's progress on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: Offset,
    /// A note of the group's own, kept with the offset.
    pub metadata: String,
}

/// Proof of membership; goes with each commit so that a zombie is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberToken {
    /// The member's name.
    pub member: String,
    /// The generation of the group in which it got its tasks.
    pub generation: u64,
}

/// The offsets part of a commit.
#[derive(Clone, Debug)]
pub struct GroupCommit {
    /// Whose progress it is.
    pub group: String,
    /// Who commits; `None` for a group that has no members (a feeder), which is never fenced.
    pub token: Option<MemberToken>,
    /// The progress.
    pub offsets: Vec<(TopicPartition, CommittedOffset)>,
}

/// Everything that becomes visible at once.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Records to append. Of one partition there may be several batches; they are appended in order.
    pub appends: Vec<(TopicPartition, Batch)>,
    /// Progress to record with them.
    pub group: Option<GroupCommit>,
}

/// What a successful commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// For each partition appended to: the offset after the last appended record.
    pub ends: BTreeMap<TopicPartition, Offset>,
}

/// Why a commit did not happen, and what is true now.
#[derive(Debug)]
pub enum CommitError {
    /// Nothing of it happened, and it may be tried again: rebuild from committed state.
    Aborted(Error),
    /// Nothing of it happened: the group has moved on. Give up all tasks and join anew.
    Fenced(Error),
    /// It may or may not have happened, and stays in flight. Call [`Writer::poll`] again until the
    /// outcome is definite.
    Unknown(Error),
    /// It may or may not have happened, and this writer cannot learn which. Open the writer's id anew,
    /// which settles it, and read the group's offsets: they are what the commit made them, or what they
    /// were before.
    Lost(Error),
    /// Nothing more can be written. Stop; a restart continues from committed state.
    Fatal(Error),
}

impl CommitError {
    /// The error inside.
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
            Self::Unknown(error) => write!(f, "commit of unknown outcome: {error}"),
            Self::Lost(error) => {
                write!(f, "commit whose outcome this writer cannot learn: {error}")
            }
            Self::Fatal(error) => write!(f, "commit failed: {error}"),
        }
    }
}

impl std::error::Error for CommitError {}

/// Which records a query of offsets counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Only what is committed.
    ReadCommitted,
    /// Also what is being appended. The end of a restore is read so, once the group's stable offset
    /// is known. A log without open transactions answers the same for both.
    ReadUncommitted,
}

/// A log: topics, offsets of groups, and the makers of readers, writers and members. Cheap to share.
pub trait Log: Send + Sync + fmt::Debug {
    /// Identity of the log's data: another number means another log, so that local state made from
    /// the first is of no use.
    fn incarnation(&self) -> u128;

    /// How much of this process's memory the log may take, in bytes: a part of the number that bounds an
    /// application over it. A log that takes none to speak of, or knows no bound, says 0.
    fn memory_bytes(&self) -> usize {
        0
    }

    /// Creates the topics that do not exist.
    ///
    /// # Errors
    /// `Invalid` if one exists with another number of partitions or another cleanup; the message
    /// names both.
    fn create_topics(&self, topics: &[TopicSpec]) -> Result<()>;

    /// Refuses topics whose settings would lose or refuse records that these keep: what
    /// [`Log::create_topics`] found there may have been made by somebody else.
    ///
    /// # Errors
    /// `Invalid`; the message names the topic, each setting that differs, both values and the cure.
    fn check_topics(&self, _topics: &[TopicSpec]) -> Result<()> {
        Ok(())
    }

    /// The topic's settings, or `None` if there is none of that name.
    ///
    /// # Errors
    /// `Unavailable` when the log cannot answer now.
    fn topic(&self, name: &str) -> Result<Option<TopicSpec>>;

    /// The names of all topics, sorted.
    ///
    /// # Errors
    /// `Unavailable` when the log cannot answer now.
    fn topic_names(&self) -> Result<Vec<String>>;

    /// Deletes topics with all their records and the groups' offsets on them. Names that do not
    /// exist are passed over.
    ///
    /// # Errors
    /// `Unavailable` when the log cannot answer now.
    fn delete_topics(&self, names: &[String]) -> Result<()>;

    /// The first offset that can still be read.
    ///
    /// # Errors
    /// `Invalid` if the partition does not exist.
    fn start_offset(&self, partition: &TopicPartition) -> Result<Offset>;

    /// The offset after the last record.
    ///
    /// # Errors
    /// `Invalid` if the partition does not exist.
    fn end_offset(&self, partition: &TopicPartition, isolation: Isolation) -> Result<Offset>;

    /// [`Log::end_offset`] of each of the partitions, in their order: one question instead of many
    /// where asking takes time.
    ///
    /// # Errors
    /// `Invalid` if a partition does not exist.
    fn end_offsets(
        &self,
        partitions: &[TopicPartition],
        isolation: Isolation,
    ) -> Result<Vec<Offset>> {
        let one = |partition| self.end_offset(partition, isolation);
        partitions.iter().map(one).collect()
    }

    /// The ends of committed records as far as they are known without waiting for anybody, perhaps some
    /// moments old; `None` where nothing is known yet. For progress reports, not for decisions.
    fn recent_ends(&self, partitions: &[TopicPartition]) -> Vec<Option<Offset>> {
        let one = |partition| self.end_offset(partition, Isolation::ReadCommitted).ok();
        partitions.iter().map(one).collect()
    }

    /// The ends of all records, uncommitted ones included, as far as they are known without waiting for
    /// anybody; each with its age in milliseconds, counted from when it was asked for. `None` where
    /// nothing is known yet, or the log has no answer.
    fn recent_high_watermarks(&self, partitions: &[TopicPartition]) -> Vec<Option<(Offset, u64)>> {
        let one = |partition| {
            let end = self.end_offset(partition, Isolation::ReadUncommitted);
            Some((end.ok()?, 0))
        };
        partitions.iter().map(one).collect()
    }

    /// Deletes the records before the given offsets. An offset below the start does nothing; one
    /// above the end counts as the end.
    ///
    /// # Errors
    /// `Invalid` if a partition does not exist.
    fn delete_records(&self, before: &[(TopicPartition, Offset)]) -> Result<()>;

    /// A group's progress on each of the partitions, in their order.
    ///
    /// # Errors
    /// `Unavailable` when the log cannot answer now.
    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<CommittedOffset>>>;

    /// Forgets a group: its offsets, not the generation, which only ever grows.
    ///
    /// # Errors
    /// `Invalid` while it has members.
    fn delete_group(&self, group: &str) -> Result<()>;

    /// A reader of committed records, with nothing assigned.
    ///
    /// # Errors
    /// `Closed` after the log was closed.
    fn reader(&self) -> Result<Box<dyn Reader>>;

    /// A writer. `id` is stable over restarts: opening it again fences whoever had it.
    ///
    /// # Errors
    /// `Closed` after the log was closed.
    fn writer(&self, id: &str) -> Result<Box<dyn Writer>>;

    /// Joins a group.
    ///
    /// # Errors
    /// `Invalid` if the group's members disagree on its tasks.
    fn join(&self, request: JoinRequest) -> Result<Box<dyn Membership>>;
}

/// A batch that a reader returned.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Where it is from.
    pub partition: TopicPartition,
    /// The offset of the batch's place; records below the reader's position are to be skipped.
    pub base_offset: Offset,
    /// The reader's position when it was fetched: the first offset the caller has not seen.
    pub position: Offset,
    /// The records, never empty of them.
    pub batch: Batch,
}

/// Records that were deleted before a reader came to them: retention, or a deletion by hand, was faster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where they were.
    pub partition: TopicPartition,
    /// The first offset that was wanted.
    pub from: Offset,
    /// The first that is left.
    pub to: Offset,
}

/// Reads assigned partitions from their positions on. Owned by one thread.
pub trait Reader: Send {
    /// Replaces the assignment: partitions with the positions to read from. Offsets below the start
    /// of a partition continue at its start.
    ///
    /// # Errors
    /// `Invalid` if a partition does not exist.
    fn assign(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()>;

    /// Stops or resumes fetching of an assigned partition, without losing its position.
    fn pause(&mut self, partition: &TopicPartition, paused: bool);

    /// The next batches, of about `max_bytes` in all but at least one batch; waits up to `timeout`
    /// for the first. Partitions take turns, so that none starves.
    ///
    /// # Errors
    /// `Corrupt` with topic, partition and offset when stored bytes are damaged; also when a partition
    /// ends before a position, or its topic was deleted and made anew while it was read: then offsets
    /// mean other records than they did.
    fn poll(&mut self, max_bytes: usize, timeout: Duration) -> Result<Vec<Fetched>>;

    /// The position of an assigned partition: all records before it have been returned (or deleted).
    fn position(&self, partition: &TopicPartition) -> Option<Offset>;

    /// What was deleted before this reader came to it, since the last call; its position is past it.
    fn skipped(&mut self) -> Vec<Skipped>;

    /// Where the committed records of an assigned partition end. `None` if that is not known within
    /// `timeout`: the question stands, look again. The log was asked after this reader returned what
    /// it returned last, so that a record appended before one of those is counted; more records make
    /// it ask anew.
    ///
    /// # Errors
    /// `Invalid` if a partition does not exist (any more).
    fn end(&mut self, partition: &TopicPartition, timeout: Duration) -> Result<Option<Offset>>;
}

/// Commits, one at a time. Owned by one thread.
pub trait Writer: Send {
    /// Hands over a commit and returns at once. The outcome comes from [`Writer::poll`]. While one
    /// is in flight another must not be submitted.
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

    /// How long after a commit was submitted the next one is worth its cost, at the least and however quick
    /// the last one was, when results should be seen soon; `None` if the log does not say.
    fn spacing(&self) -> Option<Duration> {
        None
    }
}

/// A task and the input partitions that decide where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPlan {
    /// The task.
    pub task: TaskId,
    /// What it reads.
    pub inputs: Vec<TopicPartition>,
}

/// What a member says when it joins.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The group, shared by all workers of an application.
    pub group: String,
    /// This member's name, unique in the group and stable over restarts.
    pub member: String,
    /// All tasks of the application; every member names the same.
    pub tasks: Vec<TaskPlan>,
    /// A member of which nothing was heard for so long, neither a poll nor a heartbeat, is expelled, in
    /// milliseconds: its process is gone.
    pub session_timeout_ms: u64,
    /// A member that has not polled for so long is expelled, in milliseconds, however steady its
    /// heartbeat: its worker is stuck.
    pub max_poll_interval_ms: u64,
}

/// What a member should own from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The group's generation.
    pub generation: u64,
    /// The tasks. One that the member holds and that is not listed must be committed, closed and
    /// given back with [`Membership::release`]; one that is listed is free of any other owner.
    pub tasks: Vec<TaskId>,
}

/// One member of a group. Owned by one thread.
pub trait Membership: Send {
    /// Tells the group that this member lives and returns a new assignment if there is one. Never
    /// waits for other members.
    ///
    /// # Errors
    /// `Fenced` once the member was expelled or replaced.
    fn poll(&mut self) -> Result<Option<Assignment>>;

    /// Gives back tasks that an assignment took away, after they were committed and closed.
    ///
    /// # Errors
    /// `Fenced` once the member was expelled or replaced.
    fn release(&mut self, tasks: &[TaskId]) -> Result<()>;

    /// What to put into commits now.
    fn token(&self) -> MemberToken;

    /// The member's heartbeat, for whoever keeps it going while the member's own thread is busy.
    fn heartbeat(&self) -> Box<dyn Heartbeat>;

    /// Leaves the group at once, giving back all tasks.
    fn leave(self: Box<Self>);

    /// Ends in good order and keeps the place: who joins under the same name before the session is over takes
    /// up its tasks where they are, and nobody else gets them until then. Where a log cannot keep a place
    /// for a process that is gone, this is [`Membership::leave`].
    fn rest(self: Box<Self>) {
        self.leave();
    }
}

/// Tells the group that a member's process lives, from any thread and without waiting. A poll does so
/// too; this goes on between two polls.
pub trait Heartbeat: Send {
    /// Says it once more. Once a third of the session is often enough.
    ///
    /// # Errors
    /// `Fenced` once the member was expelled, was replaced or has left.
    fn beat(&self) -> Result<()>;
}
