//! What a worker holds: taking tasks, opening them, giving them back.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Shared, Worker};
use crate::base::{Error, ErrorKind, Offset, Result, TaskId, TopicPartition};
use crate::log::{Assignment, JoinRequest, Membership};
use crate::runtime::open_task::Opening;

/// How soon a task that could not be opened is tried again.
const OPEN_AGAIN: Duration = Duration::from_millis(20);

impl Worker {
    /// Tells the group that this worker lives, and opens and closes tasks as the group says.
    pub(super) fn take_assignment(&mut self) -> Result<()> {
        match beat(&mut *self.membership, &mut self.pending).and_then(|()| self.follow()) {
            Err(error) if error.kind() == ErrorKind::Fenced => self.rejoin(error),
            // Told to stop in the middle of opening a task: the others still end in good order.
            Err(error) if error.kind() == ErrorKind::Closed && stopping(&self.shared) => Ok(()),
            followed => followed,
        }
    }

    fn follow(&mut self) -> Result<()> {
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
            let seats = self.seats;
            self.commit_and_wait()?;
            if self.seats != seats {
                // The worker was expelled meanwhile: this assignment is another's.
                return Ok(());
            }
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
        self.settled_at_ms = Some(self.shared.env.monotonic_ms());
        self.report(true);
        Ok(())
    }

    pub(super) fn open(&mut self, id: &TaskId) -> Result<()> {
        let shared = self.shared.clone();
        let opening = opening(&shared);
        let Self {
            membership,
            pending,
            ..
        } = self;
        // While a long restore runs the group must see that the worker lives.
        let mut alive_now = || alive(&shared, &mut **membership, pending);
        let since_ms = shared.env.monotonic_ms();
        let mut open = loop {
            match opening.open(id, &mut alive_now) {
                // A worker of this process that was expelled has not noticed yet, and holds the
                // directory.
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    if shared.env.monotonic_ms() - since_ms > shared.settings.commit_retry_ms {
                        return Err(error);
                    }
                    tracing::debug!(task = %id, %error, "waiting to open the task");
                    shared.env.sleep(OPEN_AGAIN);
                    alive_now()?;
                }
                opened => break opened?,
            }
        };
        // What ended when this application ran last may go on now. Within one run it stays ended.
        if shared.is_first_opening(id) {
            open.task.forget_ends();
        }
        open.busy_at_ms = shared.env.monotonic_ms();
        open.flushed_at_ms = open.busy_at_ms;
        tracing::info!(task = %id, worker = %self.name, restored = open.restored, "task opened");
        self.tasks.insert(id.clone(), open);
        Ok(())
    }

    /// Gives the reader the inputs of all tasks, each where its fetched records end.
    pub(super) fn assign_reader(&mut self) -> Result<()> {
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
}

pub(super) fn opening(shared: &Shared) -> Opening<'_> {
    Opening {
        layout: &shared.layout,
        log: &*shared.log,
        settings: &shared.settings,
        directory: shared.directory.as_ref(),
        budget: &shared.budget,
        hooks: &*shared.hooks,
        wall_ms: shared.env.wall_ms(),
    }
}

/// Joins the group. `name` is unique in it and stable over restarts.
pub(in crate::runtime) fn join(shared: &Shared, name: &str) -> Result<Box<dyn Membership>> {
    shared.log.join(JoinRequest {
        group: shared.layout.application.clone(),
        member: name.to_owned(),
        tasks: shared.layout.plans(),
        session_timeout_ms: shared.settings.session_timeout_ms,
    })
}

/// Tells the group that the worker lives and keeps what it answers.
pub(super) fn beat(
    membership: &mut dyn Membership,
    pending: &mut Option<Assignment>,
) -> Result<()> {
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
    if stopping(shared) {
        return Err(Error::new(
            ErrorKind::Closed,
            "stopped while state was being restored",
        ));
    }
    beat(membership, pending)
}

fn stopping(shared: &Shared) -> bool {
    shared.stop.load(Ordering::Acquire)
}

/// A lost place is noticed where it is handled: by the next look at the assignment or the commit.
pub(super) fn ignore_fenced(error: Error) -> Result<()> {
    if error.kind() == ErrorKind::Fenced {
        Ok(())
    } else {
        Err(error)
    }
}
