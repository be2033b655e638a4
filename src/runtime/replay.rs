//! Replay: drops the local state and rebuilds it from the changelogs, to show that it can be done.

use std::time::Duration;

use super::ApplicationBuilder;
use super::opening::{Job, Restorer};
use super::worker::Shared;
use crate::base::{Result, TaskId};

/// A store of a task: how many rows it has, and their checksum.
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

/// What a replay found.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The state as it stood.
    pub before: Vec<StoreSum>,
    /// The state rebuilt from the changelogs alone.
    pub after: Vec<StoreSum>,
    /// Changelog records read for the second.
    pub records: u64,
    /// How long that took.
    pub elapsed: Duration,
}

impl Replay {
    /// Whether both are equal.
    pub fn is_equal(&self) -> bool {
        self.before == self.after
    }
}

impl ApplicationBuilder {
    /// Sums up the committed state of all tasks, calls `between` with the sums, then deletes the state
    /// directory's tasks, restores them from their changelogs and sums up again. The application must
    /// not be running.
    ///
    /// # Errors
    /// As [`ApplicationBuilder::start`], and what the restore reports.
    pub fn replay(self, between: impl FnOnce(&[StoreSum])) -> Result<Replay> {
        let shared = self.prepare()?;
        let (before, _) = sums(&shared)?;
        between(&before);
        if let Some(directory) = &shared.directory {
            for task in shared.layout.specs.keys() {
                directory.remove_task(task)?;
            }
        }
        let started_ns = shared.env.monotonic_ns();
        let (after, records) = sums(&shared)?;
        let elapsed = Duration::from_nanos(shared.env.monotonic_ns() - started_ns);
        Ok(Replay {
            before,
            after,
            records,
            elapsed,
        })
    }
}

fn sums(shared: &Shared) -> Result<(Vec<StoreSum>, u64)> {
    let mut restorer = Restorer::default();
    let mut sums = Vec::new();
    let mut records = 0;
    for task in shared.layout.specs.keys() {
        let ready = restorer.finish(Job::new(task.clone(), false), shared);
        let ready = ready.map_err(|error| error.context(format!("task {task}")))?;
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
