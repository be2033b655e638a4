//! The jobs that wait for the committer, and their answers.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::base::{Error, Result};
use crate::log::{Commit, CommitError, Receipt};

pub(super) type Outcome = Result<Receipt, CommitError>;

/// Where a writer waits for its answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    outcome: Mutex<Option<Outcome>>,
    given: Condvar,
}

impl Answer {
    fn give(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.given.notify_all();
    }

    pub(super) fn wait(&self, timeout: Duration) -> Option<Outcome> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .given
            .wait_timeout_while(outcome, timeout, |outcome| outcome.is_none());
        let (mut outcome, _) = waited.unwrap_or_else(PoisonError::into_inner);
        outcome.take()
    }
}

/// A waiting commit; its batches are stamped and their sizes checked.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) commit: Commit,
    pub(super) writer: String,
    /// The opening of the writer that it comes from.
    pub(super) opened: u64,
    /// Set until it is answered.
    answer: Option<Arc<Answer>>,
}

impl Job {
    pub(super) fn new(commit: Commit, writer: String, opened: u64, answer: Arc<Answer>) -> Self {
        Self {
            commit,
            writer,
            opened,
            answer: Some(answer),
        }
    }

    pub(super) fn answer(mut self, outcome: Outcome) {
        if let Some(answer) = self.answer.take() {
            answer.give(outcome);
        }
    }
}

/// A job that got lost, for example because the committer panicked, does not make its writer wait for
/// ever.
impl Drop for Job {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            let message = "the log failed before it answered the commit, whose outcome is unknown; reopen \
                           the log and continue from the committed offsets";
            answer.give(Err(CommitError::Fatal(Error::internal(message))));
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) jobs: VecDeque<Job>,
    pub(super) closed: bool,
}
