//! What all workers of an application share.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::{Env, TaskId};
use crate::disk::Budget;
use crate::log::Log;
use crate::runtime::Settings;
use crate::runtime::committed_tasks::CommittedTasks;
use crate::runtime::handle::About;
use crate::runtime::hooks::Hooks;
use crate::runtime::layout::Layout;
use crate::runtime::liveness::Liveness;
use crate::runtime::moves::Moves;
use crate::runtime::opening::RestoreQueue;
use crate::runtime::status::Status;
use crate::state::StateDirectory;

/// What all workers of an application share.
pub(in crate::runtime) struct Shared {
    pub(in crate::runtime) layout: Layout,
    pub(in crate::runtime) log: Arc<dyn Log>,
    pub(in crate::runtime) settings: Settings,
    pub(in crate::runtime) directory: Option<StateDirectory>,
    pub(in crate::runtime) budget: Budget,
    pub(in crate::runtime) env: Arc<dyn Env>,
    pub(in crate::runtime) hooks: Arc<dyn Hooks>,
    /// Outlives this, in handles that show how the application ended.
    pub(in crate::runtime) status: Arc<Status>,
    pub(in crate::runtime) about: Arc<About>,
    pub(in crate::runtime) liveness: Liveness,
    pub(in crate::runtime) stop: AtomicBool,
    /// Whether workers that stop give up their places in the group.
    pub(in crate::runtime) leaves: AtomicBool,
    /// When workers that stop no longer wait for a log that does not answer, by the monotonic clock.
    pub(in crate::runtime) give_up_at_ms: AtomicU64,
    /// Number of the last requested drain; 0 before the first.
    pub(in crate::runtime) drain_asked: AtomicU64,
    /// Number of the drain in progress, once every worker has forgotten the ends of earlier ones.
    pub(in crate::runtime) draining: AtomicU64,
    /// Tasks that were opened since the start.
    pub(in crate::runtime) opened: Mutex<BTreeSet<TaskId>>,
    /// Those that are open, for readers of their rows.
    pub(in crate::runtime) committed: Arc<CommittedTasks>,
    /// Whether times are in the task changelogs where the topology expects them.
    pub(in crate::runtime) moves: Moves,
    /// Tasks waiting to be opened and restored.
    pub(in crate::runtime) restores: Arc<RestoreQueue>,
}

impl Shared {
    /// Tells the workers to stop, and until when to wait for a log that does not answer.
    pub(in crate::runtime) fn stop(&self, give_up_at_ms: u64) {
        self.give_up_at_ms
            .fetch_min(give_up_at_ms, Ordering::AcqRel);
        self.stop.store(true, Ordering::Release);
    }

    pub(super) fn give_up_at_ms(&self) -> u64 {
        self.give_up_at_ms.load(Ordering::Acquire)
    }

    /// Whether the task's rows were found to be damaged, and whoever opens them next rebuilds them from changelogs.
    pub(in crate::runtime) fn will_rebuild(&self, task: &TaskId) -> bool {
        let spec = self.layout.specs.get(task);
        let directory = self.directory.as_ref();
        spec.is_some_and(|spec| spec.is_rebuildable())
            && directory.is_some_and(|directory| directory.is_damaged(task))
    }

    /// Whether the task is opened for the first time since the start; queried once per opening.
    pub(super) fn is_first_opening(&self, task: &TaskId) -> bool {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.insert(task.clone())
    }
}
