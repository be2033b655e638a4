//! The writers' and the members' sides.

use std::sync::Arc;
use std::time::Duration;

use super::queue::{Answer, Job};
use super::shared::Shared;
use crate::base::{Result, TaskId};
use crate::log::group::LocalMember;
use crate::log::{
    Assignment, Commit, CommitError, Heartbeat, MemberToken, Membership, Receipt, Staged, Writer,
    check,
};

pub(super) struct EmbeddedWriter {
    pub(super) shared: Arc<Shared>,
    pub(super) id: String,
    pub(super) opened: u64,
    /// Of the commit in flight.
    pub(super) answer: Option<Arc<Answer>>,
    pub(super) staged: Staged,
}

const SPACING: Duration = Duration::from_millis(1);

impl Writer for EmbeddedWriter {
    fn staged(&mut self) -> &mut Staged {
        &mut self.staged
    }

    fn submit(&mut self, commit: Commit) -> Result<(), CommitError> {
        assert!(self.answer.is_none(), "one commit at a time");
        let mut commit = self.staged.complete(commit);
        // Checksums and size checks happen here, on the writer's thread: the committer is shared.
        let now_ms = self.shared.env.wall_ms();
        let mut stamped = Vec::with_capacity(commit.appends.len());
        for (name, batch) in commit.appends {
            let (topic, _) = self.shared.find(&name).map_err(CommitError::Aborted)?;
            check::check_sizes(&name, &batch, topic.spec.max_record_bytes)
                .map_err(CommitError::Aborted)?;
            stamped.push((name, batch.stamp(now_ms)));
        }
        commit.appends = stamped;
        let answer = Arc::new(Answer::default());
        let of = self.id.clone();
        self.shared
            .enqueue(Job::new(commit, of, self.opened, Arc::clone(&answer)))?;
        self.answer = Some(answer);
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> Result<Option<Receipt>, CommitError> {
        let Some(answer) = &self.answer else {
            return Ok(None);
        };
        let Some(outcome) = answer.wait(timeout) else {
            return Ok(None);
        };
        self.answer = None;
        outcome.map(Some)
    }

    fn spacing(&self) -> Option<Duration> {
        Some(SPACING)
    }
}

pub(super) struct EmbeddedMember {
    pub(super) shared: Arc<Shared>,
    pub(super) local: LocalMember,
}

impl Membership for EmbeddedMember {
    fn poll(&mut self) -> Result<Option<Assignment>> {
        self.shared.check_open()?;
        let now_ms = self.shared.env.monotonic_ms();
        let group = self.local.group.clone();
        self.shared
            .with_group(&group, |groups| groups.poll(&mut self.local, now_ms))
    }

    fn release(&mut self, tasks: &[TaskId]) -> Result<()> {
        self.shared.groups().release(&self.local, tasks)
    }

    fn token(&self) -> MemberToken {
        self.local.token()
    }

    fn heartbeat(&self) -> Box<dyn Heartbeat> {
        Box::new(EmbeddedHeartbeat {
            shared: Arc::clone(&self.shared),
            local: self.local.clone(),
        })
    }

    fn leave(self: Box<Self>) {
        drop(self);
    }
}

struct EmbeddedHeartbeat {
    shared: Arc<Shared>,
    local: LocalMember,
}

impl Heartbeat for EmbeddedHeartbeat {
    fn beat(&self) -> Result<()> {
        let now_ms = self.shared.env.monotonic_ms();
        self.shared.groups().beat(&self.local, now_ms)
    }
}

/// The others need not wait for the session to end, whatever happened to the member's thread.
impl Drop for EmbeddedMember {
    fn drop(&mut self) {
        self.shared.leave(&self.local);
    }
}
