//! A partition in memory: its state and its latest batches.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::format::{PartitionRow, Place};
use crate::base::{Offset, TopicPartition};
use crate::log::{Batch, TopicSpec};

/// A topic that exists.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: u32,
    pub(super) spec: TopicSpec,
    pub(super) partitions: Vec<Arc<Partition>>,
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) name: TopicPartition,
    pub(super) place: Place,
    /// See the module documentation on locks.
    compacting: Mutex<()>,
    cleaning: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// What is on disk and published.
    pub(super) row: PartitionRow,
    /// The latest batches with their base offsets, without gaps up to the end. Compaction does not touch
    /// them, and readers do not read them below where one ended.
    pub(super) tail: VecDeque<(Offset, Batch)>,
}

impl Partition {
    pub(super) fn new(name: TopicPartition, place: Place, row: PartitionRow) -> Arc<Self> {
        let state = State {
            row,
            tail: VecDeque::new(),
        };
        Arc::new(Self {
            name,
            place,
            compacting: Mutex::default(),
            cleaning: Mutex::default(),
            state: Mutex::new(state),
        })
    }

    /// Held while the partition is rewritten.
    pub(super) fn compacting(&self) -> MutexGuard<'_, ()> {
        self.compacting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while stored data of the partition is changed, except at its end.
    pub(super) fn cleaning(&self) -> MutexGuard<'_, ()> {
        self.cleaning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn row(&self) -> PartitionRow {
        self.state().row
    }
}

/// The offset after a batch.
pub(super) fn after(base_offset: Offset, batch: &Batch) -> Offset {
    base_offset + i64::from(batch.last_offset_delta()) + 1
}
