//! What a task is doing at this moment, for observers on another thread.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use super::{NodeId, TaskSpec};
use crate::base::{Offset, TopicPartition};

/// The record that a task is handling and the node that has it. A worker whose closure does not return
/// cannot report anything; this shows what it is stuck on. The parts are written one by one and without
/// ordering, so that writing them costs nothing: a reader may see parts of two records while the task
/// moves on.
#[derive(Debug, Default)]
pub struct Place {
    input: AtomicUsize,
    offset: AtomicI64,
    node: AtomicUsize,
}

impl Place {
    #[inline]
    pub(super) fn at_record(&self, input: usize, offset: Offset) {
        self.input.store(input, Ordering::Relaxed);
        self.offset.store(offset, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn at_node(&self, node: NodeId) {
        self.node.store(node.0, Ordering::Relaxed);
    }

    /// The record: its partition and its offset.
    pub fn record(&self, spec: &TaskSpec) -> Option<(TopicPartition, Offset)> {
        let input = spec.inputs.get(self.input.load(Ordering::Relaxed))?;
        let partition = TopicPartition::new(input.topic.clone(), input.partition);
        Some((partition, self.offset.load(Ordering::Relaxed)))
    }

    /// The node, in words: its operator, and its name if it has one.
    pub fn node(&self, spec: &TaskSpec) -> Option<String> {
        let node = spec.nodes.get(self.node.load(Ordering::Relaxed))?;
        Some(match &node.name {
            Some(name) => format!("{} {name}", node.operator),
            None => node.operator.to_owned(),
        })
    }
}
