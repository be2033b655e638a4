//! What a writer gives its thread, and what the thread says of it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use crate::base::TopicPartition;
use crate::log::{Batch, CommitError, GroupCommit, Receipt};

pub(super) type Answer = Result<Receipt, CommitError>;

/// Why the parts of a commit that went ahead are lost, by the commit's number, until the owner hears of it.
pub(super) type Failure = Mutex<Option<(u64, CommitError)>>;

/// When the writer's thread last came back from a call of the client, by the monotonic clock.
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

/// What the thread is to do.
pub(super) enum Job {
    /// Parts of a commit that go ahead.
    Stage(Part),
    Commit(Part, Option<GroupCommit>),
    /// Takes back what went ahead.
    Abandon {
        done: Sender<()>,
    },
}

/// Appends that passed the checks.
pub(super) struct Part {
    /// Of the commit.
    pub(super) number: u64,
    pub(super) appends: Vec<(TopicPartition, Batch)>,
    /// For each append: the bytes after which its topic wants a batch to end, if that is less than
    /// the client's own limit.
    pub(super) limits: Vec<Option<usize>>,
}
