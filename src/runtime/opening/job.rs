//! One task on its way to a worker, as a state machine of bounded steps.
//!
//! ```text
//!  new --open--> planned --read a part, write it--> ... --> ready
//!   |                 |  ^      |
//!   +--- an error ----+  +------+ the next store
//! ```
//!
//! Rows are kept as long as they are valid: reading begins at the stored position, or at the beginning if there is
//! none, or if the log is shorter than the position or may have lost deletions since.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::backend::backend;
use super::queue::Rank;
use super::restorer::Restorer;
use crate::base::{Error, ErrorKind, Offset, Result, TaskId, TopicPartition};
use crate::log::{Cleanup, Isolation, Log, Reader};
use crate::runtime::hooks::Point;
use crate::runtime::layout;
use crate::runtime::layout::inputs;
use crate::runtime::moves::Moved;
use crate::runtime::worker::Shared;
use crate::state::{Identity, StoredState, TaskDirectory};

/// How much a restore fetches at a time, in bytes.
const FETCH_BYTES: usize = 4 << 20;
/// Rows that were last known to be fresh this long ago are flushed when they are fresh again, in milliseconds:
/// after a crash they must not look old.
const FLUSH_AFTER_MS: i64 = 60 * 60 * 1_000;

/// The time of a position is not written again while it is younger than this, in milliseconds: a start that finds
/// everything in place writes nothing.
const FRESH_FOR_MS: i64 = 60 * 1_000;

/// A restored task: what a worker makes it from.
pub(in crate::runtime) struct Ready {
    /// Declared before the directory, which is released when the database is closed.
    pub(in crate::runtime) stored: StoredState,
    pub(in crate::runtime) directory: Option<TaskDirectory>,
    pub(in crate::runtime) changelogs: Vec<Option<TopicPartition>>,
    /// Its inputs, and where to read them from.
    pub(in crate::runtime) inputs: Vec<(TopicPartition, Offset)>,
    /// Changelog records read.
    pub(in crate::runtime) restored: u64,
}

/// How a worker follows its job.
#[derive(Default)]
pub(super) struct Ticket {
    pub(super) cancelled: AtomicBool,
    records: AtomicU64,
    records_total: AtomicU64,
    /// When reading began, by the monotonic clock; 0 before.
    since_ms: AtomicU64,
    outcome: Mutex<Option<Result<Box<Ready>>>>,
}

impl Ticket {
    pub(super) fn answer(&self, outcome: Result<Box<Ready>>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    pub(super) fn take(&self) -> Option<Result<Box<Ready>>> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.take()
    }

    /// Records done, and records to do.
    pub(super) fn progress(&self) -> (u64, u64) {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (of(&self.records), of(&self.records_total))
    }

    /// For how long the changelogs have been read.
    pub(super) fn reading_ms(&self, now_ms: u64) -> u64 {
        match self.since_ms.load(Ordering::Relaxed) {
            0 => 0,
            since_ms => now_ms.saturating_sub(since_ms),
        }
    }
}

/// The opening of one task.
pub(in crate::runtime) struct Job {
    pub(super) task: TaskId,
    pub(super) ticket: Arc<Ticket>,
    pub(super) number: u64,
    /// Whether to use a fresh directory if another worker has the task's own.
    fresh: bool,
    /// Whether the log returned nothing the last time.
    waits: bool,
    work: Option<Box<Work>>,
}

struct Work {
    ready: Ready,
    stores: Vec<ToRestore>,
    /// The index of the next one.
    at: usize,
    /// Whether to flush the rows at the end.
    flush: bool,
}

struct ToRestore {
    store: usize,
    partition: TopicPartition,
    next: Offset,
    end: Offset,
    from_scratch: bool,
    begun: bool,
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
            work: None,
        }
    }

    pub(super) fn is_new(&self) -> bool {
        self.work.is_none()
    }

    pub(super) fn rank(&self) -> Rank {
        let left = |work: &Work| -> Offset {
            let stores = work.stores[work.at..].iter();
            stores.map(|store| store.end - store.next).sum()
        };
        Rank {
            waits: self.waits,
            records_left: self.work.as_deref().map_or(0, left).max(0) as u64,
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
        restorer: &mut Restorer,
        shared: &Shared,
        wait: Duration,
    ) -> Result<Stepped> {
        self.advance(restorer, shared, wait).map_err(|error| {
            match error.kind() == ErrorKind::Corrupt && shared.will_rebuild(&self.task) {
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
        restorer: &mut Restorer,
        shared: &Shared,
        wait: Duration,
    ) -> Result<Stepped> {
        let Some(mut work) = self.work.take() else {
            let moved = shared.moves.step(shared, wait)?;
            self.waits = moved == Moved::Waits;
            match moved {
                Moved::Done => {}
                Moved::More => return Ok(Stepped::More),
                Moved::Waits => return Ok(Stepped::Waits),
            }
            self.work = self.open(restorer, shared, wait)?.map(Box::new);
            let planned = self.work.as_deref();
            self.waits = planned.is_none();
            return match planned.is_some_and(|work| work.stores.is_empty()) {
                true => self.advance(restorer, shared, wait),
                false if self.waits => Ok(Stepped::Waits),
                false => Ok(Stepped::More),
            };
        };
        let read = match work.stores.is_empty() {
            true => true,
            false => work.read(self.number, &self.ticket, restorer, shared, wait)?,
        };
        self.waits = !read;
        if work.at < work.stores.len() {
            self.work = Some(work);
            return Ok(match read {
                true => Stepped::More,
                false => Stepped::Waits,
            });
        }
        if restorer.reads.take().is_some()
            && let Some(reader) = &mut restorer.reader
        {
            // It would fetch what the task writes from now on.
            reader.assign(&[])?;
        }
        if work.flush {
            work.ready.stored.flush()?;
        }
        Ok(Stepped::Ready(Box::new(work.ready)))
    }

    /// Opens the task's rows and plans what is to be read; `None` if it was stopped in the meantime.
    fn open(
        &self,
        restorer: &mut Restorer,
        shared: &Shared,
        wait: Duration,
    ) -> Result<Option<Work>> {
        let Shared { layout, log, .. } = shared;
        let spec = layout.spec(&self.task)?;
        let changelogs = layout.changelogs.get(&self.task).cloned();
        let changelogs = changelogs.unwrap_or_default();
        let partitions = inputs(spec);
        let committed = log.committed(&layout.application, &partitions)?;
        if committed.iter().all(Option::is_none) {
            for changelog in changelogs.iter().flatten() {
                let stopped = || {
                    shared.stop.load(Ordering::Acquire)
                        || self.ticket.cancelled.load(Ordering::Acquire)
                };
                match holds_records(shared, restorer, changelog, wait, &stopped)? {
                    None => return Ok(None),
                    Some(false) => {}
                    Some(true) => {
                        return Err(state_without_offsets(layout, changelog, &partitions));
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
        let (directory, backend) = backend(shared, &self.task, spec, self.fresh)?;
        let mut stored = StoredState::open(&self.task, &spec.stores, backend, &identity)?;
        stored.set_wall_ms(shared.env.wall_ms());
        stored.set_part_bytes(shared.settings.restore_part_bytes());
        let mut work = Work {
            ready: Ready {
                stored,
                directory,
                changelogs,
                inputs,
                restored: 0,
            },
            stores: Vec::new(),
            at: 0,
            flush: false,
        };
        work.plan(&**log)?;
        let total: Offset = work.stores.iter().map(|store| store.end - store.next).sum();
        let Ticket {
            records_total,
            since_ms,
            ..
        } = &*self.ticket;
        records_total.store(total.max(0) as u64, Ordering::Relaxed);
        since_ms.store(shared.env.monotonic_ms().max(1), Ordering::Relaxed);
        Ok(Some(work))
    }
}

/// Changelogs and offsets are committed together: changes without any offset belong to an application whose group
/// was deleted, and reading the input again would count it twice.
fn state_without_offsets(
    layout: &layout::Layout,
    changelog: &TopicPartition,
    inputs: &[TopicPartition],
) -> Error {
    let inputs: Vec<_> = inputs.iter().map(ToString::to_string).collect();
    Error::invalid(format!(
        "{changelog} holds changes, but group {} has no committed offset of {} (with a topic that is deleted its \
         offsets go too): to begin anew delete the application's changelog and repartition topics as well; \
         otherwise set the group's offsets",
        layout.application,
        inputs.join(", ")
    ))
}

impl Work {
    /// Decides what to read of each changelog. A store whose rows are at its end is fresh as of now.
    fn plan(&mut self, log: &dyn Log) -> Result<()> {
        let Ready {
            stored, changelogs, ..
        } = &mut self.ready;
        let logged = changelogs.iter().enumerate();
        let logged: Vec<(usize, &TopicPartition)> = logged
            .filter_map(|(store, changelog)| Some((store, changelog.as_ref()?)))
            .collect();
        let asked: Vec<_> = logged
            .iter()
            .map(|(_, changelog)| (*changelog).clone())
            .collect();
        let ends = log.end_offsets(&asked, Isolation::ReadUncommitted)?;
        for ((store, partition), end) in logged.into_iter().zip(ends) {
            let mut position = stored.position(store).filter(|position| *position <= end);
            if position.is_some_and(|position| position < end)
                && has_forgotten(stored, store, log, partition)?
            {
                position = None;
            }
            let age_ms = stored
                .position_at_ms(store)
                .map(|at_ms| stored.wall_ms() - at_ms);
            self.flush |= age_ms.is_some_and(|age_ms| age_ms > FLUSH_AFTER_MS);
            let next = match position {
                Some(position) => position,
                None => log.start_offset(partition)?,
            };
            let from_scratch = position.is_none();
            if next >= end {
                let fresh = age_ms.is_some_and(|age_ms| (0..FRESH_FOR_MS).contains(&age_ms));
                if fresh && !from_scratch {
                    continue;
                }
                stored.begin_restore(store, from_scratch)?;
                stored.end_restore(store, end)?;
                continue;
            }
            self.stores.push(ToRestore {
                store,
                partition: partition.clone(),
                next,
                end,
                from_scratch,
                begun: false,
            });
        }
        Ok(())
    }

    /// Reads a part of the next changelog; `false` if the log returned nothing.
    fn read(
        &mut self,
        number: u64,
        ticket: &Ticket,
        restorer: &mut Restorer,
        shared: &Shared,
        wait: Duration,
    ) -> Result<bool> {
        let stored = &mut self.ready.stored;
        let ToRestore {
            store,
            partition,
            next,
            end,
            from_scratch,
            begun,
        } = &mut self.stores[self.at];
        if !*begun {
            stored.begin_restore(*store, *from_scratch)?;
            *begun = true;
        }
        let reader = reader(&mut restorer.reader, shared)?;
        if restorer.reads != Some((number, self.at)) {
            reader.assign(&[(partition.clone(), *next)])?;
            restorer.reads = Some((number, self.at));
        }
        let named = |error: Error| error.context(format!("restoring from {partition}"));
        let bytes = shared.settings.restore_part_bytes().min(FETCH_BYTES);
        let fetched = reader.poll(bytes, wait).map_err(named)?;
        for fetched in &fetched {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record().map_err(named)? {
                if record.offset >= fetched.position && record.offset < *end {
                    stored.restore(*store, &record).map_err(named)?;
                    self.ready.restored += 1;
                }
            }
            shared.hooks.reached(Point::Restoring);
        }
        // Compaction and aborted transactions leave gaps: everything before the reader's position is done.
        let position = reader.position(partition).unwrap_or(*next).min(*end);
        let moved = position - *next;
        ticket
            .records
            .fetch_add(moved.max(0) as u64, Ordering::Relaxed);
        *next = position;
        if position >= *end {
            stored.end_restore(*store, *end)?;
            self.at += 1;
        }
        Ok(moved > 0)
    }
}

fn reader<'a>(
    kept: &'a mut Option<Box<dyn Reader>>,
    shared: &Shared,
) -> Result<&'a mut Box<dyn Reader>> {
    match kept {
        Some(reader) => Ok(reader),
        none => {
            let bytes = shared.settings.restore_part_bytes();
            Ok(none.insert(shared.log.reader(bytes)?))
        }
    }
}

/// Whether the changelog may have lost deletions that came after the store's position: then only reading from the
/// beginning leaves out what was deleted.
fn has_forgotten(
    stored: &StoredState,
    store: usize,
    log: &dyn Log,
    partition: &TopicPartition,
) -> Result<bool> {
    let (Some(at_ms), Some(topic)) = (stored.position_at_ms(store), log.topic(&partition.topic)?)
    else {
        return Ok(false);
    };
    let age_ms = stored.wall_ms().saturating_sub(at_ms);
    let compacts = topic.cleanup != Cleanup::Delete;
    if compacts && age_ms > topic.delete_retention_ms {
        tracing::info!(
            %partition,
            age_ms,
            "the rows are older than the changelog keeps deletions; rebuilding them"
        );
        return Ok(true);
    }
    Ok(false)
}

/// Whether a partition has any committed record. A moved end does not prove it: in some logs aborted records leave
/// a gap. `None` if it was stopped before that was known.
fn holds_records(
    shared: &Shared,
    restorer: &mut Restorer,
    partition: &TopicPartition,
    wait: Duration,
    stopped: &dyn Fn() -> bool,
) -> Result<Option<bool>> {
    let end = shared.log.end_offset(partition, Isolation::ReadCommitted)?;
    if end <= shared.log.start_offset(partition)? {
        // Purged or not, it once had records if it has an end.
        return Ok(Some(end > 0));
    }
    restorer.reads = None;
    let reader = reader(&mut restorer.reader, shared)?;
    reader.assign(&[(partition.clone(), 0)])?;
    while reader
        .position(partition)
        .is_some_and(|position| position < end)
    {
        if !reader.poll(1, wait)?.is_empty() {
            return Ok(Some(true));
        }
        if stopped() {
            return Ok(None);
        }
    }
    Ok(Some(false))
}
