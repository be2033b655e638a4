//! Who does the jobs, one bounded step after another.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::job::{Job, Stepped};
use super::kept_reader::KeptReader;
use super::queue::RestoreQueue;
use super::ticket::Ready;
use crate::base::{Error, Result, panic_message};
use crate::runtime::context::Context;
use crate::runtime::moves::Moves;

/// How long a thread waits for a job, or for the log, before it checks whether to stop.
const WAIT: Duration = Duration::from_millis(100);
/// How long a job continues, at least, while others with less to do wait: assigning a reader again takes a moment
/// on some logs. In milliseconds.
const TURN_MS: u64 = 250;

/// Opens and restores one task at a time, in steps.
pub(in crate::runtime) struct Restorer {
    context: Arc<Context>,
    moves: Arc<Moves>,
    reader: KeptReader,
    job: Option<Job>,
    turn_until_ms: u64,
}

/// The body of a thread that restores until the application stops.
pub(in crate::runtime) fn run(mut restorer: Restorer, queue: &RestoreQueue) {
    while !restorer.context.shutdown.is_requested() {
        restorer.step(queue, WAIT);
    }
}

impl Restorer {
    pub(in crate::runtime) fn new(context: &Arc<Context>, moves: &Arc<Moves>) -> Self {
        Self {
            context: Arc::clone(context),
            moves: Arc::clone(moves),
            reader: KeptReader::default(),
            job: None,
            turn_until_ms: 0,
        }
    }

    /// Does one step of a job, waiting up to `wait` for a job and for the log.
    pub(super) fn step(&mut self, queue: &RestoreQueue, wait: Duration) {
        let job = self.job.take().or_else(|| {
            let job = queue.take(wait)?;
            self.turn_until_ms = self.context.env.monotonic_ms() + TURN_MS;
            Some(job)
        });
        let now_ms = self.context.env.monotonic_ms();
        let Some(mut job) = job else {
            self.reader.rests(now_ms);
            return;
        };
        self.reader.works(now_ms);
        if job.ticket.is_cancelled() {
            return;
        }
        match self.step_caught(&mut job, wait) {
            Ok(Stepped::Ready(ready)) => job.ticket.answer(Ok(ready)),
            Ok(Stepped::More) => {
                let turn_is_over = self.context.env.monotonic_ms() >= self.turn_until_ms;
                if (turn_is_over || job.is_new()) && queue.has_before(job.rank()) {
                    queue.put_back(job);
                } else {
                    self.job = Some(job);
                }
            }
            Ok(Stepped::Waits) => queue.put_back(job),
            Err(error) => {
                self.reader.forget();
                let Job { ticket, task, .. } = &job;
                let (ticket, error) = (ticket.clone(), error.context(format!("task {task}")));
                // Its directory is free when it is retried.
                drop(job);
                ticket.answer(Err(error));
            }
        }
    }

    /// A panic fails the task, not the thread that others need.
    fn step_caught(&mut self, job: &mut Job, wait: Duration) -> Result<Stepped> {
        let step = AssertUnwindSafe(|| self.step_job(job, wait));
        catch_unwind(step).unwrap_or_else(|panic| {
            Err(Error::internal(format!(
                "restoring panicked: {}",
                panic_message(&*panic)
            )))
        })
    }

    fn step_job(&mut self, job: &mut Job, wait: Duration) -> Result<Stepped> {
        job.step(&self.context, &self.moves, &mut self.reader, wait)
    }

    /// Opens and restores a task now, however long it takes.
    pub(in crate::runtime) fn finish(&mut self, mut job: Job) -> Result<Box<Ready>> {
        loop {
            if let Stepped::Ready(ready) = self.step_job(&mut job, WAIT)? {
                return Ok(ready);
            }
        }
    }
}
