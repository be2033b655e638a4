//! What every part of a running application reads: what it consists of, where it runs, and whether to stop.

use std::sync::Arc;

use super::hooks::Hooks;
use super::layout::Layout;
use super::settings::Settings;
use super::shutdown::{GIVE_UP_MS, Shutdown};
use crate::base::Error;
#[cfg(feature = "rocksdb")]
use crate::base::Result;
use crate::base::{Env, TaskId};
use crate::disk::Budget;
use crate::log::Log;
use crate::state::StateDirectory;

/// Decided at the start. What changes is the request to stop, and the rows of global stores in the layout.
pub(super) struct Context {
    pub(super) layout: Layout,
    pub(super) log: Arc<dyn Log>,
    pub(super) settings: Settings,
    /// `None` if rows are in memory.
    pub(super) directory: Option<StateDirectory>,
    /// The memory of the databases in the directory.
    pub(super) budget: Budget,
    pub(super) env: Arc<dyn Env>,
    pub(super) hooks: Arc<dyn Hooks>,
    pub(super) shutdown: Shutdown,
}

impl Context {
    /// Stops all workers because the application has failed or is dropped: each commits what it has, if the log
    /// answers soon.
    pub(super) fn stop_soon(&self) {
        self.shutdown.request(self.env.monotonic_ms() + GIVE_UP_MS);
    }

    /// The directory of state in RocksDB.
    ///
    /// # Errors
    /// `Invalid` without one, which a start has refused.
    #[cfg(feature = "rocksdb")]
    pub(super) fn state_directory(&self) -> Result<&StateDirectory> {
        let directory = self.directory.as_ref();
        directory.ok_or_else(|| {
            Error::invalid("state in RocksDB needs a directory; set `state_directory`")
        })
    }

    /// Whether the task's rows were found to be damaged, and whoever opens them next rebuilds them from changelogs.
    pub(super) fn will_rebuild(&self, task: &TaskId) -> bool {
        let spec = self.layout.specs.get(task);
        let directory = self.directory.as_ref();
        spec.is_some_and(|spec| spec.is_rebuildable())
            && directory.is_some_and(|directory| directory.is_damaged(task))
    }
}

/// The error of a build without RocksDB that is to keep state in it, which a start has refused.
#[cfg(not(feature = "rocksdb"))]
pub(super) fn without_rocksdb() -> Error {
    Error::internal("this build does not support state in RocksDB")
}
