//! The log as the rest of marea sees it: partitioned, append-only, committed atomically.
//!
//! ```text
//!  partition   | purged | r r r r r r r r r r r | w w (being appended)
//!              0        start                   end = the next offset to be written
//!                             position = the next offset a reader will return
//!                        committed = where a group continues after a crash
//! ```
//!
//! The rules that every backend MUST keep, and the cases of [`conformance`](super::conformance) that
//! check them. Commits:
//! 1. A commit is atomic over all its appends and offsets: readers see all of it or nothing.
//!    [a](super::conformance::a_commit_is_seen_whole_or_not_at_all),
//!    [b](super::conformance::a_refused_commit_leaves_nothing)
//! 2. After [`Writer::poll`] returned a receipt, the commit survives a crash, as far as the fsync policy
//!    guarantees.
//! 3. A commit error says whether the effects are absent (`Aborted`, `Fenced`), not known yet
//!    (`Unknown`), or unknowable for this writer (`Lost`).
//! 4. Opening a writer's id fences its previous holder, and settles what that one left open before
//!    [`Log::writer`] returns: offsets and records read after that no longer change because of it.
//!    [a](super::conformance::a_writer_opened_again_fences_the_first),
//!    [b](super::conformance::opening_a_writer_settles_what_its_id_left_open)
//! 5. A client that has read a group's offsets ([`Log::committed`]) finds the records of the commits that
//!    made them below the [`Isolation::ReadUncommitted`] end that it asks for next: a restore up to there
//!    is never behind the offsets it goes with.
//!    [a](super::conformance::the_end_of_a_restore_covers_what_offsets_tell)
//! 6. Records that were staged but not submitted are never visible to readers of committed records, and
//!    are gone once their writer abandons them, its commit fails for good, or the writer's id is opened
//!    again.
//!
//! Readers:
//!
//! 7. The records of a partition are ordered, their offsets grow, and a reader gets each record once,
//!    whatever else is paused, assigned or updated.
//!    [a](super::conformance::writers_at_once_get_offsets_of_their_own),
//!    [b](super::conformance::a_paused_partition_keeps_its_position),
//!    [c](super::conformance::an_update_leaves_alone_what_stays),
//!    [d](super::conformance::an_update_puts_the_others_where_it_says),
//!    [e](super::conformance::an_update_that_is_refused_changes_nothing)
//! 8. A position moves past offsets that are never returned (deleted records, aborted ones, internal
//!    marks of the log), so that a reader that has read everything is at the end; this also holds after
//!    seeking back.
//!    [a](super::conformance::a_reader_put_back_reaches_the_end_again)
//! 9. Records deleted by retention, compaction or [`Log::delete_records`] leave gaps; offsets are never
//!    reused. [a](super::conformance::records_before_an_offset_are_deleted)
//! 10. Nothing is skipped silently. Records that were deleted before they were read are reported
//!     ([a](super::conformance::a_reader_is_told_what_was_deleted_before_it_came)); a position beyond the
//!     end is an error ([b](super::conformance::a_position_beyond_the_end_is_an_error)); so is a topic
//!     that was recreated ([c](super::conformance::a_topic_made_anew_under_its_reader_is_an_error)).
//! 11. An end returned by [`Reader::end`] was requested after the records that were returned last.
//!     [a](super::conformance::a_reader_learns_where_partitions_end)
//!
//! Groups:
//!
//! 12. A task has at most one owner: it is not given to another member before its owner has released it,
//!     has left, or was expelled. Eventually each task has an owner.
//!     [a](super::conformance::tasks_are_handed_over_only_when_released),
//!     [b](super::conformance::a_task_has_one_owner_whoever_comes_and_goes),
//!     [c](super::conformance::releasing_what_is_not_held_changes_nothing)
//! 13. A commit that names a group member is refused as [`CommitError::Fenced`] once the member was
//!     expelled or replaced, and for a task that it does not own. It is not refused because other members
//!     join or leave.
//!     [a](super::conformance::a_zombie_cannot_commit),
//!     [b](super::conformance::a_member_that_goes_on_is_not_fenced_by_others)
//! 14. A member that sends nothing is expelled, and each of its own requests can tell it so.
//!     [a](super::conformance::a_silent_member_loses_its_tasks),
//!     [b](super::conformance::a_heartbeat_ends_with_its_place)
//! 15. Members of one group that name different tasks do not continue side by side: one of them is
//!     refused, at the latest once they have seen each other.
//!     [a](super::conformance::members_must_agree_on_the_tasks)
//!
//! 16. The members of a group are listed by name, if the log can list them ([`Log::members`]).
//!     [a](super::conformance::a_groups_members_are_known_by_name)
//!
//! Memory:
//!
//! 17. A reader and a writer use about as much memory as they were given; even with almost none they
//!     still work, one record at a time.
//!     [a](super::conformance::what_is_larger_than_a_clients_memory_passes)

mod membership;
mod reader;

pub use self::membership::*;
pub use self::reader::*;

use std::fmt;

use super::commit::{CommittedOffset, Writer};
use crate::base::{Offset, Result, TopicPartition};
use crate::batch::DEFAULT_MAX_RECORD_BYTES;

/// How old records are removed from a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Whole batches are deleted when they are older, or the partition larger, than the topic's
    /// retention.
    Delete,
    /// The last record of each key stays; tombstones are removed after `delete_retention_ms`.
    Compact,
    /// Both.
    CompactDelete,
}

/// The settings of a topic. `None` means the backend's default for limits, and "unlimited" for retention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Full name.
    pub name: String,
    /// Number of partitions, at least 1.
    pub partitions: u32,
    /// How old records are removed.
    pub cleanup: Cleanup,
    /// Age, by the wall clock since the append, at which records are deleted, in milliseconds.
    pub retention_ms: Option<i64>,
    /// Size of a partition above which its oldest records are deleted, in bytes.
    pub retention_bytes: Option<u64>,
    /// How long compaction keeps a tombstone, in milliseconds.
    pub delete_retention_ms: i64,
    /// How long after its append a record is not compacted, in milliseconds: records younger than this
    /// are all kept, for readers that need more than the last record of each key.
    pub compaction_lag_ms: i64,
    /// Largest record accepted: key, value and headers together, in bytes.
    pub max_record_bytes: usize,
}

/// Kafka's default for `delete.retention.ms`: one day.
pub const DEFAULT_DELETE_RETENTION_MS: i64 = 86_400_000;

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

    /// The same topic with another cleanup policy.
    #[must_use]
    pub fn with_cleanup(mut self, cleanup: Cleanup) -> Self {
        self.cleanup = cleanup;
        self
    }
}

/// Which records an offset query includes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Only committed records. A commit may be acknowledged a moment before its records count here.
    ReadCommitted,
    /// Also records being appended. The end of a restore is read this way, once the group's stable offset
    /// is known. A log without open transactions answers the same for both.
    ReadUncommitted,
}

/// A log: topics, offsets of groups, and factories for readers, writers and members. Cheap to share.
pub trait Log: Send + Sync + fmt::Debug {
    /// Identity of the log's data: another number means another log, which makes local state derived from
    /// the first one useless.
    fn incarnation(&self) -> u128;

    /// How much of this process's memory the log may use, in bytes: part of the number that limits an
    /// application on it. A log that uses very little, or has no limit, returns 0.
    fn memory_bytes(&self) -> usize {
        0
    }

    /// Creates the topics that do not exist.
    ///
    /// # Errors
    /// `Invalid` if one exists with another number of partitions or another cleanup; the message names
    /// both.
    fn create_topics(&self, topics: &[TopicSpec]) -> Result<()>;

    /// Refuses topics whose settings would lose or refuse records that these settings keep: a topic that
    /// [`Log::create_topics`] found may have been created by somebody else.
    ///
    /// # Errors
    /// `Invalid`; the message names the topic, each setting that differs, both values and the remedy.
    fn check_topics(&self, _topics: &[TopicSpec]) -> Result<()> {
        Ok(())
    }

    /// The topic's settings, or `None` if there is no topic of that name.
    ///
    /// # Errors
    /// `Unavailable` if the log cannot answer now.
    fn topic(&self, name: &str) -> Result<Option<TopicSpec>>;

    /// The names of all topics, sorted.
    ///
    /// # Errors
    /// `Unavailable` if the log cannot answer now.
    fn topic_names(&self) -> Result<Vec<String>>;

    /// Deletes topics with all their records and the groups' offsets on them. Names that do not exist are
    /// ignored.
    ///
    /// # Errors
    /// `Unavailable` if the log cannot answer now.
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

    /// [`Log::end_offset`] of each of the partitions, in their order: one request instead of many, where
    /// requests take time.
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

    /// The ends of committed records as far as they are known without waiting, perhaps a little old;
    /// `None` if nothing is known yet. For progress reports, not for decisions.
    fn recent_ends(&self, partitions: &[TopicPartition]) -> Vec<Option<Offset>> {
        let one = |partition| self.end_offset(partition, Isolation::ReadCommitted).ok();
        partitions.iter().map(one).collect()
    }

    /// The ends of all records, including uncommitted ones, as far as they are known without waiting;
    /// each with its age in milliseconds, counted from the request. `None` if nothing is known yet, or
    /// the log has no answer.
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

    /// The same as low-priority housekeeping: where it takes time, this returns before it is done, and
    /// what could not be deleted now is left to the next call. Waiting offsets of the same partition are
    /// merged.
    ///
    /// # Errors
    /// As [`Log::delete_records`], including errors of an earlier call's remaining work.
    fn purge(&self, before: &[(TopicPartition, Offset)]) -> Result<()> {
        self.delete_records(before)
    }

    /// A group's progress on each of the partitions, in their order.
    ///
    /// # Errors
    /// `Unavailable` if the log cannot answer now.
    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<CommittedOffset>>>;

    /// The names of the current members of a group, including those whose process is gone but whose session has
    /// not expired. `None` if the log cannot list them.
    ///
    /// # Errors
    /// `Unavailable` if the log cannot answer now.
    fn members(&self, _group: &str) -> Result<Option<Vec<String>>> {
        Ok(None)
    }

    /// Deletes a group's offsets, but not its generation, which only ever grows.
    ///
    /// # Errors
    /// `Invalid` while it has members.
    fn delete_group(&self, group: &str) -> Result<()>;

    /// A reader of committed records, with nothing assigned. What it fetches ahead uses at most about
    /// `bytes` of memory, or one record if that is larger: a share of the number that limits an
    /// application. Records it has returned belong to its owner. A log that fetches nothing ahead needs
    /// none of it.
    ///
    /// # Errors
    /// `Closed` after the log was closed.
    fn reader(&self, bytes: usize) -> Result<Box<dyn Reader>>;

    /// A writer. `id` is stable across restarts: opening it again fences its previous holder. Its copies
    /// of records that are not written yet use at most about `bytes` of memory, or one record if that is
    /// larger. A log that copies nothing needs none of it.
    ///
    /// # Errors
    /// `Closed` after the log was closed.
    fn writer(&self, id: &str, bytes: usize) -> Result<Box<dyn Writer>>;

    /// Joins a group.
    ///
    /// # Errors
    /// `Invalid` if the group's members disagree on its tasks.
    fn join(&self, request: JoinRequest) -> Result<Box<dyn Membership>>;
}
