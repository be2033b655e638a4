//! Whether all tasks of an application have ended, those of other instances included.
//!
//! A task says its end in the note of its committed offsets. It has ended as long as there is nothing
//! behind them: a commit that writes to a repartition topic moves that topic's end at once, so between
//! the offsets of who wrote and who reads nothing can hide.

use super::commit::ENDED;
use super::layout::{Layout, inputs};
use crate::base::Result;
use crate::log::{Isolation, Log};

/// Asks the log whether every input of every task is read to its end and its task has ended.
///
/// # Errors
/// Those of the log.
pub(super) fn has_ended(layout: &Layout, log: &dyn Log) -> Result<bool> {
    let inputs: Vec<_> = layout
        .specs
        .values()
        .flat_map(|spec| inputs(spec))
        .collect();
    let committed = log.committed(&layout.application, &inputs)?;
    // A task without a note has committed since, or nothing yet.
    let all_noted = committed.iter().all(|offset| {
        offset
            .as_ref()
            .is_some_and(|offset| offset.metadata == ENDED)
    });
    if !all_noted {
        return Ok(false);
    }
    let ends = log.end_offsets(&inputs, Isolation::ReadUncommitted)?;
    let mut read = committed.iter().flatten().zip(ends);
    Ok(read.all(|(committed, end)| committed.offset >= end))
}
