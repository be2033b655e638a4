//! A task held by a worker: the task, its changelogs, and its last commit.

use std::sync::Arc;

use super::committed_tasks::{CommittedTasks, Registered};
use super::context::Context;
use super::figures::Written;
use super::hooks::{Hooks, Point};
use super::opening::Ready;
use super::settings::StateBackend;
use crate::base::{Offset, Result, TaskId, TopicPartition};
use crate::log::{CommittedOffset, Log};
use crate::state::{StoreFigures, TaskDirectory};
use crate::task::{HeldBack, InputSpec, Task};

/// The minimum interval at which a task sends a clock alone to a partition, in milliseconds.
const CLOCK_INTERVAL_MS: i64 = 1_000;

/// Moves a task's inputs to their committed offsets, or to the start of what is there.
///
/// # Errors
/// As those of the log.
pub(super) fn seek(
    log: &dyn Log,
    task: &mut Task,
    partitions: &[TopicPartition],
    offsets: &[Option<CommittedOffset>],
) -> Result<Vec<Offset>> {
    let mut committed = Vec::with_capacity(partitions.len());
    for (partition, offset) in partitions.iter().zip(offsets) {
        let offset = match offset {
            Some(offset) => offset.offset,
            None => log.start_offset(partition)?,
        };
        task.inputs.seek(partition, offset)?;
        committed.push(offset);
    }
    Ok(committed)
}

/// How far the commits of a task have come with its end.
///
/// ```text
///  Open --sealed when it had ended--> Sealed --applied--> Committed
///   |  ^-- more records, an abort -------'                     ^  |
///   |  ^-- more records, another drain ------------------------|--'
///   '-- it had ended, and nothing is left to commit -----------'
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has not ended, or the last commit does not know that it has.
    Open,
    /// It had ended when the commit in flight was sealed.
    Sealed,
    /// It has ended, and everything of it is committed.
    Committed,
}

/// A working task.
pub(super) struct OpenTask {
    /// Dropped before the task's rows are closed.
    pub(super) registered: Registered,
    pub(super) task: Task,
    /// Dropped after the task's rows are closed, which are declared before it.
    pub(super) _directory: Option<TaskDirectory>,
    /// The changelog of each store and last of the task.
    pub(super) changelogs: Vec<Option<TopicPartition>>,
    /// The committed offsets, in the order of the inputs.
    pub(super) committed: Vec<Offset>,
    /// Where it resumed when it was opened.
    pub(super) resumed_at: Vec<(TopicPartition, Offset)>,
    /// Changelog records read when it was opened.
    pub(super) restored: u64,
    /// Whether it is part of the commit in flight.
    pub(super) sealed: bool,
    /// Whether some of its outputs were committed without its progress.
    pub(super) staged: bool,
    /// How far the commits have come with its end.
    pub(super) end: End,
    /// Whether the last sealed offsets record that it has ended, for other instances.
    pub(super) end_recorded: bool,
    /// When its end was last reported downstream, by the monotonic clock.
    pub(super) end_reported_at_ms: u64,
    /// When a record was last processed, by the monotonic clock.
    pub(super) busy_at_ms: u64,
    /// When its rows were last flushed to disk, or it was opened, by the monotonic clock.
    pub(super) flushed_at_ms: u64,
    /// For each input, the silence after which it no longer holds back time, in milliseconds; `None` for
    /// never, and for repartition topics.
    pub(super) idle_timeouts_ms: Vec<Option<u64>>,
    /// When its silence was last renewed, by the monotonic clock; `None` while no input is silent.
    pub(super) renewed_at_ms: Option<u64>,
    /// Which origin its windows wait for, and since when, by the monotonic clock; updated once a second.
    pub(super) waits: Option<(HeldBack, u64)>,
    /// The positions sealed into the commit in flight.
    pub(super) committing: Vec<Offset>,
    /// What it has written.
    pub(super) written: Written,
    /// The size of its stores, and when it was queried, by the monotonic clock.
    pub(super) stores: Vec<StoreFigures>,
    pub(super) stores_at_ms: Option<u64>,
}

impl OpenTask {
    /// Wires a task over its rows, and moves its inputs to where it continues.
    ///
    /// # Errors
    /// Errors of the topology, with the task's name.
    pub(super) fn of(
        context: &Context,
        committed: &Arc<CommittedTasks>,
        id: &TaskId,
        ready: Ready,
    ) -> Result<Self> {
        Self::wire(context, committed, id, ready)
            .map_err(|error| error.context(format!("task {id}")))
    }

    fn wire(
        context: &Context,
        committed: &Arc<CommittedTasks>,
        id: &TaskId,
        ready: Ready,
    ) -> Result<Self> {
        let Context {
            layout, settings, ..
        } = context;
        let spec = layout.spec(id)?;
        let state = ready.stored.into_state();
        let on_disk = settings.state_backend == StateBackend::RocksDb;
        let has_globals = on_disk && layout.global.is_some();
        state.set_cache_bytes(settings.cache_bytes(layout.specs.len(), has_globals));
        let mut task = Task::new(id.clone(), Arc::clone(spec), state, settings.policies)?;
        for (partition, offset) in &ready.inputs {
            task.inputs.seek(partition, *offset)?;
        }
        task.set_timestamp_ahead_max_ms(settings.timestamp_ahead_max_ms);
        task.effects().set_clock_interval_ms(CLOCK_INTERVAL_MS);
        let positions: Vec<Offset> = ready.inputs.iter().map(|(_, offset)| *offset).collect();
        let idle = |input: &InputSpec| {
            let declared = layout.idle_timeouts_ms.get(&input.source).copied();
            let timeout_ms = declared.unwrap_or(settings.idle_timeout_ms);
            timeout_ms.filter(|_| input.origins.is_none())
        };
        let idle_timeouts_ms = spec.inputs.iter().map(idle).collect();
        let now_ms = context.env.monotonic_ms();
        Ok(Self {
            registered: Registered::new(committed, spec, &task.state, ready.inputs.clone()),
            task,
            _directory: ready.directory,
            changelogs: ready.changelogs,
            resumed_at: ready.inputs,
            committing: positions.clone(),
            committed: positions,
            restored: ready.restored,
            sealed: false,
            staged: false,
            end: End::Open,
            end_recorded: false,
            end_reported_at_ms: 0,
            busy_at_ms: now_ms,
            flushed_at_ms: now_ms,
            idle_timeouts_ms,
            renewed_at_ms: None,
            waits: None,
            written: Written::default(),
            stores: Vec::new(),
            stores_at_ms: None,
        })
    }

    /// Whether a commit would have anything to save.
    pub(super) fn is_dirty(&mut self) -> bool {
        self.staged
            || self.task.effects().records() > 0
            || self.task.state.dirty_bytes() > 0
            || self.task.state.has_new_times()
            || self.task.has_ended() != self.end_recorded
            || self
                .task
                .inputs
                .progress()
                .zip(&self.committing)
                .any(|(input, committed)| input.position != *committed)
    }

    /// Whether its rows were found to be damaged and will be rebuilt from changelogs by whoever opens them next.
    pub(super) fn must_be_rebuilt(&self) -> bool {
        self.task.state.is_damaged() && self.task.spec().is_rebuildable()
    }

    /// Writes committed rows to disk, for a clean close. Damaged ones need not get there.
    pub(super) fn flush(&mut self, hooks: &dyn Hooks) -> Result<()> {
        hooks.reached(Point::BeforeFlush);
        match self.task.state.flush() {
            Err(error) if self.must_be_rebuilt() => {
                tracing::warn!(task = %self.task.id(), %error, "the task's rows are damaged; the next owner rebuilds them");
            }
            flushed => flushed?,
        }
        hooks.reached(Point::Flushed);
        Ok(())
    }
}
