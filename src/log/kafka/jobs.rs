//! What a writer passes to its thread, and what the thread reports.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use crate::base::TopicPartition;
use crate::log::{Batch, CommitError, GroupCommit, Receipt};

pub(super) type Answer = Result<Receipt, CommitError>;

/// Why the parts of a commit that were sent ahead are lost, by the commit's number, until the owner takes
/// it.
pub(super) type Failure = Mutex<Option<(u64, CommitError)>>;

/// When the writer's thread last returned from a call of the client, by the monotonic clock.
#[derive(Default)]
pub(super) struct Pulse(AtomicU64);

impl Pulse {
    pub(super) fn beat(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }

    pub(super) fn silent_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.0.load(Ordering::Relaxed))
    }
}

/// A job for the thread.
pub(super) enum Job {
    /// Parts of a commit that are sent ahead.
    Stage(Part),
    Commit(Part, Option<GroupCommit>),
    /// Aborts what was sent ahead.
    Abandon {
        done: Sender<()>,
    },
}

/// Appends that have passed the checks.
pub(super) struct Part {
    /// Of the commit.
    pub(super) number: u64,
    pub(super) appends: Vec<(TopicPartition, Batch)>,
    /// For each append: the size at which its topic requires a batch to end, in bytes, if that is less
    /// than the client's own limit.
    pub(super) limits: Vec<Option<usize>>,
}
