//! How a worker follows the opening of a task, and what it gets at the end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::base::{Offset, Result, TopicPartition};
use crate::state::{StoredState, TaskDirectory};

/// A restored task: what a worker makes it from.
pub(in crate::runtime) struct Ready {
    /// Declared before the directory, which is released when the database is closed.
    pub(in crate::runtime) stored: StoredState,
    pub(in crate::runtime) directory: Option<TaskDirectory>,
    pub(in crate::runtime) changelogs: Vec<Option<TopicPartition>>,
    /// Its inputs, and where to read them from.
    pub(in crate::runtime) inputs: Vec<(TopicPartition, Offset)>,
    /// Changelog records read.
    pub(in crate::runtime) restored: u64,
}

/// How a worker follows its job.
#[derive(Default)]
pub(super) struct Ticket {
    cancelled: AtomicBool,
    records: AtomicU64,
    records_total: AtomicU64,
    /// When reading began, by the monotonic clock; 0 before.
    since_ms: AtomicU64,
    outcome: Mutex<Option<Result<Box<Ready>>>>,
}

impl Ticket {
    pub(super) fn answer(&self, outcome: Result<Box<Ready>>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    pub(super) fn take(&self) -> Option<Result<Box<Ready>>> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.take()
    }

    /// Records done, and records to do.
    pub(super) fn progress(&self) -> (u64, u64) {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (of(&self.records), of(&self.records_total))
    }

    /// How long the rest will take at the current pace, in milliseconds; `None` until that is known.
    pub(super) fn left_ms(&self, now_ms: u64) -> Option<u64> {
        let (done, total) = self.progress();
        let taken_ms = match self.since_ms.load(Ordering::Relaxed) {
            0 => 0,
            since_ms => now_ms.saturating_sub(since_ms),
        };
        left_ms(taken_ms, done, total)
    }

    /// Reading begins, with this many records to do.
    pub(super) fn begin(&self, total: Offset, now_ms: u64) {
        let total = total.max(0) as u64;
        self.records_total.store(total, Ordering::Relaxed);
        self.since_ms.store(now_ms.max(1), Ordering::Relaxed);
    }

    /// This many more are done.
    pub(super) fn advance(&self, records: Offset) {
        let records = records.max(0) as u64;
        self.records.fetch_add(records, Ordering::Relaxed);
    }

    /// The task is no longer wanted.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

/// How long the rest takes if `done` took `taken_ms`.
fn left_ms(taken_ms: u64, done: u64, total: u64) -> Option<u64> {
    let left = u128::from(total.saturating_sub(done));
    let left_ms = (u128::from(taken_ms) * left).checked_div(u128::from(done))?;
    u64::try_from(left_ms).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_goes_at_the_pace_of_what_is_done() {
        assert_eq!(left_ms(2_000, 250, 1_000), Some(6_000));
        assert_eq!(left_ms(2_000, 1_000, 1_000), Some(0));
        assert_eq!(left_ms(2_000, 0, 1_000), None);
    }
}
