//! The directory that held a task's rows when its sub-topology had another name.
//!
//! Rows belong to stores, and positions to the changelogs of stores: both remain valid under another name, and
//! rows without a changelog exist nowhere else. Times belong to another task changelog, where those that moved
//! were deleted; they are dropped, and read from the one that has them now:
//!
//! ```text
//!  tasks/<old>_<n>   1 drop times and the position on the task changelog, flush
//!                    2 rename it to tasks/<new>_<n>
//! ```
//! After a crash between the two the directory has no times; they are read again under either name.

use crate::base::{ErrorKind, Result, TaskId};
use crate::runtime::context::Context;
use crate::runtime::record::Homes;
use crate::state::{Backend, RocksBackend, StateDirectory, TaskDirectory, forget_moved};
use crate::task::TaskSpec;

/// Gives a task without a directory the one that held most of its stores before, if that is here and no task of
/// that name remains.
///
/// # Errors
/// Those of the disk. A damaged directory stays where it is: stores with changelogs are restored.
pub(super) fn take_over(
    context: &Context,
    directory: &StateDirectory,
    (task, claimed): (&TaskId, &TaskDirectory),
    spec: &TaskSpec,
    homes: &Homes,
) -> Result<()> {
    let was_in = |store: &str, part: &str| homes.before(store).iter().any(|name| name == part);
    let before = spec
        .stores
        .iter()
        .flat_map(|store| homes.before(&store.name));
    let before = before.map(|part| TaskId::new(part.as_str(), task.partition));
    let here = before
        .filter(|old| !context.layout.specs.contains_key(old) && directory.task_path(old).exists())
        .filter(|old| !directory.is_damaged(old));
    let stores = |old: &TaskId| {
        let stores = spec.stores.iter();
        stores
            .filter(|store| was_in(&store.name, &old.subtopology))
            .count()
    };
    let Some(old) = here.max_by_key(|old| (stores(old), std::cmp::Reverse(old.clone()))) else {
        return Ok(());
    };
    let path = directory.task_path(&old);
    let strange = |name: &str| !was_in(name, &old.subtopology);
    let forget = || {
        let mut rows = RocksBackend::open(&path, &spec.stores, &context.budget)?;
        forget_moved(&mut rows, &spec.stores, strange)?;
        rows.flush()
    };
    match forget() {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            tracing::warn!(%task, %error, "the rows that the task had under another name are damaged; rebuilding them");
            return Ok(());
        }
        forgotten => forgotten?,
    }
    directory.rename_task(&old, claimed)?;
    tracing::info!(%task, %old, "the rows of the task have been taken over from its earlier name");
    Ok(())
}
