//! The driver's log: the batches of each topic's only partition, in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{Offset, TopicPartition};
use crate::log::{Batch, Fetched};

/// One topic of one partition.
#[derive(Debug, Default)]
struct MemoryTopic {
    batches: Vec<(Offset, Batch)>,
    end: Offset,
    /// Batches that the topic's reader has received.
    batches_read: usize,
}

/// All topics, created when they are first written.
#[derive(Debug, Default)]
pub(super) struct MemoryTopics(BTreeMap<Arc<str>, MemoryTopic>);

impl MemoryTopics {
    /// Appends a batch and returns it as a reader would fetch it.
    pub(super) fn append(&mut self, topic: &Arc<str>, batch: Batch) -> Fetched {
        let log = self.0.entry(topic.clone()).or_default();
        let base_offset = log.end;
        log.end += Offset::from(batch.last_offset_delta()) + 1;
        log.batches.push((base_offset, batch.clone()));
        Fetched {
            partition: TopicPartition::new(topic.clone(), 0),
            base_offset,
            position: base_offset,
            batch,
        }
    }

    /// The offset after the last record, 0 for a topic that was never written.
    pub(super) fn end(&self, topic: &str) -> Offset {
        self.0.get(topic).map_or(0, |log| log.end)
    }

    /// All batches of a topic with their offsets.
    pub(super) fn batches(&self, topic: &str) -> &[(Offset, Batch)] {
        self.0.get(topic).map_or(&[], |log| &log.batches)
    }

    /// The batches that have not been read yet; they count as read from now on.
    pub(super) fn unread(&mut self, topic: &str) -> &[(Offset, Batch)] {
        let Some(log) = self.0.get_mut(topic) else {
            return &[];
        };
        let first = std::mem::replace(&mut log.batches_read, log.batches.len());
        &log.batches[first..]
    }
}
