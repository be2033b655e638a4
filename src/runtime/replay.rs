//! Replay: drops the local state and rebuilds it from the changelogs, to prove that this is possible.

use std::time::Duration;

use super::builder::ApplicationBuilder;
use super::opening::{Job, Ready, Restorer};
use super::shared::Shared;
use crate::base::{ErrorKind, Result, TaskId};

/// How long a log that does not answer is waited for, for each task, in milliseconds; and the pause between
/// two attempts.
const PATIENCE_MS: u64 = 60_000;
const PAUSE: Duration = Duration::from_millis(200);

/// A store of a task: the number of its rows, and their checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSum {
    /// The task.
    pub task: TaskId,
    /// The store, or `times` for all times and timers of the task.
    pub store: String,
    /// Its rows.
    pub rows: u64,
    /// CRC-32C of keys and rows in order.
    pub checksum: u32,
}

/// The result of a replay.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The original state.
    pub before: Vec<StoreSum>,
    /// The state rebuilt only from the changelogs.
    pub after: Vec<StoreSum>,
    /// Changelog records read for the rebuild.
    pub records: u64,
    /// How long the rebuild took.
    pub elapsed: Duration,
}

impl Replay {
    /// Whether both are equal.
    pub fn is_equal(&self) -> bool {
        self.before == self.after
    }
}

impl ApplicationBuilder {
    /// Computes sums over the committed state of all tasks, calls `between` with them, then deletes the
    /// state directory's tasks, restores them from their changelogs and computes the sums again. The
    /// application must not be running.
    ///
    /// # Errors
    /// As [`ApplicationBuilder::start`], and errors of the restore. `Unavailable` if the log did not answer
    /// for a minute.
    pub fn replay(self, between: impl FnOnce(&[StoreSum])) -> Result<Replay> {
        let shared = self.prepare()?;
        let (before, _) = sums(&shared)?;
        between(&before);
        let context = &shared.context;
        if let Some(directory) = &context.directory {
            for task in context.layout.specs.keys() {
                directory.remove_task(task)?;
            }
        }
        let started_ns = context.env.monotonic_ns();
        let (after, records) = sums(&shared)?;
        let elapsed = Duration::from_nanos(context.env.monotonic_ns() - started_ns);
        Ok(Replay {
            before,
            after,
            records,
            elapsed,
        })
    }
}

fn sums(shared: &Shared) -> Result<(Vec<StoreSum>, u64)> {
    let mut restorer = Restorer::new(&shared.context, &shared.moves);
    let mut sums = Vec::new();
    let mut records = 0;
    for task in shared.context.layout.specs.keys() {
        let ready = ready(shared, &mut restorer, task)?;
        records += ready.restored;
        let mut state = ready.stored.into_state();
        for (store, rows, checksum) in state.checksum()? {
            sums.push(StoreSum {
                task: task.clone(),
                store,
                rows,
                checksum,
            });
        }
        state.flush()?;
    }
    Ok((sums, records))
}

/// Opens a task, as often as it takes until the log answers: nobody wants to start again for one answer that
/// was late.
fn ready(shared: &Shared, restorer: &mut Restorer, task: &TaskId) -> Result<Box<Ready>> {
    let env = &shared.context.env;
    let until_ms = env.monotonic_ms() + PATIENCE_MS;
    loop {
        match restorer.finish(Job::new(task.clone(), false)) {
            Err(error)
                if error.kind() == ErrorKind::Unavailable && env.monotonic_ms() < until_ms =>
            {
                tracing::warn!(%task, %error, "trying again");
                env.sleep(PAUSE);
            }
            ended => return ended.map_err(|error| error.context(format!("task {task}"))),
        }
    }
}
