//! A worker: one thread that owns its tasks, its reader, its writer and its place in the group.
//!
//! The loop: take what the group assigns; fetch; step each task; commit when it is due; never wait
//! for a commit while there is work and room. Shutdown, in steps: stop fetching, commit what is done,
//! wait for the answer, flush the backends, give the tasks back, leave the group.

mod assignment;
mod commits;
mod ending;
mod silence;

pub(super) use assignment::join;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::silence::Silence;
use super::commit::InFlight;
use super::hooks::Hooks;
use super::layout::Layout;
use super::open_task::OpenTask;
use super::opening::{Openings, RestoreQueue};
use super::status::{Status, WorkerStatus};
use super::{Settings, TaskSnapshot};
use crate::base::{Env, Error, Offset, Result, TaskId, TopicPartition};
use crate::disk::Budget;
use crate::log::{Assignment, Log, Membership, Reader, Writer};
use crate::state::StateDirectory;
use crate::task::Drops;

/// What all workers of an application share.
pub(in crate::runtime) struct Shared {
    pub(in crate::runtime) layout: Layout,
    pub(in crate::runtime) log: Arc<dyn Log>,
    pub(in crate::runtime) settings: Settings,
    pub(in crate::runtime) directory: Option<StateDirectory>,
    pub(in crate::runtime) budget: Budget,
    pub(in crate::runtime) env: Arc<dyn Env>,
    pub(in crate::runtime) hooks: Arc<dyn Hooks>,
    pub(in crate::runtime) status: Status,
    pub(in crate::runtime) stop: AtomicBool,
    /// Number of the drain that was asked for last; 0 before the first.
    pub(in crate::runtime) drain_asked: AtomicU64,
    /// Number of the drain that goes on, once every worker has forgotten the ends of those before.
    pub(in crate::runtime) draining: AtomicU64,
    /// Tasks that were opened since the start.
    pub(in crate::runtime) opened: Mutex<BTreeSet<TaskId>>,
    /// Tasks that wait to be opened and restored.
    pub(in crate::runtime) restores: Arc<RestoreQueue>,
}

impl Shared {
    /// Whether the task is opened for the first time since the start; asked once an opening.
    fn is_first_opening(&self, task: &TaskId) -> bool {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.insert(task.clone())
    }
}

/// How long a worker waits for records before it looks at its other duties.
const IDLE_WAIT: Duration = Duration::from_millis(50);
/// How long it waits for the answer to a commit when it has nothing else to do.
const ANSWER_WAIT: Duration = Duration::from_millis(20);
/// How long it waits for the ends of inputs at a time when it has nothing else to do, and how long,
/// in milliseconds, it fetches nothing because of them.
const ENDS_WAIT: Duration = Duration::from_millis(5);
const ENDS_WAIT_MS: u64 = 100;
/// The least that is fetched of an input at a time, in bytes.
const FETCH_BYTES_MIN: usize = 64 << 10;
/// Records of a step, and bytes of a commit, while there is hardly room in the log.
const SMALL_STEP: usize = 50;
const SMALL_COMMIT_BYTES: usize = 16 << 10;
/// The first pause after an aborted commit; it doubles up to the largest.
const BACKOFF_MS: u64 = 20;
const BACKOFF_MS_MAX: u64 = 1_000;

/// While others drain: how often a task that has ended says so downstream, in milliseconds.
const SAY_AGAIN_MS: u64 = 2_000;
/// How often offsets that do not change are committed all the same: a log may forget those that nobody
/// has renewed for long (Kafka: a week).
const REFRESH_MS: u64 = 6 * 60 * 60 * 1_000;

pub(in crate::runtime) struct Worker {
    shared: Arc<Shared>,
    name: String,
    reader: Box<dyn Reader>,
    writer: Box<dyn Writer>,
    /// Before the membership: when a panic drops it all, who gets the tasks finds their directories free.
    tasks: BTreeMap<TaskId, OpenTask>,
    /// Tasks that it is about to have.
    openings: Openings,
    membership: Box<dyn Membership>,
    /// An assignment that came while the worker was busy with the last one.
    pending: Option<Assignment>,
    in_flight: Option<InFlight>,
    asked_at_ms: u64,
    committed_at_ms: u64,
    refreshed_at_ms: u64,
    kept_house_at_ms: u64,
    /// Commits at the time of the last purge.
    purged_commits: u64,
    reported_at_ms: u64,
    /// Whether the log was full: until the next round of housekeeping commits are small, and what they
    /// consumed is purged at once.
    short_of_room: bool,
    /// How often it has lost its place in the group.
    seats: u64,
    /// Number of the last drain that it knows.
    drain_known: u64,
    /// When it took the tasks that it has, by the monotonic clock; `None` until the group gave it some.
    settled_at_ms: Option<u64>,
    /// An input whose end the log was asked for, and since when: until it answers nothing is fetched.
    awaited: Option<(TopicPartition, u64)>,
    /// Since when commits have been aborted, and how often.
    aborts: Option<(u64, u32)>,
    silence: Silence,
    /// Drops of tasks that are closed.
    drops: Drops,
    records: u64,
    commits: u64,
}

impl Worker {
    /// A worker that has joined the group as `name`.
    pub(in crate::runtime) fn new(
        shared: Arc<Shared>,
        name: String,
        membership: Box<dyn Membership>,
    ) -> Result<Self> {
        let application = &shared.layout.application;
        let reader = shared.log.reader()?;
        let writer = shared.log.writer(&format!("{application}-{name}"))?;
        let now_ms = shared.env.monotonic_ms();
        Ok(Self {
            reader,
            writer,
            membership,
            pending: None,
            tasks: BTreeMap::new(),
            openings: Openings::new(&shared, &name),
            in_flight: None,
            asked_at_ms: now_ms,
            committed_at_ms: now_ms,
            refreshed_at_ms: now_ms,
            kept_house_at_ms: now_ms,
            purged_commits: 0,
            reported_at_ms: 0,
            short_of_room: false,
            seats: 0,
            drain_known: 0,
            settled_at_ms: None,
            awaited: None,
            aborts: None,
            silence: Silence::default(),
            drops: Drops::default(),
            records: 0,
            commits: 0,
            name,
            shared,
        })
    }

    /// Works until it is told to stop.
    pub(in crate::runtime) fn run(mut self) -> Result<()> {
        while !self.shared.stop.load(Ordering::Acquire) {
            self.take_assignment()?;
            self.take_opened()?;
            self.note_drain();
            let records = self.step()?;
            self.records += records as u64;
            self.look_for_answer(Duration::ZERO)?;
            self.drain(records)?;
            self.look_for_silence();
            self.commit_if_due()?;
            self.keep_house()?;
            self.fetch(records == 0)?;
            self.report(false);
        }
        self.finish()
    }

    /// Steps every task once and returns the number of records taken.
    fn step(&mut self) -> Result<usize> {
        let Self {
            shared,
            tasks,
            reader,
            short_of_room,
            awaited,
            ..
        } = self;
        let wall_ms = shared.env.wall_ms();
        let mut records = 0;
        let mut missing = None;
        // With hardly any room, repartition topics are read before they are written further: only
        // whole batches that were read make room.
        let internal = |open: &OpenTask| shared.layout.reads_repartition(open.task.spec());
        let read_first = *short_of_room
            && tasks
                .values()
                .any(|open| internal(open) && open.task.inputs.has_records());
        let limit = match *short_of_room {
            true => shared.settings.records_per_step.min(SMALL_STEP),
            false => shared.settings.records_per_step,
        };
        for (id, open) in tasks.iter_mut() {
            if read_first && !internal(open) {
                continue;
            }
            let named = |error: Error| error.context(format!("task {id}"));
            if open.task.inputs.is_waiting() {
                // Other inputs are empty: are they at their end, or only not fetched yet?
                if let Some(partition) = ask_ends(open, &mut **reader)? {
                    missing = Some(partition);
                    continue;
                }
            }
            let progress = open.task.process(limit, wall_ms).map_err(named)?;
            if progress.records > 0 {
                open.busy_at_ms = shared.env.monotonic_ms();
                open.ended = false;
                open.ending = false;
            }
            records += progress.records;
        }
        *awaited = missing.map(|partition| match awaited.take() {
            Some((_, since_ms)) => (partition, since_ms),
            None => (partition, shared.env.monotonic_ms()),
        });
        Ok(records)
    }

    fn fetch(&mut self, idle: bool) -> Result<()> {
        if let Some((partition, since_ms)) = &self.awaited
            && self.shared.env.monotonic_ms() < since_ms + ENDS_WAIT_MS
        {
            // With more records the log would have to be asked anew.
            if idle {
                self.reader.end(partition, ENDS_WAIT)?;
            }
            return Ok(());
        }
        let inputs: usize = self.tasks.values().map(|open| open.committed.len()).sum();
        // Each input gets its share, whatever the others hold: one of a task may wait for another. What
        // is fetched on top of a share is a share at most.
        let share = self.shared.settings.fetch_bytes() / inputs.max(1) / 2;
        let share = share.max(FETCH_BYTES_MIN);
        for open in self.tasks.values() {
            for input in open.task.inputs.progress() {
                self.reader
                    .pause(&input.partition, input.buffered_bytes >= share);
            }
        }
        let mut wait = Duration::ZERO;
        if idle {
            if self.in_flight.is_some() {
                self.look_for_answer(ANSWER_WAIT)?;
            } else {
                wait = self.until_commit().min(IDLE_WAIT);
                if let Some(wake_ms) = self.openings.wake_ms(&self.shared) {
                    let now_ms = self.shared.env.monotonic_ms();
                    wait = wait.min(Duration::from_millis(wake_ms.saturating_sub(now_ms)));
                }
            }
        }
        for fetched in self.reader.poll(share, wait)? {
            let reads = |open: &&mut OpenTask| {
                open.task
                    .inputs
                    .progress()
                    .any(|input| input.partition == fetched.partition)
            };
            if let Some(open) = self.tasks.values_mut().find(reads) {
                open.task.inputs.add(&fetched)?;
            }
        }
        Ok(())
    }

    /// How long until the next commit is due; long if there is nothing to commit.
    fn until_commit(&mut self) -> Duration {
        if !self.tasks.values_mut().any(OpenTask::is_dirty) {
            return IDLE_WAIT;
        }
        let interval_ms = self.shared.settings.commit_interval_ms;
        let due_ms = self.committed_at_ms.saturating_add(interval_ms);
        Duration::from_millis(due_ms.saturating_sub(self.shared.env.monotonic_ms()))
    }

    fn report(&mut self, now: bool) {
        let now_ms = self.shared.env.monotonic_ms();
        if !now && now_ms < self.reported_at_ms + 100 {
            return;
        }
        self.reported_at_ms = now_ms;
        let (restoring, waiting) = self.openings.report(now_ms);
        let mut status = WorkerStatus {
            records: self.records,
            commits: self.commits,
            lag: 0,
            drops: self.drops,
            drain_known: self.drain_known,
            settled_at_ms: self.settled_at_ms,
            tasks: Vec::new(),
            restoring,
            waiting,
        };
        let mut all: Vec<TopicPartition> = Vec::new();
        let mut done: Vec<Offset> = Vec::new();
        for (id, open) in &mut self.tasks {
            open.note_waits(now_ms);
            status.drops.add(open.task.drops());
            let mut positions = Vec::new();
            for input in open.task.inputs.progress() {
                // The reader moves past what counts as an offset and is no record.
                let read = match input.buffered_bytes {
                    0 => self.reader.position(&input.partition),
                    _ => None,
                };
                all.push(input.partition.clone());
                done.push(read.unwrap_or(0).max(input.position));
                positions.push((input.partition, input.position));
            }
            status.tasks.push(TaskSnapshot {
                task: id.clone(),
                worker: self.name.clone(),
                positions,
                resumed_at: open.resumed_at.clone(),
                restored: open.restored,
                stream_time_ms: open.task.stream_time_ms(),
                ended: open.ended,
                held_back: open.task.held_back(),
                held_back_ms: open.waited_ms(now_ms),
            });
        }
        let ends = self.shared.log.recent_ends(&all);
        for (end, done) in ends.into_iter().zip(done) {
            status.lag += end.map_or(0, |end| (end - done).max(0));
        }
        self.shared
            .status
            .report(&self.name, status, self.shared.layout.specs.len(), now_ms);
    }

    /// The orderly end: commit, flush, give back, leave.
    fn finish(mut self) -> Result<()> {
        self.commit_and_wait()?;
        self.report(true);
        for (_, mut open) in std::mem::take(&mut self.tasks) {
            open.flush(&*self.shared.hooks)?;
        }
        self.membership.leave();
        Ok(())
    }
}

/// Tells a task where those of its inputs end that others wait for; or returns one of which the log has
/// not said it yet.
fn ask_ends(open: &mut OpenTask, reader: &mut dyn Reader) -> Result<Option<TopicPartition>> {
    let starved: Vec<TopicPartition> = open.task.inputs.starved().cloned().collect();
    for partition in starved {
        let Some(end) = reader.end(&partition, Duration::ZERO)? else {
            return Ok(Some(partition));
        };
        let position = reader.position(&partition).unwrap_or(0);
        open.task.inputs.set_end(&partition, end, position)?;
    }
    Ok(None)
}
