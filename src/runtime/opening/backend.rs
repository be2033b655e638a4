//! Where the rows of a task are: in memory, or in its directory.

#[cfg(feature = "rocksdb")]
use super::renamed::take_over;
#[cfg(feature = "rocksdb")]
use crate::base::ErrorKind;
use crate::base::{Result, TaskId};
use crate::runtime::context::Context;
#[cfg(not(feature = "rocksdb"))]
use crate::runtime::context::without_rocksdb;
use crate::runtime::moves::Moves;
use crate::runtime::settings::StateBackend;
#[cfg(feature = "rocksdb")]
use crate::state::RocksBackend;
use crate::state::{Backend, MemoryBackend, TaskDirectory};
use crate::task::TaskSpec;

/// The rows of a task, and their directory.
pub(super) fn backend(
    context: &Context,
    moves: &Moves,
    task: &TaskId,
    spec: &TaskSpec,
    fresh: bool,
) -> Result<(Option<TaskDirectory>, Box<dyn Backend>)> {
    if context.settings.state_backend == StateBackend::Memory || !spec.is_stateful() {
        return Ok((None, Box::new(MemoryBackend::new())));
    }
    on_disk(context, moves, task, spec, fresh)
}

/// The application has refused this at its start.
#[cfg(not(feature = "rocksdb"))]
fn on_disk(
    _: &Context,
    _: &Moves,
    _: &TaskId,
    _: &TaskSpec,
    _: bool,
) -> Result<(Option<TaskDirectory>, Box<dyn Backend>)> {
    Err(without_rocksdb())
}

#[cfg(feature = "rocksdb")]
fn on_disk(
    context: &Context,
    moves: &Moves,
    task: &TaskId,
    spec: &TaskSpec,
    fresh: bool,
) -> Result<(Option<TaskDirectory>, Box<dyn Backend>)> {
    let directory = context.state_directory()?;
    // Rows without a changelog are not abandoned.
    let rebuildable = spec.is_rebuildable();
    let claimed = directory.claim(task, fresh && rebuildable)?;
    if !claimed.path().exists()
        && let Some(homes) = moves.homes()
    {
        take_over(context, directory, (task, &claimed), spec, &homes)?;
    }
    if rebuildable && claimed.is_damaged() {
        directory.empty(&claimed)?;
    }
    let open = || RocksBackend::open(claimed.path(), &spec.stores, &context.budget);
    let backend = match open() {
        Err(error) if error.kind() == ErrorKind::Corrupt && rebuildable => {
            tracing::warn!(%task, %error, "the task's rows are damaged; rebuilding them from the changelogs");
            directory.empty(&claimed)?;
            open()?
        }
        opened => opened?,
    };
    Ok((Some(claimed), Box::new(backend)))
}
