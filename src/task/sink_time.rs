//! The clocks that a task sends on the repartition topics that it writes.

use super::{OutputId, TimeBound};
use crate::state::{StoredTime, TaskState};

/// The clock that a task sends on a repartition topic.
#[derive(Clone, Debug)]
pub struct SinkTime {
    clock: StoredTime,
    ended: StoredTime,
}

impl SinkTime {
    /// That of a topic, stored with the state.
    pub(super) fn of(state: &TaskState, topic: &str) -> Self {
        Self {
            clock: state.time(&format!("sent/{topic}")),
            ended: state.time(&format!("sent-end/{topic}")),
        }
    }

    /// Advances the clock to a promise and returns it. It never goes back.
    pub(super) fn advance(&self, promise_ms: i64) -> i64 {
        if promise_ms != i64::MAX {
            self.clock.raise(promise_ms);
        }
        self.clock.get()
    }

    /// The task's input has ended.
    pub fn end(&self) {
        self.ended.set(1);
    }

    /// Assumes that the input has not ended.
    pub(super) fn forget_end(&self) {
        if self.ended.get() == 1 {
            self.ended.set(0);
        }
    }

    /// What the readers should know by now.
    pub(super) fn clock_ms(&self) -> i64 {
        if self.ended.get() == 1 {
            i64::MAX
        } else {
            self.clock.get()
        }
    }
}

/// A repartition topic that a task writes: its clock there, and what determines it.
pub(super) struct ClockedSink {
    pub(super) output: OutputId,
    pub(super) time: SinkTime,
    pub(super) bound: TimeBound,
    /// Whether the next commit reports that all inputs which reach the sink are silent.
    pub(super) silent: bool,
}
