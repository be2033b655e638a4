//! One task on its way to a worker, as a state machine of bounded steps.
//!
//! ```text
//!  new --open--> planned --read a part, write it--> ... --> ready
//!   |                 |  ^      |
//!   +--- an error ----+  +------+ the next store
//! ```

use std::sync::Arc;
use std::time::Duration;

use super::backend::backend;
use super::kept_reader::KeptReader;
use super::restore::Restore;
use super::ticket::{Ready, Ticket};
use crate::base::{Error, ErrorKind, Result, TaskId, TopicPartition};
use crate::runtime::context::Context;
use crate::runtime::layout::{Layout, inputs};
use crate::runtime::moves::{Moved, Moves};
use crate::state::{Identity, StoredState};

/// The opening of one task.
pub(in crate::runtime) struct Job {
    pub(super) task: TaskId,
    pub(super) ticket: Arc<Ticket>,
    pub(super) number: u64,
    /// Whether to use a fresh directory if another worker has the task's own.
    fresh: bool,
    /// Whether the log returned nothing the last time.
    waits: bool,
    restore: Option<Box<Restore>>,
}

/// The next job is the one with the least left to do, so that tasks with little state run while a large one is
/// restored. Jobs that wait for the log come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    waits: bool,
    records_left: u64,
    /// In order of arrival.
    number: u64,
}

/// The result of a step.
pub(super) enum Stepped {
    More,
    /// The log returned nothing.
    Waits,
    Ready(Box<Ready>),
}

impl Job {
    pub(in crate::runtime) fn new(task: TaskId, fresh: bool) -> Self {
        Self {
            task,
            ticket: Arc::default(),
            number: 0,
            fresh,
            waits: false,
            restore: None,
        }
    }

    pub(super) fn is_new(&self) -> bool {
        self.restore.is_none()
    }

    pub(super) fn rank(&self) -> Rank {
        let restore = self.restore.as_deref();
        Rank {
            waits: self.waits,
            records_left: restore.map_or(0, Restore::records_left).max(0) as u64,
            number: self.number,
        }
    }

    /// Opens the task, or reads a part of a changelog and writes it.
    ///
    /// # Errors
    /// `Unavailable` for what may pass when the task is opened again, damaged rows among it, which are then rebuilt;
    /// those of the log and of the disk.
    pub(super) fn step(
        &mut self,
        context: &Context,
        moves: &Moves,
        reader: &mut KeptReader,
        wait: Duration,
    ) -> Result<Stepped> {
        self.advance(context, moves, reader, wait).map_err(|error| {
            match error.kind() == ErrorKind::Corrupt && context.will_rebuild(&self.task) {
                true => Error::new(
                    ErrorKind::Unavailable,
                    "its rows are damaged and will be rebuilt",
                )
                .with_source(error),
                false => error,
            }
        })
    }

    fn advance(
        &mut self,
        context: &Context,
        moves: &Moves,
        reader: &mut KeptReader,
        wait: Duration,
    ) -> Result<Stepped> {
        let Some(mut restore) = self.restore.take() else {
            let moved = moves.step(context, wait)?;
            self.waits = moved == Moved::Waits;
            match moved {
                Moved::Done => {}
                Moved::More => return Ok(Stepped::More),
                Moved::Waits => return Ok(Stepped::Waits),
            }
            self.restore = self.open(context, moves, reader, wait)?.map(Box::new);
            let planned = self.restore.as_deref();
            self.waits = planned.is_none();
            return match planned.is_some_and(Restore::is_done) {
                true => self.advance(context, moves, reader, wait),
                false if self.waits => Ok(Stepped::Waits),
                false => Ok(Stepped::More),
            };
        };
        let read = match restore.is_done() {
            true => true,
            false => restore.read((self.number, &self.ticket), reader, context, wait)?,
        };
        self.waits = !read;
        if !restore.is_done() {
            self.restore = Some(restore);
            return Ok(match read {
                true => Stepped::More,
                false => Stepped::Waits,
            });
        }
        reader.finish()?;
        restore.into_ready().map(Stepped::Ready)
    }

    /// Opens the task's rows and plans what is to be read; `None` if it was stopped in the meantime.
    fn open(
        &self,
        context: &Context,
        moves: &Moves,
        reader: &mut KeptReader,
        wait: Duration,
    ) -> Result<Option<Restore>> {
        let Context { layout, log, .. } = context;
        let spec = layout.spec(&self.task)?;
        let changelogs = layout.changelogs.get(&self.task).cloned();
        let changelogs = changelogs.unwrap_or_default();
        let partitions = inputs(spec);
        let committed = log.committed(&layout.application, &partitions)?;
        if committed.iter().all(Option::is_none) {
            for changelog in changelogs.iter().flatten() {
                let stopped = || context.shutdown.is_requested() || self.ticket.is_cancelled();
                match reader.holds_records(context, changelog, wait, &stopped)? {
                    None => return Ok(None),
                    Some(false) => {}
                    Some(true) => {
                        let now = log.committed(&layout.application, &partitions)?;
                        return Err(match now.iter().all(Option::is_none) {
                            true => state_without_offsets(layout, changelog, &partitions),
                            // This worker was suspended for so long that others have its task and have committed.
                            false => Error::new(
                                ErrorKind::Unavailable,
                                "another worker has committed the first records of the task in the meantime",
                            ),
                        });
                    }
                }
            }
        }
        let mut inputs = Vec::with_capacity(partitions.len());
        for (partition, committed) in partitions.into_iter().zip(committed) {
            let offset = match committed {
                Some(committed) => committed.offset,
                None => log.start_offset(&partition)?,
            };
            inputs.push((partition, offset));
        }
        let identity = Identity {
            application: layout.application.clone(),
            log_incarnation: log.incarnation(),
        };
        let (directory, backend) = backend(context, moves, &self.task, spec, self.fresh)?;
        let mut stored = StoredState::open(&self.task, &spec.stores, backend, &identity)?;
        stored.set_wall_ms(context.env.wall_ms());
        stored.set_part_bytes(context.settings.restore_part_bytes());
        let ready = Ready {
            stored,
            directory,
            changelogs,
            inputs,
            restored: 0,
        };
        let restore = Restore::plan(ready, &**log)?;
        let now_ms = context.env.monotonic_ms();
        self.ticket.begin(restore.records_left(), now_ms);
        Ok(Some(restore))
    }
}

/// Changelogs and offsets are committed together: changes without any offset belong to an application whose group
/// was deleted, and reading the input again would count it twice.
fn state_without_offsets(
    layout: &Layout,
    changelog: &TopicPartition,
    inputs: &[TopicPartition],
) -> Error {
    let inputs: Vec<_> = inputs.iter().map(ToString::to_string).collect();
    Error::invalid(format!(
        "{changelog} holds changes, but group {} has no committed offset of {} (deleting a topic also \
         deletes its offsets): to start over, delete the application's changelog and repartition topics as \
         well; otherwise set the group's offsets",
        layout.application,
        inputs.join(", ")
    ))
}
