//! How tasks come to a worker: opened and restored in the background, while its other tasks run.
//!
//! ```text
//!  worker                      queue             restorers (threads, or the worker between its steps)
//!    begin --- Job ----------> the least to do --> step: open the directory, ask the log
//!                              first, then the     step: read a part of a changelog, write it
//!      ^                       oldest              step: ...
//!      |                                            |
//!    poll <----------------- Ticket <---------------+  Ready, or an error
//! ```
//!
//! What is handed over is the database with its positions, a [`StoredState`]; the worker makes the task from it. A
//! restorer is a value with a bounded [`Restorer::step`]: threads drive some, or each worker drives its own, so
//! that a simulation needs no thread.
//!
//! A failure affects only its task: a temporary one (`Unavailable`) is retried at growing intervals, and the
//! snapshot says which tasks wait, since when and why. Any other error ends the worker.

#[cfg(feature = "rocksdb")]
mod renamed;
mod backend;
mod ticket;
mod kept_reader;
mod restore;
mod job;
mod queue;
mod restorer;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use job::Job;
pub(super) use queue::RestoreQueue;
pub(super) use restorer::{Restorer, run};
pub(super) use ticket::Ready;

use self::ticket::Ticket;
use super::context::Context;
use super::moves::Moves;
use super::snapshot::{RestoringTask, WaitingTask};
use crate::base::{Error, ErrorKind, Result, TaskId};

/// The first pause before a task is retried; it doubles up to the largest. In milliseconds.
const AGAIN_MS: u64 = 50;
const AGAIN_MS_MAX: u64 = 5_000;
/// How long to wait for the directory of a task while another worker of this process has it, in milliseconds: long
/// enough for a worker that is merely slow to release it. Then a fresh one is restored.
const FRESH_AFTER_MS: u64 = 2_000;
/// Tasks that are ready are handed over together, since each time the reader starts over. In milliseconds.
const TOGETHER_MS: u64 = 50;

/// The tasks that a worker is about to get.
pub(super) struct Openings {
    worker: String,
    context: Arc<Context>,
    queue: Arc<RestoreQueue>,
    /// If no threads restore, the worker does.
    own: Option<Restorer>,
    tasks: BTreeMap<TaskId, Opening>,
    ready: Vec<(TaskId, Box<Ready>)>,
    given_at_ms: u64,
    /// Whether the worker's reader has yet to be told about new tasks.
    pub(super) unread: bool,
}

struct Opening {
    since_ms: u64,
    tries: u32,
    stage: Stage,
}

/// ```text
///  Asked --> (ready: gone)
///   ^  |
///   |  v
///  Failed   until it is time to retry
/// ```
enum Stage {
    Asked(Arc<Ticket>),
    Failed { error: Error, next_ms: u64 },
}

impl Openings {
    /// Those of the worker called `worker`, none yet.
    pub(super) fn new(
        worker: &str,
        context: &Arc<Context>,
        moves: &Arc<Moves>,
        queue: &Arc<RestoreQueue>,
    ) -> Self {
        let inline = context.settings.restore_threads == 0;
        Self {
            worker: worker.to_owned(),
            context: Arc::clone(context),
            queue: match inline {
                true => Arc::default(),
                false => Arc::clone(queue),
            },
            own: inline.then(|| Restorer::new(context, moves)),
            tasks: BTreeMap::new(),
            ready: Vec::new(),
            given_at_ms: 0,
            unread: false,
        }
    }

    /// Whether nothing is being opened.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.ready.is_empty()
    }

    /// Whether the task is being opened.
    pub(super) fn contains(&self, task: &TaskId) -> bool {
        self.tasks.contains_key(task) || self.ready.iter().any(|(ready, _)| ready == task)
    }

    /// Begins to open a task.
    pub(super) fn begin(&mut self, task: &TaskId) {
        let since_ms = self.context.env.monotonic_ms();
        let ticket = self.queue.push(Job::new(task.clone(), false));
        let opening = Opening {
            since_ms,
            tries: 1,
            stage: Stage::Asked(ticket),
        };
        self.tasks.insert(task.clone(), opening);
    }

    /// Gives up all tasks except those in `keep`, and returns their names.
    pub(super) fn give_up_but(&mut self, keep: impl Fn(&TaskId) -> bool) -> Vec<TaskId> {
        let mut given_up = Vec::new();
        self.tasks.retain(|task, opening| {
            let kept = keep(task);
            if !kept {
                opening.cancel();
                given_up.push(task.clone());
            }
            kept
        });
        let ready = self.ready.extract_if(.., |(task, _)| !keep(task));
        given_up.extend(ready.map(|(task, _)| task));
        given_up
    }

    /// Does some of the work if no thread does it, retries what is due, and returns the tasks that are ready.
    ///
    /// # Errors
    /// Permanent errors, with the task's name.
    pub(super) fn poll(&mut self) -> Result<Vec<(TaskId, Box<Ready>)>> {
        if let Some(own) = &mut self.own {
            own.step(&self.queue, std::time::Duration::ZERO);
        }
        let now_ms = self.context.env.monotonic_ms();
        let mut ready = Vec::new();
        for (task, opening) in &mut self.tasks {
            match &opening.stage {
                Stage::Failed { next_ms, .. } if *next_ms <= now_ms => {
                    let fresh = now_ms >= opening.since_ms + FRESH_AFTER_MS;
                    let ticket = self.queue.push(Job::new(task.clone(), fresh));
                    opening.tries += 1;
                    opening.stage = Stage::Asked(ticket);
                }
                Stage::Failed { .. } => {}
                Stage::Asked(ticket) => match ticket.take() {
                    None => {}
                    Some(Ok(opened)) => ready.push((task.clone(), opened)),
                    Some(Err(error)) => opening.fail(task, &self.worker, error, now_ms)?,
                },
            }
        }
        for (task, opened) in ready {
            self.tasks.remove(&task);
            self.ready.push((task, opened));
        }
        if !self.tasks.is_empty() && now_ms < self.given_at_ms + TOGETHER_MS {
            return Ok(Vec::new());
        }
        self.given_at_ms = now_ms;
        Ok(std::mem::take(&mut self.ready))
    }

    /// When to call [`Openings::poll`] next, by the monotonic clock; `None` if nothing is being opened.
    pub(super) fn wake_ms(&self) -> Option<u64> {
        /// How soon a worker sees that a task is ready.
        const LOOK_MS: u64 = 5;
        let now_ms = self.context.env.monotonic_ms();
        if !self.ready.is_empty() {
            return Some(now_ms + LOOK_MS);
        }
        let wake_ms = |opening: &Opening| match &opening.stage {
            Stage::Asked(_) if self.own.is_some() => now_ms,
            Stage::Asked(_) => now_ms + LOOK_MS,
            Stage::Failed { next_ms, .. } => *next_ms,
        };
        self.tasks.values().map(wake_ms).min()
    }

    /// What is being restored and what waits, for the snapshot.
    pub(super) fn report(&self, now_ms: u64) -> (Vec<RestoringTask>, Vec<WaitingTask>) {
        let (mut restoring, mut waiting) = (Vec::new(), Vec::new());
        for (task, opening) in &self.tasks {
            let for_ms = now_ms.saturating_sub(opening.since_ms);
            match &opening.stage {
                Stage::Asked(ticket) => {
                    let (records, records_total) = ticket.progress();
                    restoring.push(RestoringTask {
                        task: task.clone(),
                        worker: self.worker.clone(),
                        for_ms,
                        records,
                        records_total,
                        left_ms: ticket.left_ms(now_ms),
                    });
                }
                Stage::Failed { error, next_ms } => waiting.push(WaitingTask {
                    task: task.clone(),
                    worker: self.worker.clone(),
                    for_ms,
                    tries: opening.tries,
                    next_try_in_ms: next_ms.saturating_sub(now_ms),
                    error: error.to_string(),
                }),
            }
        }
        (restoring, waiting)
    }
}

/// Jobs of a worker that is gone are abandoned.
impl Drop for Openings {
    fn drop(&mut self) {
        self.tasks.values().for_each(Opening::cancel);
    }
}

impl Opening {
    fn cancel(&self) {
        if let Stage::Asked(ticket) = &self.stage {
            ticket.cancel();
        }
    }

    fn fail(&mut self, task: &TaskId, worker: &str, error: Error, now_ms: u64) -> Result<()> {
        if error.kind() != ErrorKind::Unavailable {
            return Err(error);
        }
        let pause_ms = AGAIN_MS << (self.tries - 1).min(10);
        let next_ms = now_ms + pause_ms.min(AGAIN_MS_MAX);
        // A directory that was just released is free at once.
        if self.tries > 3 {
            tracing::warn!(%task, worker, %error, tries = self.tries, "the task could not be opened; trying again");
        }
        self.stage = Stage::Failed { error, next_ms };
        Ok(())
    }
}
