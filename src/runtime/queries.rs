//! What tasks have committed, for readers on any thread.
//!
//! ```text
//!  CommittedTasks <-- Queries::view --> a snapshot of each task's backend --> View: its rows as of one commit
//! ```
//!
//! A backend holds only committed rows, and receives those of a commit in one write. So a snapshot of it is the
//! state of its task as of some commit, and readers neither wait for workers nor make them wait.

use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::committed_tasks::CommittedTask;
use super::shared::Shared;
use crate::base::{Error, ErrorKind, Offset, Result, TaskId, TopicPartition};
use crate::state::{Backend, GlobalRows, StoreSpec, StoredState, TaskState};
use crate::task::TaskSpec;

/// How often `view_at` checks the positions it waits for.
const LOOK: Duration = Duration::from_millis(2);
/// The memory that the stores of one task in a view may use for rows that were read, in bytes.
const CACHE_BYTES: usize = 64 << 10;

/// Reads the stores of a running application from any thread: what its tasks in this process have committed. A
/// clone reads the same. [`Application::queries`](super::Application::queries) returns it.
#[derive(Clone)]
pub struct Queries {
    shared: Arc<Shared>,
}

impl Queries {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The rows as committed now, of each task as of one commit; later commits do not show.
    ///
    /// A view keeps the rows it shows from being freed, and its tasks' directories open: drop it when its queries
    /// are answered, and make another one for the next.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn view(&self) -> Result<View> {
        self.view_of_tasks(self.shared.committed.all())
    }

    /// Like [`Queries::view`], but of one task, without touching the others. Every key is looked up in this task,
    /// whatever its own partition would be, so that this also finds rows of records that a custom partitioner
    /// placed.
    ///
    /// # Errors
    /// `Unavailable` if the task is not open in this process; those of the disk.
    pub fn view_of(&self, task: &TaskId) -> Result<View> {
        let open = self.shared.committed.get(task);
        let mut view = self.view_of_tasks(open.map(|open| (task.clone(), open)))?;
        if !view.tasks.contains_key(task) {
            return Err(not_here(task));
        }
        view.only = Some(task.clone());
        Ok(view)
    }

    fn view_of_tasks(
        &self,
        tasks: impl IntoIterator<Item = (TaskId, Arc<CommittedTask>)>,
    ) -> Result<View> {
        let mut seen = BTreeMap::new();
        for (id, task) in tasks {
            // Read before the rows, which may then be newer than this says but never older.
            let positions = task.positions();
            let snapshot = match task.snapshots.snapshot() {
                // It was closed in the meantime.
                Err(error) if error.kind() == ErrorKind::Closed => continue,
                snapshot => snapshot?,
            };
            let viewed = ViewedTask {
                spec: Arc::clone(&task.spec),
                positions,
                snapshot: Cell::new(Some(snapshot)),
                state: OnceCell::new(),
            };
            seen.insert(id, viewed);
        }
        Ok(View {
            shared: Arc::clone(&self.shared),
            tasks: seen,
            only: None,
        })
    }

    /// The tasks that are open in this process.
    pub fn tasks(&self) -> Vec<TaskId> {
        self.shared.committed.ids()
    }

    /// The committed input positions of a task, without making a view; `None` if it is not open in this process.
    pub fn positions_of(&self, task: &TaskId) -> Option<Vec<(TopicPartition, Offset)>> {
        let open = self.shared.committed.get(task);
        open.map(|task| task.positions())
    }

    /// What a store is, wherever its tasks run.
    ///
    /// # Errors
    /// `Invalid` if the topology has no such store.
    #[cfg(feature = "admin")]
    pub(crate) fn store(&self, name: &str) -> Result<ViewedStore<'_>> {
        find_store(&self.shared, name)
    }

    /// What a global store is; `None` if the topology has no global store of that name.
    #[cfg(feature = "admin")]
    pub(crate) fn global(&self, name: &str) -> Option<ViewedGlobal<'_>> {
        find_global(&self.shared, name)
    }

    /// A view of no task: only global stores can be read in it.
    #[cfg(feature = "admin")]
    pub(crate) fn view_of_globals(&self) -> View {
        View {
            shared: Arc::clone(&self.shared),
            tasks: BTreeMap::new(),
            only: None,
        }
    }

    /// Like [`Queries::view`], once the tasks here have committed all records before these positions: so whoever
    /// produced a record can read its results. Partitions that no task here reads are ignored. Results behind a
    /// repartition topic are committed later, by another task.
    ///
    /// # Errors
    /// `Unavailable` if that takes longer than `patience`; those of [`Queries::view`].
    pub fn view_at(
        &self,
        positions: &[(TopicPartition, Offset)],
        patience: Duration,
    ) -> Result<View> {
        let env = &self.shared.context.env;
        let begun_ms = env.monotonic_ms();
        loop {
            // A view per check would, with rows in memory, cost a copy at each commit in the meantime.
            let reached = self.shared.committed.positions();
            let (partition, wanted) = match first_behind(&reached, positions) {
                Some(behind) => behind,
                None => {
                    let view = self.view()?;
                    // A task that was opened in the meantime has positions of its own.
                    match first_behind(&view.positions(), positions) {
                        Some(behind) => behind,
                        None => return Ok(view),
                    }
                }
            };
            if env.monotonic_ms() - begun_ms >= patience.as_millis() as u64 {
                let message = format!(
                    "{partition} has not been read up to offset {wanted} after {} ms; wait longer, or use \
                     `view` for the current rows",
                    patience.as_millis()
                );
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            env.sleep(LOOK);
        }
    }
}

/// The first of the wanted positions that a task has not reached; partitions that no task reads are ignored.
fn first_behind<'a>(
    reached: &[(TopicPartition, Offset)],
    wanted: &'a [(TopicPartition, Offset)],
) -> Option<&'a (TopicPartition, Offset)> {
    wanted.iter().find(|(partition, wanted)| {
        let mut reached = reached.iter();
        reached.any(|(input, position)| input == partition && position < wanted)
    })
}

impl fmt::Debug for Queries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Queries")
            .field(&self.shared.context.layout.application)
            .finish()
    }
}

/// The rows of the tasks in this process, each task as of one of its commits: [`Queries::view`]. It stays on the
/// thread that made it.
pub struct View {
    shared: Arc<Shared>,
    tasks: BTreeMap<TaskId, ViewedTask>,
    /// In a view of one task, the task in which every key is looked up.
    only: Option<TaskId>,
}

struct ViewedTask {
    spec: Arc<TaskSpec>,
    positions: Vec<(TopicPartition, Offset)>,
    /// Taken when a store of it is first read.
    snapshot: Cell<Option<Box<dyn Backend>>>,
    state: OnceCell<TaskState>,
}

impl ViewedTask {
    fn state(&self, id: &TaskId) -> Result<&TaskState> {
        if let Some(state) = self.state.get() {
            return Ok(state);
        }
        let snapshot = self.snapshot.take();
        let snapshot = snapshot.ok_or_else(|| Error::internal("a view lost its snapshot"))?;
        let state = StoredState::of_snapshot(id, &self.spec.stores, snapshot)?.into_state();
        state.set_cache_bytes(CACHE_BYTES);
        Ok(self.state.get_or_init(|| state))
    }
}

/// A store: its declaration, its sub-topology, and its number of partitions.
pub(crate) struct ViewedStore<'a> {
    pub(crate) spec: &'a StoreSpec,
    pub(crate) subtopology: &'a Arc<str>,
    pub(crate) partitions: u32,
    /// The topic of its changes; `None` without a changelog.
    #[cfg(feature = "admin")]
    pub(crate) changelog: Option<String>,
}

/// A global store: its declaration, and its rows as they are now.
pub(crate) struct ViewedGlobal<'a> {
    pub(crate) spec: &'a StoreSpec,
    pub(crate) rows: GlobalRows,
}

impl View {
    /// The input positions of the tasks in this view: the rows include the results of all records before these
    /// positions.
    pub fn positions(&self) -> Vec<(TopicPartition, Offset)> {
        let tasks = self.tasks.values();
        tasks.flat_map(|task| task.positions.clone()).collect()
    }

    /// The tasks whose rows the view has.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskId> {
        self.tasks.keys()
    }

    /// Whether all tasks that have the store are in this process, so that this view has all its rows. Every process
    /// has all rows of a global store.
    ///
    /// # Errors
    /// `Invalid` if the topology has no such store.
    pub fn is_complete(&self, store: &str) -> Result<bool> {
        if self.global(store).is_some() {
            return Ok(true);
        }
        let viewed = self.store(store)?;
        let here = self.tasks_of(viewed.subtopology);
        Ok(here.count() as u32 == viewed.partitions)
    }

    pub(crate) fn store(&self, name: &str) -> Result<ViewedStore<'_>> {
        find_store(&self.shared, name)
    }

    /// A global store; `None` if the topology has no global store of that name.
    pub(crate) fn global(&self, name: &str) -> Option<ViewedGlobal<'_>> {
        find_global(&self.shared, name)
    }

    /// The task in which a key of a partition is looked up.
    pub(crate) fn task_for(&self, subtopology: &Arc<str>, partition: u32) -> TaskId {
        let only = self.only.as_ref();
        let only = only.filter(|task| task.subtopology == *subtopology);
        only.cloned()
            .unwrap_or_else(|| TaskId::new(Arc::clone(subtopology), partition))
    }

    /// The state of one task; `Unavailable` if it is not here.
    pub(crate) fn task(&self, id: &TaskId) -> Result<&TaskState> {
        match self.tasks.get(id) {
            Some(task) => task.state(id),
            None => Err(not_here(id)),
        }
    }

    /// The tasks of a sub-topology that are here.
    pub(crate) fn tasks_of<'a>(
        &'a self,
        subtopology: &'a Arc<str>,
    ) -> impl Iterator<Item = &'a TaskId> {
        self.tasks
            .keys()
            .filter(move |task| task.subtopology == *subtopology)
    }
}

fn find_store<'a>(shared: &'a Shared, name: &str) -> Result<ViewedStore<'a>> {
    let specs = &shared.context.layout.specs;
    let found = specs.iter().find_map(|(task, spec)| {
        let mut stores = spec.stores.iter();
        Some((task, stores.find(|store| store.name == name)?))
    });
    let (task, spec) = found.ok_or_else(|| {
        let mut names: Vec<_> = specs
            .values()
            .flat_map(|spec| spec.stores.iter().map(|store| store.name.as_str()))
            .collect();
        names.sort_unstable();
        names.dedup();
        let why = match find_global(shared, name) {
            Some(_) => "; this one is global: read it as a key-value store",
            None => "",
        };
        Error::invalid(format!(
            "the topology has no store {name:?} that tasks keep; it has {names:?}{why}"
        ))
    })?;
    let partitions = specs
        .keys()
        .filter(|other| other.subtopology == task.subtopology)
        .count();
    Ok(ViewedStore {
        spec,
        subtopology: &task.subtopology,
        partitions: partitions as u32,
        #[cfg(feature = "admin")]
        changelog: (spec.is_restored())
            .then(|| spec.changelog_topic(&shared.context.layout.application)),
    })
}

fn find_global<'a>(shared: &'a Shared, name: &str) -> Option<ViewedGlobal<'a>> {
    let mut specs = shared
        .context
        .layout
        .global
        .iter()
        .flat_map(|task| &task.stores);
    let spec = specs.find(|store| store.name == name)?;
    let rows = shared.context.layout.globals.get(name)?;
    Some(ViewedGlobal { spec, rows })
}

#[cold]
fn not_here(task: &TaskId) -> Error {
    let message = format!(
        "task {task} is not open in this process: another instance has it, or it is being restored; query \
         that instance, or try again later"
    );
    Error::new(ErrorKind::Unavailable, message)
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("positions", &self.positions())
            .finish_non_exhaustive()
    }
}
