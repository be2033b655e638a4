//! The global stores of an instance: a separate thread fills them; it reads every partition of their
//! topics from the start. No task begins before it has reached what was their end at the start.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::context::Context;
#[cfg(not(feature = "rocksdb"))]
use super::context::without_rocksdb;
use super::layout::inputs;
use super::settings::StateBackend;
use super::shared::Shared;
use crate::base::{Error, ErrorKind, Offset, Result, TaskId, Thread, TopicPartition};
use crate::log::{Fetched, Isolation, Reader};
#[cfg(feature = "rocksdb")]
use crate::state::RocksBackend;
use crate::state::{GlobalBackend, GlobalRows, Identity, TaskState};
use crate::task::{Task, TaskSpec};

/// How long it waits for records before it checks whether to stop.
const WAIT: Duration = Duration::from_millis(50);
/// How much it reads at a time, in bytes.
const FETCH_BYTES: usize = 1 << 20;
/// Rows that the filling thread keeps for itself, in bytes.
const CACHE_BYTES: usize = 256 << 10;

/// A thread that fills the global stores, and where it reports that it has reached the end, or has
/// failed.
pub(super) struct Filling {
    pub(super) thread: Thread,
    filled: Receiver<Result<()>>,
}

impl Filling {
    /// Starts to fill the stores, if there are any.
    ///
    /// # Errors
    /// `Unavailable` if the system provides no thread.
    pub(super) fn start(shared: &Arc<Shared>) -> Result<Option<Self>> {
        let Some(spec) = shared.context.layout.global.clone() else {
            return Ok(None);
        };
        let (says, filled) = channel();
        let own = Arc::clone(shared);
        let body = Box::new(move || {
            if let Err(error) = fill(&own, spec, &says) {
                tracing::error!(%error, "the global stores cannot be filled");
                own.status.fail(&error);
                own.context.stop_soon();
                let _ = says.send(Err(error));
            }
        });
        let thread = shared.context.env.spawn("marea-global", body)?;
        Ok(Some(Self { thread, filled }))
    }

    /// Waits until the stores contain everything that was in their topics at the start.
    ///
    /// # Errors
    /// The reason why they could not be filled.
    pub(super) fn wait(&self) -> Result<()> {
        let filled = self.filled.recv();
        filled.unwrap_or_else(|_| Err(Error::internal("the thread of the global stores has ended")))
    }
}

/// Fills the stores until the application stops.
fn fill(shared: &Shared, spec: Arc<TaskSpec>, says: &Sender<Result<()>>) -> Result<()> {
    let Context { env, shutdown, .. } = &*shared.context;
    let mut filler = Filler::open(&shared.context, spec)?;
    let mut has_said = false;
    while !shutdown.is_requested() {
        if !has_said && filler.is_filled() {
            has_said = true;
            let _ = says.send(Ok(()));
        }
        if !filler.take(shared, WAIT)? {
            env.sleep(WAIT);
        }
    }
    Ok(())
}

/// Fills the stores, part by part.
pub(super) struct Filler {
    task: Task,
    reader: Box<dyn Reader>,
    places: Vec<TopicPartition>,
    /// Where they ended at the start.
    ends: Vec<Offset>,
}

impl Filler {
    /// Begins at the start of the topics.
    ///
    /// # Errors
    /// Errors of the log, and of a state directory that cannot be used.
    pub(super) fn open(context: &Context, spec: Arc<TaskSpec>) -> Result<Self> {
        let Context {
            layout,
            log,
            settings,
            ..
        } = context;
        let places = inputs(&spec);
        let id = TaskId::new("global", 0);
        let identity = Identity {
            application: layout.application.clone(),
            log_incarnation: log.incarnation(),
        };
        let backend = Box::new(backend(context, &spec)?);
        let state = TaskState::open(&id, &spec.stores, backend, &identity)?;
        state.set_cache_bytes(CACHE_BYTES);
        let mut task = Task::new(id, spec, state, settings.policies)?;
        let mut starts = Vec::with_capacity(places.len());
        for place in &places {
            let start = log.start_offset(place)?;
            task.inputs.seek(place, start)?;
            starts.push((place.clone(), start));
        }
        let ends = log.end_offsets(&places, Isolation::ReadCommitted)?;
        let mut reader = log.reader(settings.restore_part_bytes())?;
        reader.assign(&starts)?;
        Ok(Self {
            task,
            reader,
            places,
            ends,
        })
    }

    /// Whether the stores have everything that was in their topics at the start.
    pub(super) fn is_filled(&self) -> bool {
        let mut places = self.places.iter().zip(&self.ends);
        places.all(|(place, end)| self.reader.position(place).unwrap_or(0) >= *end)
    }

    /// Takes the records that have come, or come within a time; returns whether the log answered.
    ///
    /// # Errors
    /// Anything else that fails has left rows behind to which nothing may be added.
    pub(super) fn take(&mut self, shared: &Shared, within: Duration) -> Result<bool> {
        let fetched = match self.reader.poll(FETCH_BYTES, within) {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!(%error, "reading the topics of the global stores again");
                return Ok(false);
            }
            fetched => fetched.map_err(in_a_store)?,
        };
        step(&fetched, &mut self.task, shared).map_err(in_a_store)?;
        Ok(true)
    }
}

fn in_a_store(error: Error) -> Error {
    error.context("a global store")
}

/// Where the rows of the global stores are: in memory, or in a directory that is emptied first, since they are
/// filled anew at each start.
fn backend(context: &Context, spec: &TaskSpec) -> Result<GlobalBackend> {
    let rows = context.layout.globals.of(&spec.stores)?;
    match context.settings.state_backend {
        StateBackend::Memory => Ok(GlobalBackend::in_memory(rows)),
        StateBackend::RocksDb => on_disk(context, spec, rows),
    }
}

/// The application has refused this at its start.
#[cfg(not(feature = "rocksdb"))]
fn on_disk(_: &Context, _: &TaskSpec, _: Vec<GlobalRows>) -> Result<GlobalBackend> {
    Err(without_rocksdb())
}

#[cfg(feature = "rocksdb")]
fn on_disk(context: &Context, spec: &TaskSpec, rows: Vec<GlobalRows>) -> Result<GlobalBackend> {
    let directory = context.state_directory()?;
    let path = directory.empty_global()?;
    let disk = RocksBackend::open(&path, &spec.stores, &context.budget)?;
    let limit = context.settings.globals_bytes();
    Ok(GlobalBackend::on_disk(rows, Box::new(disk), limit))
}

fn step(fetched: &[Fetched], task: &mut Task, shared: &Shared) -> Result<()> {
    for fetched in fetched {
        task.inputs.add(fetched)?;
    }
    for place in inputs(task.spec()) {
        // Here partitions do not wait for each other.
        task.inputs.set_end(&place, 0, 0)?;
    }
    match fetched.is_empty() {
        true => Ok(()),
        false => {
            let filled = task.fill(shared.context.env.wall_ms());
            let bytes = shared.context.layout.globals.memory_bytes();
            shared.status.report_globals(*task.drops(), bytes as u64);
            filled
        }
    }
}
