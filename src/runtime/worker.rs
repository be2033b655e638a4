//! A worker: one thread that owns its tasks, its reader, its writer and its place in the group.
//!
//! The loop: take what the group assigns; fetch; step each task; commit when it is due; never wait
//! for a commit while there is work and room. Shutdown, in steps: stop fetching, commit what is done,
//! wait for the answer, flush the backends, give the tasks back, leave the group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::commit::{InFlight, seal};
use super::hooks::Hooks;
use super::layout::{Layout, inputs};
use super::open_task::{OpenTask, Opening};
use super::orphans;
use super::status::{Status, WorkerStatus};
use super::{Settings, TaskSnapshot};
use crate::base::{Env, Error, ErrorKind, Offset, Result, TaskId, TopicPartition};
use crate::disk::Budget;
use crate::log::{
    Assignment, Commit, CommitError, GroupCommit, Isolation, JoinRequest, Log, Membership, Reader,
    Writer,
};
use crate::state::StateDirectory;
use crate::task::Drops;

/// What all workers of an application share.
pub(super) struct Shared {
    pub(super) layout: Layout,
    pub(super) log: Arc<dyn Log>,
    pub(super) settings: Settings,
    pub(super) directory: Option<StateDirectory>,
    pub(super) budget: Budget,
    pub(super) env: Arc<dyn Env>,
    pub(super) hooks: Arc<dyn Hooks>,
    pub(super) status: Status,
    pub(super) stop: AtomicBool,
    pub(super) drain: AtomicBool,
}

/// How long a worker waits for records before it looks at its other duties.
const IDLE_WAIT: Duration = Duration::from_millis(50);
/// How long it waits for the answer to a commit when it has nothing else to do.
const ANSWER_WAIT: Duration = Duration::from_millis(20);
/// The first pause after an aborted commit; it doubles up to the largest.
const BACKOFF_MS: u64 = 20;
const BACKOFF_MS_MAX: u64 = 1_000;

pub(super) struct Worker {
    shared: Arc<Shared>,
    name: String,
    reader: Box<dyn Reader>,
    writer: Box<dyn Writer>,
    membership: Box<dyn Membership>,
    /// An assignment that came while the worker was busy with the last one.
    pending: Option<Assignment>,
    tasks: BTreeMap<TaskId, OpenTask>,
    in_flight: Option<InFlight>,
    asked_at_ms: u64,
    committed_at_ms: u64,
    purged_at_ms: u64,
    reported_at_ms: u64,
    /// Since when commits have been aborted, and how often.
    aborts: Option<(u64, u32)>,
    /// Drops of tasks that are closed.
    drops: Drops,
    records: u64,
    commits: u64,
}

impl Worker {
    /// A worker that has joined the group as `name`.
    pub(super) fn new(
        shared: Arc<Shared>,
        name: String,
        membership: Box<dyn Membership>,
    ) -> Result<Self> {
        let application = &shared.layout.application;
        let reader = shared.log.reader()?;
        let writer = shared.log.writer(&format!("{application}-{name}"))?;
        let now_ms = shared.env.monotonic_ms();
        Ok(Self {
            name,
            reader,
            writer,
            membership,
            pending: None,
            tasks: BTreeMap::new(),
            in_flight: None,
            asked_at_ms: now_ms,
            committed_at_ms: now_ms,
            purged_at_ms: now_ms,
            reported_at_ms: 0,
            aborts: None,
            drops: Drops::default(),
            records: 0,
            commits: 0,
            shared,
        })
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self) -> Result<()> {
        while !self.shared.stop.load(Ordering::Acquire) {
            self.take_assignment()?;
            let records = self.step()?;
            self.records += records as u64;
            self.look_for_answer(Duration::ZERO)?;
            self.drain_or_idle(records)?;
            self.commit_if_due()?;
            self.fetch(records == 0)?;
            self.report(false);
        }
        self.finish()
    }

    fn take_assignment(&mut self) -> Result<()> {
        match beat(&mut *self.membership, &mut self.pending) {
            Err(error) if error.kind() == ErrorKind::Fenced => return self.rejoin(error),
            beaten => beaten?,
        }
        let Some(assignment) = self.pending.take() else {
            return Ok(());
        };
        let revoked: Vec<TaskId> = self
            .tasks
            .keys()
            .filter(|task| !assignment.tasks.contains(task))
            .cloned()
            .collect();
        if !revoked.is_empty() {
            self.commit_and_wait()?;
            // An abort on the way may have taken the tasks already.
            for id in &revoked {
                if let Some(mut open) = self.tasks.remove(id) {
                    open.flush(&*self.shared.hooks)?;
                    self.drops.add(open.task.drops());
                    tracing::info!(task = %id, worker = %self.name, "task closed");
                }
            }
            self.membership.release(&revoked)?;
        }
        for id in &assignment.tasks {
            if !self.tasks.contains_key(id) {
                self.open(id)?;
            }
        }
        self.assign_reader()?;
        self.report(true);
        Ok(())
    }

    fn open(&mut self, id: &TaskId) -> Result<()> {
        let shared = self.shared.clone();
        let opening = opening(&shared);
        let Self {
            membership,
            pending,
            ..
        } = self;
        // While a long restore runs the group must see that the worker lives.
        let mut open = opening.open(id, &mut || alive(&shared, &mut **membership, pending))?;
        for (partition, end, log_end) in std::mem::take(&mut open.orphans) {
            let mut alive = || alive(&shared, &mut **membership, pending);
            let answer = orphans::answer(&*shared.log, &partition, end, log_end, &mut alive)?;
            let Some(batch) = answer else { continue };
            let token = Some(membership.token());
            let group = shared.layout.application.clone();
            let group = Some(GroupCommit {
                group,
                token,
                offsets: Vec::new(),
            });
            let commit = Commit {
                appends: vec![(partition, batch)],
                group,
            };
            commit_now(
                &mut *self.writer,
                commit,
                &*shared.env,
                shared.settings.commit_retry_ms,
            )?;
        }
        if !shared.drain.load(Ordering::Acquire) {
            open.task.forget_ends();
        }
        open.busy_at_ms = shared.env.monotonic_ms();
        tracing::info!(task = %id, worker = %self.name, restored = open.restored, "task opened");
        self.tasks.insert(id.clone(), open);
        Ok(())
    }

    /// Gives the reader the inputs of all tasks, each where its fetched records end.
    fn assign_reader(&mut self) -> Result<()> {
        let mut positions: Vec<(TopicPartition, Offset)> = Vec::new();
        for open in self.tasks.values() {
            for input in open.task.inputs.progress() {
                let position = match input.buffered_bytes {
                    0 => input.position,
                    _ => self
                        .reader
                        .position(&input.partition)
                        .unwrap_or(input.position),
                };
                positions.push((input.partition, position));
            }
        }
        self.reader.assign(&positions)
    }

    /// Steps every task once and returns the number of records taken.
    fn step(&mut self) -> Result<usize> {
        let Self {
            shared,
            tasks,
            reader,
            ..
        } = self;
        let wall_ms = shared.env.wall_ms();
        let mut records = 0;
        for (id, open) in tasks.iter_mut() {
            let named = |error: Error| error.context(format!("task {id}"));
            let limit = shared.settings.records_per_step;
            let mut progress = open.task.process(limit, wall_ms).map_err(named)?;
            if progress.records == 0 && open.task.inputs.has_records() {
                // Other inputs are empty: are they at their end, or only not fetched yet?
                set_ends(open, &*shared.log, &**reader, false)?;
                progress = open.task.process(limit, wall_ms).map_err(named)?;
            }
            if progress.records > 0 {
                open.busy_at_ms = shared.env.monotonic_ms();
                open.ended = false;
            }
            records += progress.records;
        }
        Ok(records)
    }

    fn fetch(&mut self, idle: bool) -> Result<()> {
        let limit = self.shared.settings.fetch_bytes();
        let buffered: usize = self
            .tasks
            .values()
            .map(|open| open.task.inputs.buffered_bytes())
            .sum();
        if buffered >= limit {
            return Ok(());
        }
        let inputs: usize = self.tasks.values().map(|open| open.committed.len()).sum();
        let share = limit / inputs.max(1);
        for open in self.tasks.values() {
            for input in open.task.inputs.progress() {
                self.reader
                    .pause(&input.partition, input.buffered_bytes > share);
            }
        }
        let mut wait = Duration::ZERO;
        if idle && buffered == 0 {
            if self.in_flight.is_some() {
                self.look_for_answer(ANSWER_WAIT)?;
            } else {
                wait = self.until_commit().min(IDLE_WAIT);
            }
        }
        for fetched in self.reader.poll(limit - buffered, wait)? {
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
        let due_ms = self.committed_at_ms + self.shared.settings.commit_interval_ms;
        Duration::from_millis(due_ms.saturating_sub(self.shared.env.monotonic_ms()))
    }

    fn commit_if_due(&mut self) -> Result<()> {
        let settings = &self.shared.settings;
        let now_ms = self.shared.env.monotonic_ms();
        let uncommitted: usize = self
            .tasks
            .values_mut()
            .map(|open| open.task.effects().bytes() + open.task.state.dirty_bytes())
            .sum();
        let full = uncommitted >= settings.uncommitted_bytes();
        let ending = self
            .tasks
            .values()
            .any(|open| open.task.has_ended() && !open.ended);
        if !full && !ending && now_ms < self.committed_at_ms + settings.commit_interval_ms {
            return Ok(());
        }
        while full && self.in_flight.is_some() {
            // Both generations are full: nothing to do but wait for the answer.
            self.look_for_answer(ANSWER_WAIT)?;
            let beaten = beat(&mut *self.membership, &mut self.pending);
            beaten.or_else(ignore_fenced)?;
        }
        if self.in_flight.is_none() {
            self.ask()
        } else {
            Ok(())
        }
    }

    fn ask(&mut self) -> Result<()> {
        let Self {
            shared,
            tasks,
            writer,
            membership,
            ..
        } = self;
        self.committed_at_ms = shared.env.monotonic_ms();
        let sealed = seal(tasks)?;
        if sealed.is_empty() {
            for open in tasks.values_mut() {
                open.ended = open.task.has_ended();
            }
            return Ok(());
        }
        let asked = InFlight::ask(
            sealed,
            &shared.layout.application,
            membership.token(),
            shared.settings.guarantee,
            &mut **writer,
            &*shared.hooks,
        );
        self.asked_at_ms = self.committed_at_ms;
        match asked {
            Ok(flight) => {
                self.in_flight = Some(flight);
                Ok(())
            }
            Err(error) => self.commit_failed(error),
        }
    }

    fn look_for_answer(&mut self, timeout: Duration) -> Result<()> {
        let Some(flight) = &mut self.in_flight else {
            return Ok(());
        };
        let token = self.membership.token();
        match flight.poll(token, &self.tasks, &mut *self.writer, timeout) {
            Ok(false) => {
                let waited_ms = self.shared.env.monotonic_ms() - self.asked_at_ms;
                if flight.is_unknown() && waited_ms > self.shared.settings.commit_retry_ms {
                    return Err(Error::new(
                        ErrorKind::Unavailable,
                        format!("no definite answer to a commit in {waited_ms} ms; start again"),
                    ));
                }
                Ok(())
            }
            Ok(true) => {
                let Some(flight) = self.in_flight.take() else {
                    return Ok(());
                };
                flight.apply(&mut self.tasks, &*self.shared.hooks)?;
                self.commits += 1;
                self.aborts = None;
                self.purge()
            }
            Err(error) => {
                self.in_flight = None;
                self.commit_failed(error)
            }
        }
    }

    /// Commits everything and waits for the answer.
    fn commit_and_wait(&mut self) -> Result<()> {
        while self.in_flight.is_some() {
            self.look_for_answer(ANSWER_WAIT)?;
        }
        self.ask()?;
        while self.in_flight.is_some() {
            self.look_for_answer(ANSWER_WAIT)?;
        }
        Ok(())
    }

    fn commit_failed(&mut self, error: CommitError) -> Result<()> {
        match error {
            CommitError::Aborted(error) => self.abort(error),
            CommitError::Fenced(error) => self.rejoin(error),
            CommitError::Unknown(error) | CommitError::Fatal(error) => Err(error),
        }
    }

    /// Nothing of the commit happened: every task goes back to what is committed and reads its input
    /// again.
    fn abort(&mut self, error: Error) -> Result<()> {
        let now_ms = self.shared.env.monotonic_ms();
        let (since_ms, times) = self
            .aborts
            .map_or((now_ms, 1), |(since, times)| (since, times + 1));
        self.aborts = Some((since_ms, times));
        if now_ms - since_ms > self.shared.settings.commit_retry_ms {
            return Err(error.context(format!("{times} commits in a row were aborted")));
        }
        tracing::warn!(worker = %self.name, %error, times, "commit aborted; going back to what is committed");
        let backoff_ms = BACKOFF_MS << times.min(10);
        self.shared
            .env
            .sleep(Duration::from_millis(backoff_ms.min(BACKOFF_MS_MAX)));
        let shared = self.shared.clone();
        let opening = opening(&shared);
        for open in self.tasks.values_mut() {
            open.task.abort()?;
            let partitions = inputs(open.task.spec());
            let offsets = shared
                .log
                .committed(&shared.layout.application, &partitions)?;
            open.committed = opening.seek(&mut open.task, &partitions, &offsets)?;
            open.committing.clone_from(&open.committed);
            open.sealed = false;
            open.ended = false;
        }
        self.assign_reader()
    }

    /// The group has moved on: whatever is not committed is somebody else's now.
    fn rejoin(&mut self, error: Error) -> Result<()> {
        tracing::warn!(worker = %self.name, %error, "lost its place in the group; joining anew");
        self.in_flight = None;
        self.pending = None;
        for open in self.tasks.values() {
            self.drops.add(open.task.drops());
        }
        self.tasks.clear();
        self.assign_reader()?;
        let application = &self.shared.layout.application;
        self.writer = self
            .shared
            .log
            .writer(&format!("{application}-{}", self.name))?;
        self.membership = join(&self.shared, &self.name)?;
        Ok(())
    }

    /// Ends tasks whose input has ended, and lets silent ones no longer hold time back.
    fn drain_or_idle(&mut self, records: usize) -> Result<()> {
        if records > 0 {
            return Ok(());
        }
        let Self {
            shared,
            tasks,
            reader,
            ..
        } = self;
        let draining = shared.drain.load(Ordering::Acquire);
        let now_ms = shared.env.monotonic_ms();
        for (id, open) in tasks.iter_mut() {
            let silent = open
                .idle_timeout_ms
                .is_some_and(|timeout| now_ms - open.busy_at_ms > timeout);
            if !(draining || silent) || open.task.has_ended() || open.task.inputs.has_records() {
                continue;
            }
            set_ends(open, &*shared.log, &**reader, true)?;
            if draining {
                let ended = open.task.drain(shared.env.wall_ms());
                if ended.map_err(|error| error.context(format!("task {id}")))? {
                    tracing::info!(task = %id, "input ended");
                }
            } else if open.task.inputs.are_at_end() {
                open.task.fall_silent();
            }
        }
        Ok(())
    }

    /// Deletes what nobody needs any more from internal topics (decision D6).
    fn purge(&mut self) -> Result<()> {
        let now_ms = self.shared.env.monotonic_ms();
        if now_ms < self.purged_at_ms + self.shared.settings.purge_interval_ms {
            return Ok(());
        }
        self.purged_at_ms = now_ms;
        let mut before = Vec::new();
        for open in self.tasks.values() {
            for (input, offset) in inputs(open.task.spec()).into_iter().zip(&open.committed) {
                if self
                    .shared
                    .layout
                    .repartitions
                    .iter()
                    .any(|topic| **topic == *input.topic)
                {
                    before.push((input, *offset));
                }
            }
            for (store, changelog) in open.changelogs.iter().enumerate() {
                let first_live = open.task.state.purge_before(store);
                if let (Some(changelog), Some(first_live)) = (changelog, first_live) {
                    before.push((changelog.clone(), first_live));
                }
            }
        }
        self.shared.log.delete_records(&before)
    }

    fn report(&mut self, now: bool) {
        let now_ms = self.shared.env.monotonic_ms();
        if !now && now_ms < self.reported_at_ms + 100 {
            return;
        }
        self.reported_at_ms = now_ms;
        let mut status = WorkerStatus {
            records: self.records,
            commits: self.commits,
            lag: 0,
            drops: self.drops,
            tasks: Vec::new(),
        };
        for (id, open) in &self.tasks {
            status.drops.add(open.task.drops());
            let mut positions = Vec::new();
            for input in open.task.inputs.progress() {
                let end = self
                    .shared
                    .log
                    .end_offset(&input.partition, Isolation::ReadCommitted);
                status.lag += end.map_or(0, |end| (end - input.position).max(0));
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
            });
        }
        self.shared
            .status
            .report(&self.name, status, self.shared.layout.specs.len());
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

/// Tells a task where its inputs end: those that are empty, or all.
fn set_ends(open: &mut OpenTask, log: &dyn Log, reader: &dyn Reader, all: bool) -> Result<()> {
    let asked: Vec<TopicPartition> = match all {
        true => inputs(open.task.spec()),
        false => open.task.inputs.starved().cloned().collect(),
    };
    for partition in asked {
        let end = log.end_offset(&partition, Isolation::ReadCommitted)?;
        let position = reader.position(&partition).unwrap_or(0);
        open.task.inputs.set_end(&partition, end, position)?;
    }
    Ok(())
}

fn opening(shared: &Shared) -> Opening<'_> {
    Opening {
        layout: &shared.layout,
        log: &*shared.log,
        settings: &shared.settings,
        directory: shared.directory.as_ref(),
        budget: &shared.budget,
        hooks: &*shared.hooks,
    }
}

/// Joins the group. `name` is unique in it and stable over restarts.
pub(super) fn join(shared: &Shared, name: &str) -> Result<Box<dyn Membership>> {
    shared.log.join(JoinRequest {
        group: shared.layout.application.clone(),
        member: name.to_owned(),
        tasks: shared.layout.plans(),
        session_timeout_ms: shared.settings.session_timeout_ms,
    })
}

/// Commits and waits for the definite answer, outside the worker's pipeline.
fn commit_now(writer: &mut dyn Writer, commit: Commit, env: &dyn Env, retry_ms: u64) -> Result<()> {
    let until_ms = env.monotonic_ms() + retry_ms;
    let mut answer = writer.submit(commit).map(|()| None);
    loop {
        answer = match answer {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => writer.poll(ANSWER_WAIT),
            Err(CommitError::Unknown(error)) if env.monotonic_ms() >= until_ms => {
                return Err(error);
            }
            Err(CommitError::Unknown(_)) => writer.resolve(ANSWER_WAIT),
            Err(error) => return Err(error.into_error()),
        };
    }
}

/// Tells the group that the worker lives and keeps what it answers.
fn beat(membership: &mut dyn Membership, pending: &mut Option<Assignment>) -> Result<()> {
    if let Some(assignment) = membership.poll()? {
        *pending = Some(assignment);
    }
    Ok(())
}

/// What a restore does between its parts.
fn alive(
    shared: &Shared,
    membership: &mut dyn Membership,
    pending: &mut Option<Assignment>,
) -> Result<()> {
    if shared.stop.load(Ordering::Acquire) {
        return Err(Error::new(
            ErrorKind::Closed,
            "stopped while state was being restored",
        ));
    }
    beat(membership, pending)
}

/// A lost place is noticed where it is handled: by the next look at the assignment or the commit.
fn ignore_fenced(error: Error) -> Result<()> {
    if error.kind() == ErrorKind::Fenced {
        Ok(())
    } else {
        Err(error)
    }
}
