//! The request to stop an application, as all its threads see it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How long the workers of an application that has failed or was dropped wait for a log that does not
/// answer, in milliseconds.
pub(super) const GIVE_UP_MS: u64 = 30_000;

/// Whether and how the workers of an application stop.
pub(super) struct Shutdown {
    is_requested: AtomicBool,
    leaves: AtomicBool,
    give_up_at_ms: AtomicU64,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            is_requested: AtomicBool::new(false),
            leaves: AtomicBool::new(false),
            give_up_at_ms: AtomicU64::new(u64::MAX),
        }
    }
}

impl Shutdown {
    /// Tells the workers to stop, and until when to wait for a log that does not answer, by the monotonic
    /// clock. The earliest of several requests counts.
    pub(super) fn request(&self, give_up_at_ms: u64) {
        self.give_up_at_ms
            .fetch_min(give_up_at_ms, Ordering::AcqRel);
        self.is_requested.store(true, Ordering::Release);
    }

    /// Whether the workers must stop.
    pub(super) fn is_requested(&self) -> bool {
        self.is_requested.load(Ordering::Acquire)
    }

    /// Makes workers that stop give up their places in the group.
    pub(super) fn leave(&self) {
        self.leaves.store(true, Ordering::Release);
    }

    /// Whether workers that stop give up their places in the group.
    pub(super) fn leaves(&self) -> bool {
        self.leaves.load(Ordering::Acquire)
    }

    /// When workers that stop no longer wait for a log that does not answer, by the monotonic clock.
    pub(super) fn give_up_at_ms(&self) -> u64 {
        self.give_up_at_ms.load(Ordering::Acquire)
    }
}
