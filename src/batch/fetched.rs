//! A batch with its place in a log.

use super::Batch;
use crate::base::{Offset, TopicPartition};

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
