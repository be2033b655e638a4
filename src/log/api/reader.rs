//! Reading: positions, batches, gaps.

use std::time::Duration;

use crate::base::{Offset, Result, TopicPartition};
use crate::batch::Fetched;

/// Records that were deleted before a reader reached them, by retention or by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Their partition.
    pub partition: TopicPartition,
    /// The first offset that was requested.
    pub from: Offset,
    /// The first that still exists.
    pub to: Offset,
}

/// Reads assigned partitions from their positions. Owned by one thread.
pub trait Reader: Send {
    /// Replaces the assignment: partitions with the positions to read from. Offsets below the start of a
    /// partition continue at its start. Nothing of the old assignment is kept: no fetched records, no
    /// pauses, no skipped ranges.
    ///
    /// # Errors
    /// `Invalid` if a partition does not exist.
    fn assign(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()>;

    /// Changes the assignment to these partitions, each to be read from its position, and keeps what it
    /// can: a partition that is already assigned and at exactly that position continues undisturbed,
    /// paused or not, and records fetched ahead are not fetched again. The others start as after
    /// [`Reader::assign`]. Ranges that [`Reader::skipped`] has not reported yet are still reported.
    ///
    /// # Errors
    /// `Invalid` if a partition does not exist. `Unavailable` if that is not known soon: the request stays
    /// pending; call again with the same positions. After either error the assignment is as it was before.
    fn update(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()>;

    /// Stops or resumes fetching of an assigned partition, without losing its position.
    fn pause(&mut self, partition: &TopicPartition, paused: bool);

    /// The next batches, of about `max_bytes` in total but at least one batch; waits up to `timeout` for
    /// the first. Partitions take turns, so that none starves.
    ///
    /// # Errors
    /// `Corrupt` with topic, partition and offset if stored bytes are damaged; also if a partition ends
    /// before a position, or its topic was deleted and recreated while it was read: offsets then refer to
    /// other records than before.
    fn poll(&mut self, max_bytes: usize, timeout: Duration) -> Result<Vec<Fetched>>;

    /// The position of an assigned partition: all records before it have been returned (or deleted).
    fn position(&self, partition: &TopicPartition) -> Option<Offset>;

    /// The ranges that were deleted before this reader reached them, since the last call; its position is
    /// past them.
    fn skipped(&mut self) -> Vec<Skipped>;

    /// Where the committed records of an assigned partition end. `None` if that is not known within
    /// `timeout`: the request stays pending; call again. The log is asked after this reader returned its
    /// last records, so that a record appended before one of those is included; returning more records
    /// makes it ask again.
    ///
    /// # Errors
    /// `Invalid` if a partition does not exist (any more).
    fn end(&mut self, partition: &TopicPartition, timeout: Duration) -> Result<Option<Offset>>;
}
