//! Draining: a task ends when its inputs have ended.

use std::sync::atomic::Ordering;

use super::outage::{Attempt, of_log};
use super::{SAY_AGAIN_MS, Worker};
use crate::base::Result;
use crate::log::{Isolation, Log, Reader};
use crate::runtime::layout::inputs;
use crate::runtime::open_task::{End, OpenTask};

/// How often a worker that has records checks which tasks have ended, in milliseconds.
const DRAIN_MS: u64 = 100;

impl Worker {
    /// Notices that a drain was requested: tasks that ended in an earlier one may have received more
    /// since.
    pub(super) fn note_drain(&mut self) {
        let asked = self.shared.drain_asked.load(Ordering::Acquire);
        if asked == self.drain_known {
            return;
        }
        if self.drain_known > 0 {
            for open in self.tasks.values_mut() {
                open.task.forget_ends();
                open.end = End::Open;
            }
        }
        self.drain_known = asked;
        self.report(true);
    }

    /// Whether a drain that this worker knows of is in progress.
    pub(super) fn is_draining(&self) -> bool {
        let number = self.shared.draining.load(Ordering::Acquire);
        number > 0 && number == self.drain_known
    }

    /// Ends the tasks whose input has ended.
    pub(super) fn drain(&mut self, records: usize) -> Attempt {
        let now_ms = self.context.env.monotonic_ms();
        // Clocks without records count as records too: those of silent inputs arrive until these have
        // ended.
        let is_due = records == 0 || now_ms >= self.drained_at_ms.saturating_add(DRAIN_MS);
        if !is_due || !self.is_draining() {
            return Ok(());
        }
        self.drained_at_ms = now_ms;
        let Self {
            context,
            tasks,
            reader,
            ..
        } = self;
        let say_again_ms = SAY_AGAIN_MS.max(3 * context.settings.commit_interval_ms);
        for (id, open) in tasks.iter_mut() {
            // A downstream task that moved to another instance may have started over. With feedback
            // edges, the task may in turn wait for that one.
            let has_news = open.task.has_ended() || open.task.has_ended_partly();
            if has_news && now_ms > open.end_reported_at_ms + say_again_ms {
                open.end_reported_at_ms = now_ms;
                open.task.repeat_clocks();
            }
            if open.task.has_ended() {
                pass_gaps(open, &**reader)?;
                continue;
            }
            if open.task.inputs.has_records() {
                continue;
            }
            set_ends(open, &*context.log, &**reader).map_err(of_log)?;
            let ended = open.task.drain(context.env.wall_ms());
            if ended.map_err(|error| error.context(format!("task {id}")))? {
                open.end_reported_at_ms = now_ms;
                tracing::info!(task = %id, "input ended");
            }
        }
        Ok(())
    }
}

/// Moves a task past offsets without records, so that others see that nothing follows its committed
/// offsets.
fn pass_gaps(open: &mut OpenTask, reader: &dyn Reader) -> Result<()> {
    for partition in inputs(open.task.spec()) {
        if let Some(position) = reader.position(&partition) {
            open.task.inputs.set_end(&partition, position, position)?;
        }
    }
    Ok(())
}

/// Tells a task where all its inputs now end.
fn set_ends(open: &mut OpenTask, log: &dyn Log, reader: &dyn Reader) -> Result<()> {
    let asked = inputs(open.task.spec());
    // Committed records that readers do not see yet must count before a task ends: a log may take a
    // moment to show them.
    let ends = log.end_offsets(&asked, Isolation::ReadUncommitted)?;
    for (partition, end) in asked.iter().zip(ends) {
        let position = reader.position(partition).unwrap_or(0);
        open.task.inputs.set_end(partition, end, position)?;
    }
    Ok(())
}
