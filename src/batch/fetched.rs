//! A batch with its place in a log.

use super::Batch;
use crate::base::{Offset, TopicPartition};

/// A batch that a reader returned.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its partition.
    pub partition: TopicPartition,
    /// The batch's base offset; records below the reader's position must be skipped.
    pub base_offset: Offset,
    /// The reader's position when it was fetched: the first offset the caller has not seen.
    pub position: Offset,
    /// The records; never an empty batch.
    pub batch: Batch,
}
