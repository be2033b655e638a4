//! Reading: positions, batches, gaps.

use std::time::Duration;

use crate::base::{Offset, Result, TopicPartition};
use crate::batch::Fetched;

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
    /// of a partition continue at its start. Nothing of the old assignment stays: neither what was
    /// fetched, nor pauses, nor what was skipped.
    ///
    /// # Errors
    /// `Invalid` if a partition does not exist.
    fn assign(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()>;

    /// Changes the assignment to these partitions, each to be read from its position on, and keeps what it
    /// can: a partition that is assigned and stands at that very position goes on undisturbed, paused or
    /// not, and what was fetched of it ahead is not fetched again. The others begin as after
    /// [`Reader::assign`]. What [`Reader::skipped`] has not told yet stays to be told.
    ///
    /// # Errors
    /// `Invalid` if a partition does not exist. `Unavailable` if that is not known soon: the request stays
    /// pending; call again with the same positions. After either error the assignment is as it was before.
    fn update(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()>;

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
    /// `timeout`: the request stays pending; call again. The log was asked after this reader returned what
    /// it returned last, so that a record appended before one of those is counted; more records make
    /// it ask anew.
    ///
    /// # Errors
    /// `Invalid` if a partition does not exist (any more).
    fn end(&mut self, partition: &TopicPartition, timeout: Duration) -> Result<Option<Offset>>;
}
