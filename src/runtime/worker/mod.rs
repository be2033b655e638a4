//! A worker: it owns its tasks, its reader, its writer and its place in the group.
//!
//! A worker is a function of its state: [`Worker::turn`] does the work that is due now, for at most some
//! milliseconds, and returns when it should be called again. It never waits. Its thread is a loop around
//! it, and so can a simulation be ([ADR 0011](../../../docs/adr/0011-a-workers-turn.md)).
//!
//! ```text
//!  Working: take what the group assigns; step some tasks; commit when it is due; after each round of
//!     |     all tasks: what silence and endings ask for, fetch
//!     |
//!     +--> GoingBack --> Working      a commit was aborted: wait, then go on from what is committed
//!     +--> Joining ----> Working      its place in the group is lost: its tasks are another's
//!     +--> Stopping ---> Ended        commit what is done, flush the backends, leave the group
//! ```

mod outage;
mod recent;
mod rebuilds;
mod reading;
mod reporting;
mod assignment;
mod stepping;
mod silence;
mod ending;
mod staging;
mod commits;
mod maintenance;
mod going_back;

pub(in crate::runtime) use assignment::join;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use self::going_back::{FENCED_WITHIN_MS, NoPlace};
pub(in crate::runtime) use self::outage::Ends;
use self::outage::{Attempt, Failure, Outage, of_log};
use self::reading::Reading;
use self::rebuilds::Rebuilds;
use self::recent::Recent;
use self::silence::Silence;
use self::staging::Ahead;
use super::commit::InFlight;
use super::context::Context;
use super::figures::Latencies;
use super::liveness::Activity;
use super::open_task::OpenTask;
use super::opening::Openings;
use super::settings::StateBackend;
use super::shared::Shared;
use crate::base::{Result, TaskId, TopicPartition};
use crate::log::{Assignment, Membership, Reader, Writer};
use crate::task::Drops;

/// How long a worker waits for records before it returns to its other duties.
const IDLE_WAIT: Duration = Duration::from_millis(50);
/// How long it waits for the answer to a commit when it has nothing else to do.
const ANSWER_WAIT: Duration = Duration::from_millis(20);
/// How long it waits at a time for outputs sent ahead to leave memory.
const ROOM_WAIT: Duration = Duration::from_millis(2);
/// How long it waits at a time for the ends of inputs when it has nothing else to do.
const ENDS_WAIT: Duration = Duration::from_millis(5);
/// The minimum that is fetched of an input at a time, in bytes.
const FETCH_BYTES_MIN: usize = 64 << 10;
/// Records of a step, and bytes of a commit, while the log has hardly any room.
const SMALL_STEP: usize = 50;
const SMALL_COMMIT_BYTES: usize = 16 << 10;

/// While others drain: how often a task that has ended reports it downstream, in milliseconds.
const SAY_AGAIN_MS: u64 = 2_000;
/// How often unchanged offsets are committed anyway: a log may forget offsets that are not renewed for
/// long (Kafka: a week).
const REFRESH_MS: u64 = 6 * 60 * 60 * 1_000;

/// The phase of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Working,
    /// A commit was aborted and no task has uncommitted data. Their inputs are moved back to what is
    /// committed, not before that time of the monotonic clock; with `full` the log has hardly any room.
    GoingBack {
        at_ms: u64,
        full: bool,
    },
    /// It has no place in the group and no tasks.
    Joining,
    /// It commits what is done, unless a commit was aborted on the way.
    Stopping {
        commits: bool,
    },
    Ended,
}

/// When a worker wants its next turn. Calling it earlier does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// At once: there is more to do.
    Again,
    /// At that time of the monotonic clock, in milliseconds, or when records or an answer arrive.
    Wait { until_ms: u64 },
    /// Never: it has shut down cleanly.
    Ended,
}

pub(in crate::runtime) struct Worker {
    context: Arc<Context>,
    shared: Arc<Shared>,
    name: String,
    phase: Phase,
    reader: Box<dyn Reader>,
    /// Whether the reader has not been given the inputs of all tasks.
    reader_stale: bool,
    writer: Box<dyn Writer>,
    /// Declared before the membership: if a panic drops everything, the next owner of the tasks finds
    /// their directories released.
    tasks: BTreeMap<TaskId, OpenTask>,
    /// Reads rows for them, while a separate thread runs the worker. Declared after them, since they hold
    /// its senders.
    reading: Option<Reading>,
    /// Tasks that are being opened.
    openings: Openings,
    membership: Box<dyn Membership>,
    /// What it is doing, for others to read while it is busy.
    activity: Arc<Activity>,
    /// An assignment that arrived while the worker was busy with the last one.
    pending: Option<Assignment>,
    /// Whether tasks must be given back: until everything is committed, no task is stepped.
    releasing: bool,
    in_flight: Option<InFlight>,
    asked_at_ms: u64,
    /// Since when the answer to the commit in flight has been lost, and when to ask for it again.
    unanswered: Option<Outage>,
    ask_again_at_ms: u64,
    /// Whether uncommitted data fills its share of memory, and a commit, or outputs sent ahead of one,
    /// are in flight.
    is_full: bool,
    ahead: Ahead,
    committed_at_ms: u64,
    /// When the commit in flight was begun, by the monotonic clock.
    begun_at_ns: u64,
    latencies: Latencies,
    /// When the last commit became definite, by the monotonic clock.
    definite_at_ms: Option<u64>,
    /// How long the last commit took that it submitted when it had caught up; one of a backlog takes longer.
    commit_took_ms: u64,
    /// Whether it had caught up when it submitted the commit in flight.
    asked_caught_up: bool,
    /// Whether there was nothing to process when it last looked for records, and none arrived.
    has_caught_up: bool,
    passed_gaps_at_ms: u64,
    refreshed_at_ms: u64,
    maintained_at_ms: u64,
    /// Commits at the time of the last purge.
    purged_commits: u64,
    reported_at_ms: u64,
    /// Whether the log was full: until the next round of housekeeping, commits are small, and what they
    /// consumed is purged at once.
    short_of_room: bool,
    /// How often it has lost its place in the group.
    places_lost: u64,
    /// When it was fenced within the last minute.
    fenced: Recent<()>,
    rebuilds: Rebuilds,
    /// Number of the last drain that it knows of.
    drain_known: u64,
    /// When it last checked which tasks a drain ends.
    drained_at_ms: u64,
    /// When it got its current tasks, by the monotonic clock; `None` until the group gave it some.
    settled_at_ms: Option<u64>,
    /// The next task to step, in the middle of a round.
    next_task: Option<TaskId>,
    /// Number of records in the round so far.
    round_records: usize,
    /// An input whose end was requested from the log in this round.
    missing: Option<TopicPartition>,
    /// The same for the last round, and since when: until the log answers, nothing is fetched.
    awaited: Option<(TopicPartition, u64)>,
    silence: Silence,
    /// The log is unreachable.
    outage: Option<Outage>,
    /// Commits have been aborted, one after another.
    aborts: Option<Outage>,
    /// Drops counted by tasks that are closed.
    drops: Drops,
    /// Number of input offsets that were deleted before they were read.
    deleted_unread: u64,
    records: u64,
    commits: u64,
    aborts_total: u64,
}

impl Worker {
    /// A worker that has joined the group as `name`.
    pub(in crate::runtime) fn new(
        shared: Arc<Shared>,
        name: String,
        membership: Box<dyn Membership>,
        ends: Ends,
    ) -> Self {
        let Ends { reader, writer } = ends;
        let context = Arc::clone(&shared.context);
        let now_ms = context.env.monotonic_ms();
        shared.liveness.keep(&name, Some(membership.heartbeat()));
        Self {
            activity: shared.liveness.activity(&name),
            openings: Openings::new(&name, &context, &shared.moves, &shared.restores),
            name,
            phase: Phase::Working,
            reader,
            reader_stale: false,
            writer,
            membership,
            pending: None,
            releasing: false,
            tasks: BTreeMap::new(),
            reading: None,
            in_flight: None,
            asked_at_ms: now_ms,
            unanswered: None,
            ask_again_at_ms: 0,
            is_full: false,
            ahead: Ahead::default(),
            committed_at_ms: now_ms,
            begun_at_ns: 0,
            commit_took_ms: 0,
            latencies: Latencies::default(),
            definite_at_ms: None,
            asked_caught_up: false,
            has_caught_up: false,
            passed_gaps_at_ms: now_ms,
            refreshed_at_ms: now_ms,
            maintained_at_ms: now_ms,
            purged_commits: 0,
            reported_at_ms: 0,
            short_of_room: false,
            places_lost: 0,
            fenced: Recent::new(FENCED_WITHIN_MS),
            rebuilds: Rebuilds::default(),
            drain_known: 0,
            drained_at_ms: now_ms,
            settled_at_ms: None,
            next_task: None,
            round_records: 0,
            missing: None,
            awaited: None,
            silence: Silence::default(),
            outage: None,
            aborts: None,
            drops: Drops::default(),
            deleted_unread: 0,
            records: 0,
            commits: 0,
            aborts_total: 0,
            context,
            shared,
        }
    }

    /// Works until it is told to stop: the loop of a worker's thread.
    pub(in crate::runtime) fn run(mut self) -> Result<()> {
        if self.context.settings.state_backend == StateBackend::RocksDb {
            self.reading = Some(Reading::start(&*self.context.env)?);
        }
        loop {
            match self.turn()? {
                Turn::Again => {}
                Turn::Wait { until_ms } => self.wait(until_ms)?,
                Turn::Ended => return Ok(()),
            }
        }
    }

    /// Does the work that is due now and returns when to call it again. It takes at most about as long as
    /// a step of one task, plus one record, plus the time to open tasks.
    ///
    /// # Errors
    /// An error that cannot be recovered from, or an outage that has lasted longer than the settings
    /// allow. The worker cannot be used after that.
    pub(in crate::runtime) fn turn(&mut self) -> Result<Turn> {
        let turn = match self.try_turn() {
            Ok(turn) => {
                self.outage_is_over();
                turn
            }
            Err(Failure::Outage(error)) => self.note_outage(&error),
            Err(Failure::Final(error)) if self.rebuild_damaged(&error) => Turn::Again,
            Err(Failure::Final(error)) => return Err(error),
        };
        if self.phase != Phase::Ended {
            self.check_patience()?;
            self.report(false);
        }
        Ok(turn)
    }

    fn try_turn(&mut self) -> Attempt<Turn> {
        if self.context.shutdown.is_requested() {
            self.phase = match self.phase {
                Phase::Working => Phase::Stopping { commits: true },
                Phase::GoingBack { .. } => Phase::Stopping { commits: false },
                Phase::Joining => Phase::Ended,
                phase => phase,
            };
        }
        match self.phase {
            Phase::Working => self.work(),
            Phase::GoingBack { at_ms, full } => self.go_back(at_ms, full),
            Phase::Joining => self.join_again(),
            Phase::Stopping { commits } => self.stop(commits),
            Phase::Ended => Ok(Turn::Ended),
        }
    }

    fn work(&mut self) -> Attempt<Turn> {
        self.take_assignment().map_err(of_log)?;
        if self.phase != Phase::Working {
            return Ok(Turn::Again);
        }
        self.take_opened().map_err(of_log)?;
        self.catch_up().map_err(of_log)?;
        self.note_drain();
        // While tasks must be given back, or memory is full, everything waits for the answer to a commit.
        let held = self.releasing || self.is_full;
        let mut round = None;
        if !held {
            let stepped = self.step();
            self.activity.end();
            let stepped = stepped?;
            self.records += stepped.records as u64;
            round = stepped.round;
        }
        self.look_for_answer(Duration::ZERO)?;
        // After an aborted commit the reader is ahead of the tasks until they have gone back: inputs
        // would seem to be at their end.
        if self.phase == Phase::Working {
            if let Some(records) = round {
                self.drain(records)?;
            }
            self.look_for_silence();
        }
        self.stage()?;
        self.commit_if_due()?;
        self.maintain()?;
        if self.phase != Phase::Working {
            return Ok(Turn::Again);
        }
        if !held && round.is_none() {
            return Ok(Turn::Again);
        }
        let fetched = self.fetch()?;
        let has_records = |open: &OpenTask| open.task.inputs.has_records();
        self.has_caught_up = !fetched && !self.tasks.values().any(has_records);
        self.pass_gaps()?;
        if fetched || round.is_some_and(|records| records > 0) {
            return Ok(Turn::Again);
        }
        let wait = match self.in_flight {
            Some(_) => ANSWER_WAIT,
            None if self.is_full => ROOM_WAIT,
            None => self.until_commit().min(IDLE_WAIT),
        };
        let now_ms = self.context.env.monotonic_ms();
        let wait = wait.min(self.until_timer());
        let wait = match self.openings.wake_ms() {
            Some(wake_ms) => wait.min(Duration::from_millis(wake_ms.saturating_sub(now_ms))),
            None => wait,
        };
        Ok(self.wait_for(wait))
    }

    fn wait_for(&self, wait: Duration) -> Turn {
        let now_ms = self.context.env.monotonic_ms();
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Turn::Wait {
            until_ms: now_ms.saturating_add(wait_ms),
        }
    }

    /// Waits for whatever its next turn needs, as its thread does between two turns.
    fn wait(&mut self, until_ms: u64) -> Result<()> {
        let now_ms = self.context.env.monotonic_ms();
        let left = Duration::from_millis(until_ms.saturating_sub(now_ms)).min(IDLE_WAIT);
        match self.try_wait(now_ms, left) {
            Ok(()) => Ok(()),
            Err(Failure::Final(error)) if self.rebuild_damaged(&error) => Ok(()),
            Err(Failure::Final(error)) => Err(error),
            Err(Failure::Outage(error)) => {
                self.note_outage(&error);
                self.context.env.sleep(left);
                Ok(())
            }
        }
    }

    fn try_wait(&mut self, now_ms: u64, left: Duration) -> Attempt {
        if self.in_flight.is_some() && now_ms >= self.ask_again_at_ms {
            return Ok(self.look_for_answer(left.min(ANSWER_WAIT))?);
        }
        if self.phase != Phase::Working || self.outage.is_some() || self.is_full {
            self.context.env.sleep(left);
            return Ok(());
        }
        if let Some((partition, _)) = &self.awaited {
            let asked = self.reader.end(partition, left.min(ENDS_WAIT));
            return asked.map(drop).map_err(of_log);
        }
        self.poll_reader(left).map(drop)
    }

    /// How long until the next timer by the wall clock is due; long if there is none.
    fn until_timer(&self) -> Duration {
        let timers = self.tasks.values().filter(|open| !open.task.has_ended());
        let next_ms = timers
            .filter_map(|open| open.task.next_wall_timer_ms())
            .min();
        next_ms.map_or(IDLE_WAIT, |due_ms| {
            let left_ms = due_ms.saturating_sub(self.context.env.wall_ms()).max(1);
            Duration::from_millis(left_ms.cast_unsigned()).min(IDLE_WAIT)
        })
    }

    /// How long until the next commit is due; long if there is nothing to commit.
    fn until_commit(&mut self) -> Duration {
        if !self.tasks.values_mut().any(OpenTask::is_dirty) {
            return IDLE_WAIT;
        }
        let due_ms = self.commit_due_ms();
        Duration::from_millis(due_ms.saturating_sub(self.context.env.monotonic_ms()))
    }

    /// A clean shutdown: commit, flush, give back, leave.
    fn stop(&mut self, commits: bool) -> Attempt<Turn> {
        // If the place is lost, the commit reports it.
        let _ = assignment::beat(&mut *self.membership, &mut self.pending);
        if commits && !self.all_committed()? {
            return Ok(match self.phase {
                Phase::Stopping { commits: true } => self.wait_for(ANSWER_WAIT),
                _ => Turn::Again,
            });
        }
        self.report(true);
        for (_, mut open) in std::mem::take(&mut self.tasks) {
            open.flush(&*self.context.hooks)?;
        }
        self.shared.liveness.keep(&self.name, None);
        let membership = std::mem::replace(&mut self.membership, Box::new(NoPlace));
        match self.context.shutdown.leaves() {
            true => membership.leave(),
            false => membership.rest(),
        }
        self.phase = Phase::Ended;
        Ok(Turn::Ended)
    }
}
