//! Where a task is at this moment, for those who watch it from another thread.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use super::{NodeId, TaskSpec};
use crate::base::{Offset, TopicPartition};

/// The record that a task handles and the node that has it. A worker whose closure does not return
/// cannot speak for itself; who reads this says what it is stuck on. The parts are written one by one
/// and without order, so that writing them costs nothing: what is read while the task moves on may
/// belong to two records.
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
