//! Jobs that wait for a restorer.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::job::{Job, Rank};
use super::ticket::Ticket;

/// What restorers share.
#[derive(Default)]
pub(in crate::runtime) struct RestoreQueue {
    inner: Mutex<Inner>,
    came: Condvar,
}

#[derive(Default)]
struct Inner {
    jobs: BTreeMap<Rank, Job>,
    number: u64,
}

impl RestoreQueue {
    /// Adds a new job.
    pub(super) fn push(&self, mut job: Job) -> Arc<Ticket> {
        let ticket = Arc::clone(&job.ticket);
        let mut inner = self.lock();
        inner.number += 1;
        job.number = inner.number;
        inner.jobs.insert(job.rank(), job);
        drop(inner);
        self.came.notify_one();
        ticket
    }

    /// Puts back a job that is not done.
    pub(super) fn put_back(&self, job: Job) {
        self.lock().jobs.insert(job.rank(), job);
        self.came.notify_one();
    }

    /// The job with the least left to do; `None` if none arrives within `wait`.
    pub(super) fn take(&self, wait: Duration) -> Option<Job> {
        let mut inner = self.lock();
        if inner.jobs.is_empty() && !wait.is_zero() {
            let waited = self
                .came
                .wait_timeout_while(inner, wait, |inner| inner.jobs.is_empty());
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.jobs.pop_first().map(|(_, job)| job)
    }

    /// Whether a job waits that should come before one of this rank.
    pub(super) fn has_before(&self, rank: Rank) -> bool {
        let inner = self.lock();
        inner
            .jobs
            .first_key_value()
            .is_some_and(|(first, _)| *first < rank)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
