//! Spans of what takes time: one for each step of a task, each commit and each restore of a store, none for a record.
//!
//! They are at the level `DEBUG`, under one target, so that a subscriber can choose them without everything else of
//! that level. Where nobody has chosen them, a step costs one look at the level; nothing is formatted, nor counted,
//! for a span that is disabled. `docs/admin.md` lists their fields.

use tracing::field::Empty;
use tracing::{Span, debug_span};

use crate::base::{TaskId, TopicPartition};
use crate::log::Batch;
use crate::task::{Task, Traffic};

/// The target of all of them.
const TARGET: &str = "marea::spans";

/// The span of a step.
pub(super) struct StepSpan {
    span: Span,
    before: Traffic,
}

impl StepSpan {
    /// The span of the next step of a task; none if it has nothing to do.
    pub(super) fn begin(task: &TaskId, of: &Task, has_timer: bool) -> Self {
        let none = Self {
            span: Span::none(),
            before: Traffic::default(),
        };
        // What follows may cost more than a step without records.
        if tracing::level_filters::LevelFilter::current() < tracing::Level::DEBUG {
            return none;
        }
        let has_records = of.inputs.has_records() && !of.inputs.is_waiting();
        if !has_records && !has_timer {
            return none;
        }
        let span = debug_span!(target: TARGET, "step", %task, records = Empty, bytes = Empty);
        let before = match span.is_disabled() {
            true => Traffic::default(),
            false => taken(of),
        };
        Self { span, before }
    }

    /// Runs the step within the span.
    pub(super) fn run<R>(&self, step: impl FnOnce() -> R) -> R {
        self.span.in_scope(step)
    }

    /// Records what the step took, and closes the span.
    pub(super) fn end(self, of: &Task) {
        if !self.span.is_disabled() {
            let taken = taken(of);
            let records = taken.records - self.before.records;
            self.span.record("records", records);
            self.span.record("bytes", taken.bytes - self.before.bytes);
        }
    }
}

/// What a task has taken from its inputs so far.
fn taken(task: &Task) -> Traffic {
    let mut taken = Traffic::default();
    task.input_figures()
        .for_each(|(_, figures)| taken.add(figures.taken));
    taken
}

/// The span of a commit, from its submission to its outcome.
pub(super) fn commit(tasks: usize, bytes: usize, appends: &[(TopicPartition, Batch)]) -> Span {
    let span = debug_span!(
        target: TARGET, "commit", tasks, records = Empty, bytes, duration_us = Empty
    );
    if !span.is_disabled() {
        let records = appends.iter().map(|(_, batch)| batch.record_count());
        span.record("records", records.map(u64::from).sum::<u64>());
    }
    span
}

/// Records that a commit is definite, and how long it took from its sealing on, in nanoseconds.
pub(super) fn committed(span: &Span, duration_ns: u64) {
    span.record("duration_us", duration_ns / 1_000);
}

/// The span of reading a store's changelog.
pub(super) fn restore(task: &TaskId, store: &str, partition: &TopicPartition) -> Span {
    debug_span!(target: TARGET, "restore", %task, store, %partition, records = Empty)
}

/// Records how many records of its changelog a store was restored from.
pub(super) fn restored(span: &Span, records: u64) {
    span.record("records", records);
}
