//! What a worker does when its work is lost: a commit was aborted, or its place was lost.

use std::sync::Arc;

use super::assignment::{beat, join};
use super::outage::{Attempt, Outage, backoff_ms, of_log};
use super::{Phase, Turn, Worker};
use crate::base::{Error, ErrorKind, Result, TaskId};
use crate::log::{Assignment, Heartbeat, MemberToken, Membership};
use crate::runtime::layout::inputs;
use crate::runtime::open_task::{End, seek};

/// A worker that loses its place to others this often within that time, in milliseconds, has a duplicate:
/// an expulsion takes a whole session, which is many seconds.
const FENCED_MOST: usize = 10;
pub(super) const FENCED_WITHIN_MS: u64 = 60_000;

impl Worker {
    /// Nothing of the commit happened: every task drops what is not committed, and reads its input again
    /// after a while.
    pub(super) fn abort(&mut self, error: &Error) -> Result<()> {
        let now_ms = self.context.env.monotonic_ms();
        let times = Outage::note(&mut self.aborts, now_ms, error);
        tracing::warn!(worker = %self.name, %error, times, "commit aborted; returning to the committed \
                                                            state");
        self.writer.abandon();
        self.aborts_total += 1;
        for open in self.tasks.values_mut() {
            open.task.abort()?;
            open.written.aborted();
            open.sealed = false;
            open.staged = false;
            open.end = End::Open;
            open.end_recorded = false;
        }
        self.forget_round();
        self.phase = match self.phase {
            Phase::Stopping { .. } => Phase::Stopping { commits: false },
            _ => Phase::GoingBack {
                at_ms: now_ms + backoff_ms(times),
                full: error.kind() == ErrorKind::Full,
            },
        };
        Ok(())
    }

    /// Moves the inputs back to what is committed, once it is time.
    pub(super) fn go_back(&mut self, at_ms: u64, full: bool) -> Attempt<Turn> {
        match beat(&mut *self.membership, &mut self.pending) {
            Err(error) if error.kind() == ErrorKind::Fenced => {
                self.lose_place(error)?;
                return Ok(Turn::Again);
            }
            beaten => beaten.map_err(of_log)?,
        }
        if self.context.env.monotonic_ms() < at_ms {
            return Ok(Turn::Wait { until_ms: at_ms });
        }
        let context = Arc::clone(&self.context);
        for open in self.tasks.values_mut() {
            let partitions = inputs(open.task.spec());
            let offsets = context
                .log
                .committed(&context.layout.application, &partitions)
                .map_err(of_log)?;
            let sought = seek(&*context.log, &mut open.task, &partitions, &offsets);
            open.committed = sought.map_err(of_log)?;
            open.committing.clone_from(&open.committed);
        }
        if full {
            // Records already read from repartition topics may be what fills the log.
            self.short_of_room = true;
            self.purge()?;
        }
        self.assign_reader().map_err(of_log)?;
        self.phase = Phase::Working;
        Ok(Turn::Again)
    }

    /// The group has moved on: whatever is not committed now belongs to another member.
    ///
    /// # Errors
    /// When that happens repeatedly, two processes use the same name: they take each other's place for
    /// ever, and neither makes progress.
    pub(super) fn lose_place(&mut self, error: Error) -> Result<()> {
        let now_ms = self.context.env.monotonic_ms();
        let times = self.fenced.note((), now_ms);
        if times < FENCED_MOST {
            return self.rejoin(&error);
        }
        let directory = self.context.directory.as_ref();
        let cure = match directory {
            Some(directory) => format!(
                "was {} copied? Every process needs a state directory of its own: delete the copy, and its \
                 state will be rebuilt",
                directory.path().display()
            ),
            None => "give every process a name of its own".to_owned(),
        };
        let message = format!(
            "worker {} lost its place {times} times within a minute, as if another process used the same \
             name; {cure}. The last time: {error}",
            self.name
        );
        Err(Error::new(ErrorKind::Fenced, message))
    }

    /// If rows that are in changelogs were found to be damaged, restarts from what is committed, which rebuilds
    /// them; returns whether it does. The error may name another cause, if code of the user's met the damage.
    pub(super) fn rebuild_damaged(&mut self, error: &Error) -> bool {
        let damaged = self.tasks.iter().filter(|(_, open)| open.must_be_rebuilt());
        let damaged: Vec<TaskId> = damaged.map(|(task, _)| task.clone()).collect();
        let now_ms = self.context.env.monotonic_ms();
        let mut may_rebuild = |task: &TaskId| self.rebuilds.may_rebuild(task, now_ms);
        if damaged.is_empty() || !damaged.iter().all(&mut may_rebuild) {
            return false;
        }
        for task in damaged {
            tracing::warn!(%task, %error, "the task's rows are damaged; rebuilding them from the changelogs");
        }
        self.start_over();
        true
    }

    /// Restarts from what is committed, its place in the group being lost.
    pub(super) fn rejoin(&mut self, error: &Error) -> Result<()> {
        tracing::warn!(worker = %self.name, %error, "lost its place in the group; rejoining");
        self.places_lost += 1;
        self.start_over();
        Ok(())
    }

    /// Restarts from what is committed, with a new place in the group and a new writer.
    fn start_over(&mut self) {
        self.answered();
        self.pending = None;
        for open in self.tasks.values() {
            self.drops.add(open.task.drops());
        }
        self.tasks.clear();
        self.openings.give_up_but(|_| false);
        self.shared.moves.forget();
        self.forget_round();
        self.settled_at_ms = None;
        self.aborts = None;
        self.shared.liveness.keep(&self.name, None);
        self.membership = Box::new(NoPlace);
        self.phase = match self.phase {
            Phase::Stopping { .. } => Phase::Ended,
            _ => Phase::Joining,
        };
    }

    /// Rejoins the group, with a writer that fences what the last one left open.
    pub(super) fn join_again(&mut self) -> Attempt<Turn> {
        self.assign_reader().map_err(of_log)?;
        let application = &self.context.layout.application;
        let id = format!("{application}-{}", self.name);
        let bytes = self.context.settings.uncommitted_bytes();
        self.writer = self.context.log.writer(&id, bytes).map_err(of_log)?;
        self.membership = join(&self.context, &self.name).map_err(of_log)?;
        let heartbeat = self.membership.heartbeat();
        self.shared.liveness.keep(&self.name, Some(heartbeat));
        self.phase = Phase::Working;
        Ok(Turn::Again)
    }

    fn forget_round(&mut self) {
        self.ahead.forget();
        self.next_task = None;
        self.round_records = 0;
        self.missing = None;
        self.awaited = None;
        self.releasing = false;
        self.is_full = false;
    }
}

/// A membership for a worker that is not a member of any group.
pub(super) struct NoPlace;

impl Membership for NoPlace {
    fn poll(&mut self) -> Result<Option<Assignment>> {
        Err(no_place())
    }

    fn release(&mut self, _: &[TaskId]) -> Result<()> {
        Err(no_place())
    }

    fn token(&self) -> MemberToken {
        MemberToken {
            member: String::new(),
            generation: 0,
        }
    }

    fn heartbeat(&self) -> Box<dyn Heartbeat> {
        Box::new(Self)
    }

    fn leave(self: Box<Self>) {}
}

impl Heartbeat for NoPlace {
    fn beat(&self) -> Result<()> {
        Err(no_place())
    }
}

fn no_place() -> Error {
    let message = "the worker has no place in the group";
    Error::new(ErrorKind::Fenced, message)
}
