//! The tasks that are open in this process: their committed rows, and the input positions that these include.
//!
//! ```text
//!  open task --register--> CommittedTasks <--positions-- apply (commit is definite)      close: gone
//!                               |
//!                               +--> read by queries, on any thread
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::{Offset, TaskId, TopicPartition};
use crate::state::{Snapshots, TaskState};
use crate::task::TaskSpec;

/// The tasks that are open in this process.
#[derive(Default)]
pub(super) struct CommittedTasks(Mutex<BTreeMap<TaskId, Arc<CommittedTask>>>);

/// An open task, for readers of its committed rows.
pub(super) struct CommittedTask {
    pub(super) spec: Arc<TaskSpec>,
    /// Where snapshots of its rows come from.
    pub(super) snapshots: Arc<dyn Snapshots>,
    positions: Mutex<Vec<(TopicPartition, Offset)>>,
}

impl CommittedTasks {
    /// All of them, each with its name.
    pub(super) fn all(&self) -> Vec<(TaskId, Arc<CommittedTask>)> {
        let open = self.open();
        let tasks = open.iter();
        tasks
            .map(|(id, task)| (id.clone(), Arc::clone(task)))
            .collect()
    }

    /// One of them; `None` if it is not open in this process.
    pub(super) fn get(&self, id: &TaskId) -> Option<Arc<CommittedTask>> {
        self.open().get(id).map(Arc::clone)
    }

    /// Their names.
    pub(super) fn ids(&self) -> Vec<TaskId> {
        self.open().keys().cloned().collect()
    }

    /// The committed input positions of all open tasks.
    pub(super) fn positions(&self) -> Vec<(TopicPartition, Offset)> {
        let open = self.open();
        open.values().flat_map(|task| task.positions()).collect()
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<TaskId, Arc<CommittedTask>>> {
        lock(&self.0)
    }
}

impl CommittedTask {
    /// Its committed input positions.
    pub(super) fn positions(&self) -> Vec<(TopicPartition, Offset)> {
        lock(&self.positions).clone()
    }
}

/// Keeps a task listed as open; dropped before its rows are closed.
pub(super) struct Registered {
    tasks: Arc<CommittedTasks>,
    id: TaskId,
    task: Arc<CommittedTask>,
}

impl Registered {
    pub(super) fn new(
        tasks: &Arc<CommittedTasks>,
        spec: &Arc<TaskSpec>,
        state: &TaskState,
        positions: Vec<(TopicPartition, Offset)>,
    ) -> Self {
        let task = Arc::new(CommittedTask {
            spec: Arc::clone(spec),
            snapshots: state.snapshots(),
            positions: Mutex::new(positions),
        });
        let id = state.task().clone();
        tasks.open().insert(id.clone(), Arc::clone(&task));
        Self {
            tasks: Arc::clone(tasks),
            id,
            task,
        }
    }

    /// Publishes the input positions, once the rows of the commit are in the backend.
    pub(super) fn set_positions(&self, offsets: &[Offset]) {
        let mut positions = lock(&self.task.positions);
        for ((_, position), offset) in positions.iter_mut().zip(offsets) {
            *position = *offset;
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut open = self.tasks.open();
        // If the task has moved to another worker of this process, the entry is that one's by now.
        if let Some(task) = open.get(&self.id)
            && Arc::ptr_eq(task, &self.task)
        {
            open.remove(&self.id);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
