//! A view of an application for code other than its owner: the HTTP server reads through it.

use std::fmt;
use std::sync::{Arc, Weak};

use super::status::Status;
use super::worker::Shared;
use super::{Guarantee, Queries, Snapshot, TopologyChange};
use crate::base::{Env, Error, ErrorKind, Result};
use crate::log::Log;
use crate::topology::Topology;

/// The properties of an application that do not change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The application's id.
    pub application: String,
    /// What a crash may leave behind.
    pub guarantee: Guarantee,
    /// Number of its worker threads.
    pub workers: usize,
    /// The number of its tasks, over all instances.
    pub tasks: usize,
    /// The memory limit in bytes, including the log's.
    pub memory_bytes: usize,
    /// The topic of its dead letters.
    pub dead_letter_topic: Option<String>,
    /// The topology as formatted by [`Topology::describe`].
    pub topology_text: String,
    /// The same as formatted by [`Topology::describe_json`].
    pub topology_json: String,
    /// The same as formatted by [`Topology::describe_dot`].
    pub topology_dot: String,
    /// What the start found on the log: what it kept, added, moved and left behind.
    pub change: TopologyChange,
}

impl About {
    /// With the descriptions of a topology, and the rest empty.
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
            change: TopologyChange::default(),
        }
    }
}

/// A view of a running application, from [`Application::handle`](super::Application::handle). Cheap to
/// clone, and usable on any thread.
///
/// It does not keep the application alive: once that is gone, the handle still tells how it ended, and
/// its log and its state directory are released.
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

    /// A snapshot of the application's current state.
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

    /// The properties of the application that do not change.
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
        self.shared().map(|shared| Arc::clone(&shared.log))
    }

    /// Reads of its stores. Unlike the handle they keep alive what they read from: hold them only for a query.
    ///
    /// # Errors
    /// `Closed` once the application is gone.
    pub fn queries(&self) -> Result<Queries> {
        self.shared().map(Queries::new)
    }

    fn shared(&self) -> Result<Arc<Shared>> {
        let shared = self.shared.upgrade();
        shared.ok_or_else(|| Error::new(ErrorKind::Closed, "the application has been stopped"))
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("application", &self.about.application)
            .finish_non_exhaustive()
    }
}
