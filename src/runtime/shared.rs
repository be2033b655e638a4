//! What the workers of an application share besides its context, and what its handles read.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use super::about::About;
use super::committed_tasks::CommittedTasks;
use super::context::Context;
use super::liveness::Liveness;
use super::moves::Moves;
use super::opening::RestoreQueue;
use super::status::Status;
use crate::base::TaskId;

/// The parts of a running application, put together.
pub(super) struct Shared {
    pub(super) context: Arc<Context>,
    /// Outlives this, in handles that show how the application ended.
    pub(super) status: Arc<Status>,
    pub(super) about: Arc<About>,
    pub(super) liveness: Liveness,
    /// Number of the last requested drain; 0 before the first.
    pub(super) drain_asked: AtomicU64,
    /// Number of the drain in progress, once every worker has forgotten the ends of earlier ones.
    pub(super) draining: AtomicU64,
    /// Tasks that were opened since the start.
    opened: Mutex<BTreeSet<TaskId>>,
    /// Those that are open, for readers of their rows.
    pub(super) committed: Arc<CommittedTasks>,
    /// Whether times are in the task changelogs where the topology expects them.
    pub(super) moves: Arc<Moves>,
    /// Tasks waiting to be opened and restored.
    pub(super) restores: Arc<RestoreQueue>,
}

impl Shared {
    /// Those of an application in which nothing has begun yet.
    pub(super) fn new(context: Context, about: About) -> Self {
        Self {
            status: Arc::new(Status::new(context.settings.workers)),
            context: Arc::new(context),
            about: Arc::new(about),
            liveness: Liveness::default(),
            drain_asked: AtomicU64::new(0),
            draining: AtomicU64::new(0),
            opened: Mutex::default(),
            committed: Arc::default(),
            moves: Arc::default(),
            restores: Arc::default(),
        }
    }

    /// Whether the task is opened for the first time since the start; queried once per opening.
    pub(super) fn is_first_opening(&self, task: &TaskId) -> bool {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.insert(task.clone())
    }
}
