//! A view of an application for code other than its owner: the HTTP server reads through it.

use std::fmt;
use std::sync::{Arc, Weak};

use super::about::About;
use super::queries::Queries;
use super::shared::Shared;
use super::snapshot::Snapshot;
use super::status::Status;
use crate::base::{Env, Error, ErrorKind, Result};
use crate::log::Log;

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
            env: Arc::clone(&shared.context.env),
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
            snapshot.memory.log_bytes = shared.context.log.memory_bytes() as u64;
            snapshot.memory.disk_bytes = Some(shared.context.budget.used_bytes() as u64);
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
        self.shared().map(|shared| Arc::clone(&shared.context.log))
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
