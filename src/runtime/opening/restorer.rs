//! Who does the jobs, one bounded step after another.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::job::{Job, Stepped};
use super::queue::RestoreQueue;
use crate::base::{Error, Result, panic_message};
use crate::log::Reader;
use crate::runtime::worker::Shared;

/// How long a thread waits for a job, or for the log, before it checks whether to stop.
const WAIT: Duration = Duration::from_millis(100);
/// How long a job continues, at least, while others with less to do wait: assigning a reader again takes a moment
/// on some logs. In milliseconds.
const TURN_MS: u64 = 250;

/// How long a reader with nothing to read is kept, in milliseconds.
const IDLE_MS: u64 = 10_000;

/// Opens and restores one task at a time, in steps. It keeps its reader from job to job, since creating one takes
/// a while on some logs, and for a while after the last one: on such logs a reader has threads and connections.
#[derive(Default)]
pub(in crate::runtime) struct Restorer {
    pub(super) reader: Option<Box<dyn Reader>>,
    /// What the reader reads: the number of the job, and which of its stores.
    pub(super) reads: Option<(u64, usize)>,
    job: Option<Job>,
    turn_until_ms: u64,
    /// When it last had a job, and whether its reader has been told since then that there is none.
    worked_at_ms: u64,
    is_at_rest: bool,
}

/// The body of a thread that restores until the application stops.
pub(in crate::runtime) fn run(shared: &Shared) {
    let mut restorer = Restorer::default();
    while !shared.stop.load(Ordering::Acquire) {
        restorer.step(shared, &shared.restores, WAIT);
    }
}

impl Restorer {
    /// Does one step of a job, waiting up to `wait` for a job and for the log.
    pub(super) fn step(&mut self, shared: &Shared, queue: &RestoreQueue, wait: Duration) {
        let Some(mut job) = self.job.take().or_else(|| {
            let job = queue.take(wait)?;
            self.turn_until_ms = shared.env.monotonic_ms() + TURN_MS;
            Some(job)
        }) else {
            self.rest(shared.env.monotonic_ms());
            return;
        };
        self.worked_at_ms = shared.env.monotonic_ms();
        self.is_at_rest = false;
        if job.ticket.cancelled.load(Ordering::Acquire) {
            return;
        }
        match self.step_caught(&mut job, shared, wait) {
            Ok(Stepped::Ready(ready)) => job.ticket.answer(Ok(ready)),
            Ok(Stepped::More) => {
                let turn_is_over = shared.env.monotonic_ms() >= self.turn_until_ms;
                if (turn_is_over || job.is_new()) && queue.has_before(job.rank()) {
                    queue.put_back(job);
                } else {
                    self.job = Some(job);
                }
            }
            Ok(Stepped::Waits) => queue.put_back(job),
            Err(error) => {
                // The reader may be what failed.
                self.reader = None;
                self.reads = None;
                let Job { ticket, task, .. } = &job;
                let (ticket, error) = (ticket.clone(), error.context(format!("task {task}")));
                // Its directory is free when it is retried.
                drop(job);
                ticket.answer(Err(error));
            }
        }
    }

    /// There is no job. The reader must not continue with the last job's partitions while its task writes there.
    fn rest(&mut self, now_ms: u64) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        let is_over = now_ms >= self.worked_at_ms + IDLE_MS;
        let has_begun = self.is_at_rest || reader.assign(&[]).is_ok();
        self.is_at_rest = true;
        self.reads = None;
        if is_over || !has_begun {
            self.reader = None;
        }
    }

    /// A panic fails the task, not the thread that others need.
    fn step_caught(&mut self, job: &mut Job, shared: &Shared, wait: Duration) -> Result<Stepped> {
        let step = AssertUnwindSafe(|| job.step(self, shared, wait));
        catch_unwind(step).unwrap_or_else(|panic| {
            Err(Error::internal(format!(
                "restoring panicked: {}",
                panic_message(&*panic)
            )))
        })
    }

    /// Opens and restores a task now, however long it takes.
    pub(in crate::runtime) fn finish(
        &mut self,
        mut job: Job,
        shared: &Shared,
    ) -> Result<Box<super::Ready>> {
        loop {
            if let Stepped::Ready(ready) = job.step(self, shared, WAIT)? {
                return Ok(ready);
            }
        }
    }
}
