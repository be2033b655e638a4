//! Locks that go on after a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock. What a thread that panicked left behind is as good as any: every value is set whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
