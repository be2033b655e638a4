//! How a reader waits for records without missing any and without busy waiting.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A count of appends that can be waited for: read it, look for records, and if there are none, wait for
/// the count to move past what was read.
#[derive(Debug, Default)]
pub(super) struct Signal {
    count: Mutex<u64>,
    moved: Condvar,
}

impl Signal {
    pub(super) fn count(&self) -> u64 {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn raise(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.moved.notify_all();
    }

    /// Whether the count has moved past `seen` within `timeout`.
    pub(super) fn wait_past(&self, seen: u64, timeout: Duration) -> bool {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .moved
            .wait_timeout_while(count, timeout, |count| *count <= seen);
        let (count, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *count > seen
    }
}
