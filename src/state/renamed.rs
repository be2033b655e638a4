//! Which of a task's rows are dropped when they move to a task of another name.

use super::{Backend, Rows, StoreSpec, meta};
use crate::base::Result;

/// Drops the times of the task and its position on the task changelog, and everything of the stores that
/// are `strange` to it: their rows belong to another time than those times.
///
/// # Errors
/// Those of the backend.
pub fn forget_moved(
    backend: &mut dyn Backend,
    specs: &[StoreSpec],
    strange: impl Fn(&str) -> bool,
) -> Result<()> {
    let column = specs.len();
    let mut rows = Rows::default();
    for (index, _) in specs
        .iter()
        .enumerate()
        .filter(|(_, spec)| strange(&spec.name))
    {
        rows.clear_column(index);
    }
    rows.delete_range(column, meta::TIMES, meta::TIMES_END);
    rows.delete(column, &meta::position_key(None));
    for spec in specs.iter().filter(|spec| strange(&spec.name)) {
        rows.delete(column, &meta::descriptor_key(&spec.name));
        rows.delete(column, &meta::position_key(Some(&spec.name)));
        let (from, to) = meta::segments_range(&spec.name);
        rows.delete_range(column, &from, &to);
    }
    backend.write(&rows)
}
