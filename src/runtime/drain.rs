//! A drain as its initiator sees it, and whether all tasks of an application have ended, including those
//! of other instances.
//!
//! A task records its end in the note of its committed offsets. It has ended as long as there is nothing
//! after them: a commit that writes to a repartition topic advances that topic's end at once, so nothing
//! can hide between the offsets of the writing and the reading task.

use std::sync::atomic::Ordering;

use super::commit::ENDED;
use super::layout::{Layout, inputs};
use super::shared::Shared;
use super::snapshot::State;
use crate::base::Result;
use crate::log::{Isolation, Log};

/// How often the log is asked for the progress of other instances, in milliseconds.
const ASK_MS: u64 = 100;

/// A requested drain: checked until it is done.
pub(super) struct Drain {
    number: u64,
    asked_at_ms: u64,
}

impl Drain {
    /// Requests a drain, or continues the one that has not finished.
    pub(super) fn begin(shared: &Shared) -> Self {
        // A drain that took too long continues; after one that has finished, a new one begins.
        let mut number = shared.draining.load(Ordering::Acquire);
        if number == 0 {
            number = shared.drain_asked.fetch_add(1, Ordering::AcqRel) + 1;
        }
        shared.status.enter(State::Draining);
        Self {
            number,
            asked_at_ms: 0,
        }
    }

    /// Whether the input has ended.
    pub(super) fn is_done(&mut self, shared: &Shared) -> bool {
        let number = self.number;
        let known = shared.status.know_drain(number);
        // Forgetting an end after another task has already reported it again would lose it.
        if number > 1 && !known {
            return false;
        }
        shared.draining.store(number, Ordering::Release);
        let now_ms = shared.context.env.monotonic_ms();
        let tasks = shared.status.tasks();
        if !known || shared.status.is_opening() || !tasks.values().all(|ended| *ended) {
            return false;
        }
        // A record may have reached a task after it was seen to have ended, and other instances may have
        // the rest.
        if now_ms < self.asked_at_ms + ASK_MS {
            return false;
        }
        self.asked_at_ms = now_ms;
        let ended =
            has_ended(&shared.context.layout, &*shared.context.log).unwrap_or_else(|error| {
                tracing::debug!(%error, "checking whether the other instances have ended");
                false
            });
        if ended {
            shared.draining.store(0, Ordering::Release);
        }
        ended
    }
}

/// Asks the log whether every input of every task has been read to its end and its task has ended.
///
/// # Errors
/// As those of the log.
pub(super) fn has_ended(layout: &Layout, log: &dyn Log) -> Result<bool> {
    let inputs: Vec<_> = layout
        .specs
        .values()
        .flat_map(|spec| inputs(spec))
        .collect();
    let committed = log.committed(&layout.application, &inputs)?;
    // A task without a note has committed since then, or has committed nothing yet.
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
