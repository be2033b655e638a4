//! When a worker commits, and what it does when a commit fails.

use std::time::Duration;

use super::assignment::{beat, ignore_fenced, join};
use super::{ANSWER_WAIT, BACKOFF_MS, BACKOFF_MS_MAX, REFRESH_MS, SMALL_COMMIT_BYTES, Worker};
use crate::base::{Error, ErrorKind, Result};
use crate::log::CommitError;
use crate::runtime::commit::{InFlight, seal};
use crate::runtime::layout::inputs;
use crate::runtime::open_task::seek;

impl Worker {
    pub(super) fn commit_if_due(&mut self) -> Result<()> {
        let settings = &self.shared.settings;
        let now_ms = self.shared.env.monotonic_ms();
        let uncommitted: usize = self
            .tasks
            .values_mut()
            .map(|open| open.task.effects().bytes() + open.task.state.dirty_bytes())
            .sum();
        let limit = match self.short_of_room {
            true => settings.uncommitted_bytes().min(SMALL_COMMIT_BYTES),
            false => settings.uncommitted_bytes(),
        };
        let full = uncommitted >= limit;
        let ending = self
            .tasks
            .values()
            .any(|open| open.task.has_ended() && !open.ended);
        let due_ms = self
            .committed_at_ms
            .saturating_add(settings.commit_interval_ms);
        if !full && !ending && now_ms < due_ms {
            return Ok(());
        }
        if full {
            // Both generations are full: nothing to do but wait for the answer.
            self.wait_for_answer()?;
        }
        if self.in_flight.is_none() {
            self.ask()
        } else {
            Ok(())
        }
    }

    pub(super) fn ask(&mut self) -> Result<()> {
        let Self {
            shared,
            tasks,
            writer,
            membership,
            ..
        } = self;
        self.committed_at_ms = shared.env.monotonic_ms();
        let all = self.committed_at_ms > self.refreshed_at_ms + REFRESH_MS;
        if all {
            self.refreshed_at_ms = self.committed_at_ms;
        }
        let sealed = seal(tasks, all)?;
        if sealed.is_empty() {
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

    pub(super) fn look_for_answer(&mut self, timeout: Duration) -> Result<()> {
        let Some(flight) = &mut self.in_flight else {
            return Ok(());
        };
        let token = self.membership.token();
        match flight.poll(token, &mut *self.writer, timeout) {
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
                let wall_ms = self.shared.env.wall_ms();
                flight.apply(&mut self.tasks, wall_ms, &*self.shared.hooks)?;
                self.commits += 1;
                self.aborts = None;
                match self.short_of_room {
                    true => self.purge(),
                    false => Ok(()),
                }
            }
            Err(error) => {
                self.in_flight = None;
                self.commit_failed(error)
            }
        }
    }

    /// Commits everything and waits for the answer.
    pub(super) fn commit_and_wait(&mut self) -> Result<()> {
        self.wait_for_answer()?;
        self.ask()?;
        self.wait_for_answer()
    }

    /// Waits for the answer to the commit in flight; the group sees meanwhile that the worker lives.
    fn wait_for_answer(&mut self) -> Result<()> {
        while self.in_flight.is_some() {
            self.look_for_answer(ANSWER_WAIT)?;
            let beaten = beat(&mut *self.membership, &mut self.pending);
            beaten.or_else(ignore_fenced)?;
        }
        Ok(())
    }

    pub(super) fn commit_failed(&mut self, error: CommitError) -> Result<()> {
        match error {
            // Tried again it would be refused again.
            CommitError::Aborted(error) if error.kind() == ErrorKind::Invalid => Err(error),
            CommitError::Aborted(error) => self.abort(error),
            CommitError::Fenced(error) => self.rejoin(error),
            CommitError::Unknown(error) | CommitError::Fatal(error) => Err(error),
        }
    }

    /// Nothing of the commit happened: every task goes back to what is committed and reads its input
    /// again.
    pub(super) fn abort(&mut self, error: Error) -> Result<()> {
        let error_kind = error.kind();
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
        for open in self.tasks.values_mut() {
            open.task.abort()?;
            let partitions = inputs(open.task.spec());
            let offsets = shared
                .log
                .committed(&shared.layout.application, &partitions)?;
            open.committed = seek(&*shared.log, &mut open.task, &partitions, &offsets)?;
            open.committing.clone_from(&open.committed);
            open.sealed = false;
            open.ended = false;
            open.told_end = false;
        }
        if error_kind == ErrorKind::Full {
            // What has been read of repartition topics may be what fills it.
            self.short_of_room = true;
            self.purge()?;
        }
        self.assign_reader()
    }

    /// The group has moved on: whatever is not committed is somebody else's now.
    pub(super) fn rejoin(&mut self, error: Error) -> Result<()> {
        tracing::warn!(worker = %self.name, %error, "lost its place in the group; joining anew");
        self.in_flight = None;
        self.pending = None;
        for open in self.tasks.values() {
            self.drops.add(open.task.drops());
        }
        self.tasks.clear();
        self.openings.give_up_but(|_| false);
        self.settled_at_ms = None;
        self.assign_reader()?;
        let application = &self.shared.layout.application;
        self.writer = self
            .shared
            .log
            .writer(&format!("{application}-{}", self.name))?;
        self.membership = join(&self.shared, &self.name)?;
        self.seats += 1;
        Ok(())
    }

    /// Flushes and purges when it is time.
    pub(super) fn keep_house(&mut self) -> Result<()> {
        let now_ms = self.shared.env.monotonic_ms();
        let settings = &self.shared.settings;
        if now_ms
            < self
                .kept_house_at_ms
                .saturating_add(settings.purge_interval_ms)
        {
            return Ok(());
        }
        self.kept_house_at_ms = now_ms;
        self.short_of_room = false;
        self.flush_what_is_due(now_ms)?;
        if self.commits == self.purged_commits {
            return Ok(());
        }
        self.purged_commits = self.commits;
        self.purge()
    }

    /// Bounds how much of the changelogs a crash makes a restart read, and how old the rows get.
    fn flush_what_is_due(&mut self, now_ms: u64) -> Result<()> {
        let interval_ms = self.shared.settings.flush_interval_ms;
        for open in self.tasks.values_mut() {
            if now_ms >= open.flushed_at_ms.saturating_add(interval_ms) {
                open.flush(&*self.shared.hooks)?;
                open.flushed_at_ms = now_ms;
            }
        }
        Ok(())
    }

    /// Deletes what nobody needs any more from internal topics (decision D6).
    fn purge(&mut self) -> Result<()> {
        let mut before = Vec::new();
        for open in self.tasks.values() {
            for (input, offset) in inputs(open.task.spec()).into_iter().zip(&open.committed) {
                if self.shared.layout.is_repartition(&input.topic) {
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
        match self.shared.log.delete_records(&before) {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!(%error, "nothing was purged; the next time will do");
                Ok(())
            }
            purged => purged,
        }
    }
}
