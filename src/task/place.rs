//! What a task is doing at this moment, for observers on another thread.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use super::NodeId;
use crate::base::Offset;

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

    /// What [`Place::at_record`] wrote last.
    pub(super) fn input_and_offset(&self) -> (usize, Offset) {
        let input = self.input.load(Ordering::Relaxed);
        (input, self.offset.load(Ordering::Relaxed))
    }

    /// What [`Place::at_node`] wrote last.
    pub(super) fn node_id(&self) -> NodeId {
        NodeId(self.node.load(Ordering::Relaxed))
    }
}
