//! An application without threads: the caller calls its workers' turns, in any order, and controls their
//! clock. For simulations.

use std::sync::Arc;
use std::time::Duration;

use super::builder::ApplicationBuilder;
use super::drain::Drain;
use super::globals::Filler;
use super::shared::Shared;
use super::snapshot::Snapshot;
use super::worker::{Ends, Turn, Worker, join};
use crate::base::{Error, ErrorKind, Result};

/// The workers of one instance of an application, each called turn by turn.
pub(crate) struct Inline {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    globals: Option<Filler>,
    drain: Option<Drain>,
    drained: bool,
}

impl ApplicationBuilder {
    /// Joins the group with all workers of `instance`, and runs none of them.
    ///
    /// # Errors
    /// As [`ApplicationBuilder::start`].
    pub(crate) fn inline(self, instance: &str) -> Result<Inline> {
        let shared = Arc::new(self.prepare()?);
        let globals = filled(&shared)?;
        let mut workers = Vec::new();
        for number in 0..shared.context.settings.workers {
            let name = format!("{instance}-{number}");
            let ends = Ends::open(&shared.context, &name)?;
            let membership = join(&shared.context, &name)?;
            workers.push(Worker::new(Arc::clone(&shared), name, membership, ends));
        }
        Ok(Inline {
            shared,
            workers,
            globals,
            drain: None,
            drained: false,
        })
    }
}

/// What fills the global stores, once they have everything that is in their topics now.
fn filled(shared: &Shared) -> Result<Option<Filler>> {
    let Some(spec) = shared.context.layout.global.clone() else {
        return Ok(None);
    };
    let mut globals = Filler::open(&shared.context, spec)?;
    while !globals.is_filled() {
        if !globals.take(shared, Duration::ZERO)? {
            let message = "the topics of the global stores cannot be read; try again";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
    }
    Ok(Some(globals))
}

impl Inline {
    /// One turn of a worker, after what has come for the global stores.
    ///
    /// # Errors
    /// Any error that would fail the application.
    pub(crate) fn turn(&mut self, worker: usize) -> Result<Turn> {
        if let Some(globals) = &mut self.globals {
            globals.take(&self.shared, Duration::ZERO)?;
        }
        let worker = self.workers.get_mut(worker);
        let worker = worker.ok_or_else(|| Error::invalid("there is no such worker"))?;
        worker.turn()
    }

    /// What the liveness thread does continuously.
    pub(crate) fn beat(&self) {
        let now_ms = self.shared.context.env.monotonic_ms();
        for worker in self.shared.liveness.beat(now_ms) {
            self.shared.status.expelled(&worker);
        }
    }

    /// Requests the end of the input, on the first call, and returns whether it has been reached.
    pub(crate) fn is_drained(&mut self) -> bool {
        let shared = &self.shared;
        let drain = self.drain.get_or_insert_with(|| Drain::begin(shared));
        self.drained = self.drained || drain.is_done(shared);
        self.drained
    }

    /// Tells the workers to stop; the return value of its turn says when a worker has ended.
    pub(crate) fn stop(&self) {
        self.shared.context.shutdown.request(u64::MAX);
    }

    /// A snapshot of its current state.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let now_ms = self.shared.context.env.monotonic_ms();
        let stuck = self.shared.liveness.stuck(now_ms);
        self.shared.status.snapshot(now_ms, stuck)
    }
}
