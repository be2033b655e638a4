//! The tasks of a worker: taking, opening and giving them back.

use std::collections::BTreeSet;

use super::reading::Reading;
use super::{Phase, Worker};
use crate::base::{ErrorKind, Offset, Result, TaskId, TopicPartition};
use crate::log::{Assignment, JoinRequest, Membership};
use crate::runtime::context::Context;
use crate::runtime::open_task::OpenTask;

impl Worker {
    /// Tells the group that this worker is alive, and opens and closes tasks as assigned.
    pub(super) fn take_assignment(&mut self) -> Result<()> {
        let beaten = beat(&mut *self.membership, &mut self.pending);
        match beaten.and_then(|()| self.follow_pending()) {
            Err(error) if error.kind() == ErrorKind::Fenced => self.lose_place(error),
            followed => followed,
        }
    }

    fn follow_pending(&mut self) -> Result<()> {
        let Some(assignment) = self.pending.take() else {
            return Ok(());
        };
        let followed = self.follow(&assignment);
        if followed.is_err() {
            // Work that an outage of the log prevented is done later.
            self.pending.get_or_insert(assignment);
        }
        followed
    }

    fn follow(&mut self, assignment: &Assignment) -> Result<()> {
        let kept: BTreeSet<&TaskId> = assignment.tasks.iter().collect();
        let revoked: Vec<TaskId> = self
            .tasks
            .keys()
            .filter(|task| !kept.contains(task))
            .cloned()
            .collect();
        if !revoked.is_empty() {
            let places_lost = self.places_lost;
            let committed = self.all_committed()?;
            if self.places_lost != places_lost {
                // The worker was expelled in the meantime: this assignment belongs to another.
                return Ok(());
            }
            if !committed {
                // The next turn continues, unless the group has assigned something newer by then.
                self.releasing = self.phase == Phase::Working;
                self.pending.get_or_insert_with(|| assignment.clone());
                return Ok(());
            }
            for id in &revoked {
                if let Some(mut open) = self.tasks.remove(id) {
                    open.flush(&*self.context.hooks)?;
                    self.drops.add(open.task.drops());
                    tracing::info!(task = %id, worker = %self.name, "task closed");
                }
            }
        }
        self.releasing = false;
        self.openings.give_up_but(|task| kept.contains(task));
        self.release_but(&kept)?;
        for id in &assignment.tasks {
            if !self.tasks.contains_key(id) && !self.openings.contains(id) {
                self.openings.begin(id);
            }
        }
        self.assign_reader()?;
        self.settle();
        Ok(())
    }

    /// Gives back everything that the group no longer assigns to this worker: tasks just closed or given
    /// up, and those of an assignment that was superseded before it was processed. For the others, the
    /// group knows that they do not belong to this member.
    fn release_but(&mut self, kept: &BTreeSet<&TaskId>) -> Result<()> {
        let tasks = self.context.layout.specs.keys();
        let others: Vec<TaskId> = tasks.filter(|task| !kept.contains(task)).cloned().collect();
        match others.is_empty() {
            true => Ok(()),
            false => self.membership.release(&others),
        }
    }

    /// Takes the tasks that are ready.
    pub(super) fn take_opened(&mut self) -> Result<()> {
        if self.openings.is_empty() && !self.openings.unread {
            return Ok(());
        }
        for (id, ready) in self.openings.poll()? {
            let opened = OpenTask::of(&self.context, &self.shared.committed, &id, *ready);
            let mut open = match opened {
                Err(error)
                    if error.kind() == ErrorKind::Corrupt
                        && self.context.will_rebuild(&id)
                        && self
                            .rebuilds
                            .may_rebuild(&id, self.context.env.monotonic_ms()) =>
                {
                    tracing::warn!(task = %id, %error, "the task's rows are damaged; rebuilding them from the changelogs");
                    self.openings.begin(&id);
                    continue;
                }
                opened => opened?,
            };
            let reading = self.reading.as_ref();
            open.task.set_reader(reading.and_then(Reading::sender));
            // A task that ended in the application's previous run may continue now. Within one run it
            // stays ended.
            if self.shared.is_first_opening(&id) {
                open.task.forget_ends();
            }
            tracing::info!(task = %id, worker = %self.name, restored = open.restored, "task opened");
            self.tasks.insert(id, open);
            self.openings.unread = true;
        }
        if self.openings.unread {
            // If an outage of the log prevents that, the next turn tries again.
            self.assign_reader()?;
            self.openings.unread = false;
            self.settle();
        }
        Ok(())
    }

    /// Notes whether the worker has all tasks that the group gave it.
    fn settle(&mut self) {
        let now_ms = self.context.env.monotonic_ms();
        self.settled_at_ms = self.openings.is_empty().then_some(now_ms);
        self.report(true);
    }

    /// Gives the reader the inputs of all tasks, each from the end of its fetched records. Those of tasks
    /// that stay are already there, and their fetched records are not fetched again.
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
        self.reader_stale = true;
        self.reader.update(&positions)?;
        self.reader_stale = false;
        Ok(())
    }

    /// Does what an outage of the log prevented when tasks arrived.
    pub(super) fn catch_up(&mut self) -> Result<()> {
        if self.reader_stale {
            self.assign_reader()?;
            self.settle();
        }
        Ok(())
    }
}

/// Joins the group. `name` is unique in it and stable across restarts.
pub(in crate::runtime) fn join(context: &Context, name: &str) -> Result<Box<dyn Membership>> {
    context.log.join(JoinRequest {
        group: context.layout.application.clone(),
        member: name.to_owned(),
        tasks: context.layout.plans(),
        session_timeout_ms: context.settings.session_timeout_ms,
        max_poll_interval_ms: context.settings.max_poll_interval_ms,
    })
}

/// Tells the group that the worker is alive and stores the answer.
pub(super) fn beat(
    membership: &mut dyn Membership,
    pending: &mut Option<Assignment>,
) -> Result<()> {
    if let Some(assignment) = membership.poll()? {
        *pending = Some(assignment);
    }
    Ok(())
}
