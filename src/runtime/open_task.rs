//! A task that a worker holds: the task, its changelogs, and what it last committed.

use std::sync::Arc;

use super::hooks::{Hooks, Point};
use super::layout::{Layout, inputs};
use super::restore::{holds_records, restore};
use super::{Settings, StateBackend};
use crate::base::{Error, ErrorKind, Offset, Result, TaskId, TopicPartition};
use crate::disk::Budget;
use crate::log::{CommittedOffset, Log};
use crate::state::{Backend, Identity, MemoryBackend, RocksBackend, StateDirectory, StoredState};
use crate::task::{InputSpec, Task};

/// What opening a task needs of its worker.
pub(super) struct Opening<'a> {
    pub(super) layout: &'a Layout,
    pub(super) log: &'a dyn Log,
    pub(super) settings: &'a Settings,
    pub(super) directory: Option<&'a StateDirectory>,
    pub(super) budget: &'a Budget,
    pub(super) hooks: &'a dyn Hooks,
    /// The wall clock, in milliseconds since 1970.
    pub(super) wall_ms: i64,
}

/// A task at work.
pub(super) struct OpenTask {
    pub(super) task: Task,
    /// The changelog of each store and last of the task.
    pub(super) changelogs: Vec<Option<TopicPartition>>,
    /// The offsets that are committed, in the order of the inputs.
    pub(super) committed: Vec<Offset>,
    /// Where it resumed when it was opened.
    pub(super) resumed_at: Vec<(TopicPartition, Offset)>,
    /// Changelog records read when it was opened.
    pub(super) restored: u64,
    /// Whether it is part of the commit in flight.
    pub(super) sealed: bool,
    /// Whether it ended and everything of it is committed.
    pub(super) ended: bool,
    /// Whether it had ended when the commit in flight was sealed.
    pub(super) ending: bool,
    /// Whether the offsets sealed last say that it ended, for other instances.
    pub(super) told_end: bool,
    /// When its end was last said downstream, by the monotonic clock.
    pub(super) said_end_at_ms: u64,
    /// When a record was last taken, by the monotonic clock.
    pub(super) busy_at_ms: u64,
    /// When its rows were last brought to the disk, or it was opened, by the monotonic clock.
    pub(super) flushed_at_ms: u64,
    /// For each input the silence after which it no longer holds time back, in milliseconds; `None`
    /// for never, and for repartition topics.
    pub(super) idle_timeouts_ms: Vec<Option<u64>>,
    /// When its silence was last renewed, by the monotonic clock; `None` while no input is silent.
    pub(super) renewed_at_ms: Option<u64>,
    /// How far the slowest of its origins had come, and since when, by the monotonic clock.
    pub(super) waits: Option<(i64, u64)>,
    /// The positions sealed into the commit in flight.
    pub(super) committing: Vec<Offset>,
}

impl Opening<'_> {
    /// Opens a task's state, restores it and wires the task.
    ///
    /// # Errors
    /// What the state directory, the log or the topology report, with the task's name.
    pub(super) fn open(
        &self,
        id: &TaskId,
        alive: &mut dyn FnMut() -> Result<()>,
    ) -> Result<OpenTask> {
        self.try_open(id, alive)
            .map_err(|error| error.context(format!("task {id}")))
    }

    fn try_open(&self, id: &TaskId, alive: &mut dyn FnMut() -> Result<()>) -> Result<OpenTask> {
        let spec = self.layout.spec(id)?;
        let changelogs = self.layout.changelogs.get(id).cloned().unwrap_or_default();
        let identity = Identity {
            application: self.layout.application.clone(),
            log_incarnation: self.log.incarnation(),
        };
        let mut state = StoredState::open(id, &spec.stores, self.backend(id)?, &identity)?;
        state.set_wall_ms(self.wall_ms);
        let partitions = inputs(spec);
        let offsets = self.log.committed(&self.layout.application, &partitions)?;
        if offsets.iter().all(Option::is_none) {
            self.refuse_state_without_offsets(&changelogs, alive)?;
        }
        let restored = restore(&mut state, &changelogs, self.log, self.hooks, alive)?;
        let state = state.into_state();
        state.set_cache_bytes(self.settings.cache_bytes(self.layout.specs.len()));
        let mut task = Task::new(id.clone(), Arc::clone(spec), state, self.settings.policies)?;
        let committed = self.seek(&mut task, &partitions, &offsets)?;
        task.set_timestamp_ahead_max_ms(self.settings.timestamp_ahead_max_ms);
        task.effects()
            .set_clock_interval_ms(self.layout.clock_interval_ms);
        let idle = |input: &InputSpec| {
            let declared = self.layout.idle_timeouts_ms.get(&input.source).copied();
            let timeout_ms = declared.unwrap_or(self.settings.idle_timeout_ms);
            timeout_ms.filter(|_| input.origins.is_none())
        };
        let idle_timeouts_ms = spec.inputs.iter().map(idle).collect();
        Ok(OpenTask {
            task,
            changelogs,
            resumed_at: partitions
                .into_iter()
                .zip(committed.iter().copied())
                .collect(),
            committing: committed.clone(),
            committed,
            restored,
            sealed: false,
            ended: false,
            ending: false,
            told_end: false,
            said_end_at_ms: 0,
            busy_at_ms: 0,
            flushed_at_ms: 0,
            idle_timeouts_ms,
            renewed_at_ms: None,
            waits: None,
        })
    }

    /// Changelogs and offsets are committed together: changes without any offset are those of an
    /// application whose group was deleted, and reading the input anew would count it twice.
    fn refuse_state_without_offsets(
        &self,
        changelogs: &[Option<TopicPartition>],
        alive: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        for changelog in changelogs.iter().flatten() {
            if holds_records(self.log, changelog, alive)? {
                return Err(Error::invalid(format!(
                    "{changelog} holds changes, but group {} has no committed offset: to begin anew \
                     delete the application's changelog and repartition topics as well; otherwise \
                     set the group's offsets",
                    self.layout.application
                )));
            }
        }
        Ok(())
    }

    /// Puts a task's inputs at their committed offsets, or at the start of what is there.
    pub(super) fn seek(
        &self,
        task: &mut Task,
        partitions: &[TopicPartition],
        offsets: &[Option<CommittedOffset>],
    ) -> Result<Vec<Offset>> {
        let mut committed = Vec::with_capacity(partitions.len());
        for (partition, offset) in partitions.iter().zip(offsets) {
            let offset = match offset {
                Some(offset) => offset.offset,
                None => self.log.start_offset(partition)?,
            };
            task.inputs.seek(partition, offset)?;
            committed.push(offset);
        }
        Ok(committed)
    }

    fn backend(&self, id: &TaskId) -> Result<Box<dyn Backend>> {
        let spec = self.layout.spec(id)?;
        if self.settings.state_backend == StateBackend::Memory || !spec.is_stateful() {
            return Ok(Box::new(MemoryBackend::new()));
        }
        let directory = self.directory.ok_or_else(|| {
            Error::invalid("state in RocksDB needs a directory; set `state_directory`")
        })?;
        let path = directory.task_path(id);
        let opened = RocksBackend::open(&path, &spec.stores, self.budget);
        let rebuilt = |error: Error| match error.kind() {
            ErrorKind::Corrupt => {
                let place = path.display();
                error.context(format!(
                    "the state can be rebuilt: delete {place} and start again"
                ))
            }
            _ => error,
        };
        Ok(Box::new(opened.map_err(rebuilt)?))
    }
}

impl OpenTask {
    /// Whether there is anything that a commit would keep.
    pub(super) fn is_dirty(&mut self) -> bool {
        self.task.effects().records() > 0
            || self.task.state.dirty_bytes() > 0
            || self.task.state.has_new_times()
            || self.task.has_ended() != self.told_end
            || self
                .task
                .inputs
                .progress()
                .zip(&self.committing)
                .any(|(input, committed)| input.position != *committed)
    }

    /// Writes committed rows to the disk, for a clean close.
    pub(super) fn flush(&mut self, hooks: &dyn Hooks) -> Result<()> {
        hooks.reached(Point::BeforeFlush);
        self.task.state.flush()?;
        hooks.reached(Point::Flushed);
        Ok(())
    }
}
