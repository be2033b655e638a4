//! A view of an application for others than its owner: what is served over HTTP reads through it.

use std::fmt;
use std::sync::{Arc, Weak};

use super::status::Status;
use super::worker::Shared;
use super::{Guarantee, Snapshot};
use crate::base::{Env, Error, ErrorKind, Result};
use crate::log::Log;
use crate::topology::Topology;

/// What does not change about an application while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The application's id.
    pub application: String,
    /// What a crash may leave behind.
    pub guarantee: Guarantee,
    /// Number of its worker threads.
    pub workers: usize,
    /// Number of its tasks, over all instances.
    pub tasks: usize,
    /// The memory that it may take, in bytes, that of the log included.
    pub memory_bytes: usize,
    /// Where its dead letters go.
    pub dead_letter_topic: Option<String>,
    /// The topology as [`Topology::describe`] writes it.
    pub topology_text: String,
    /// The same as [`Topology::describe_json`] does.
    pub topology_json: String,
    /// The same as [`Topology::describe_dot`] does.
    pub topology_dot: String,
}

impl About {
    /// With the descriptions of a topology, and nothing else yet.
    pub(super) fn of(topology: &Topology, application: &str) -> Self {
        Self {
            application: application.to_owned(),
            guarantee: Guarantee::default(),
            workers: 0,
            tasks: 0,
            memory_bytes: 0,
            dead_letter_topic: None,
            topology_text: topology.describe(),
            topology_json: topology.describe_json(),
            topology_dot: topology.describe_dot(),
        }
    }
}

/// A view of a running application, from [`Application::handle`](super::Application::handle). Cheap to clone, and
/// of any thread.
///
/// It does not keep the application: once that is gone, the handle still says how it ended, and its log and its
/// state directory are free.
#[derive(Clone)]
pub struct Handle {
    status: Arc<Status>,
    about: Arc<About>,
    env: Arc<dyn Env>,
    shared: Weak<Shared>,
}

impl Handle {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            status: Arc::clone(&shared.status),
            about: Arc::clone(&shared.about),
            env: Arc::clone(&shared.env),
            shared: Arc::downgrade(shared),
        }
    }

    /// What the application is doing now.
    pub fn snapshot(&self) -> Snapshot {
        let now_ms = self.env.monotonic_ms();
        let shared = self.shared.upgrade();
        let stuck = (shared.as_ref()).map(|shared| shared.liveness.stuck(now_ms));
        let mut snapshot = self.status.snapshot(now_ms, stuck.unwrap_or_default());
        snapshot.memory.limit_bytes = self.about.memory_bytes as u64;
        if let Some(shared) = shared {
            snapshot.memory.log_bytes = shared.log.memory_bytes() as u64;
            snapshot.memory.disk_bytes = Some(shared.budget.used_bytes() as u64);
        }
        snapshot
    }

    /// What does not change about it.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The application's clock and randomness.
    pub fn env(&self) -> &Arc<dyn Env> {
        &self.env
    }

    /// The log that it runs on.
    ///
    /// # Errors
    /// `Closed` once the application is gone.
    pub fn log(&self) -> Result<Arc<dyn Log>> {
        let shared = self.shared.upgrade();
        let log = shared.map(|shared| Arc::clone(&shared.log));
        log.ok_or_else(|| Error::new(ErrorKind::Closed, "the application has been stopped"))
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("application", &self.about.application)
            .finish_non_exhaustive()
    }
}
