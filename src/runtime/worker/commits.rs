//! When a worker commits, and what it does with the answers.

use std::time::Duration;

use super::outage::{Outage, backoff_ms};
use super::{Phase, REFRESH_MS, SMALL_COMMIT_BYTES, Worker};
use crate::base::{ErrorKind, Result};
use crate::log::{CommitError, size_of};
use crate::runtime::Guarantee;
use crate::runtime::commit::{InFlight, seal};
use crate::runtime::open_task::End;
use crate::runtime::spans;

/// The log gets this many times the duration of the last commit submitted without a backlog before the
/// next one, unless the interval has ended: it has other clients, and queued commits take longer and
/// longer.
const SPACING_COMMITS: u64 = 4;
/// How long the next commit waits after the answer to the last one, if the spacing is not shorter, in
/// milliseconds: after the answer brokers still end the transaction in each partition, and a commit that
/// comes sooner takes several times as long.
const REST_MS: u64 = 5;

impl Worker {
    /// Bytes that wait for a commit, or are in flight in one.
    pub(super) fn uncommitted_bytes(&self) -> usize {
        let tasks = self.tasks.values();
        let waiting: usize = tasks.map(|open| open.task.uncommitted_bytes()).sum();
        waiting + self.in_flight.as_ref().map_or(0, InFlight::bytes)
    }

    /// The limit. A commit is due at half of it: one half is in flight while the other fills.
    pub(super) fn uncommitted_limit(&self) -> usize {
        let limit = self.ahead.room(self.context.settings.uncommitted_bytes());
        match self.short_of_room {
            true => limit.min(SMALL_COMMIT_BYTES),
            false => limit,
        }
    }

    pub(super) fn commit_if_due(&mut self) -> Result<()> {
        if self.phase != Phase::Working {
            return Ok(());
        }
        let now_ms = self.context.env.monotonic_ms();
        let (bytes, limit) = (self.uncommitted_bytes(), self.uncommitted_limit());
        let ending = self
            .tasks
            .values()
            .any(|open| open.task.has_ended() && open.end != End::Committed);
        let due_ms = self.commit_due_ms();
        // When both generations are full, the worker can only wait for the answer, or for the brokers to
        // take what was sent ahead.
        let ahead = self.writer.staged_bytes();
        self.is_full = bytes + ahead >= limit && (self.in_flight.is_some() || ahead > 0);
        let is_much = bytes >= limit / 2;
        let is_due = ending || now_ms >= due_ms;
        if self.in_flight.is_some() || (!is_much && !is_due) {
            return Ok(());
        }
        match is_due || !self.are_outputs_enough(bytes) {
            true => self.ask(),
            false => self.ask_for_outputs(),
        }
    }

    /// Whether memory has room again after only the outputs are committed, which at least once allows:
    /// rows that change again until the commit is due are then written once. Where the log benefits from
    /// staging, outputs have already left memory.
    fn are_outputs_enough(&mut self, bytes: usize) -> bool {
        let is_allowed = self.context.settings.guarantee == Guarantee::AtLeastOnce;
        is_allowed && self.writer.staging().is_none() && self.waiting_outputs() >= bytes / 2
    }

    fn ask_for_outputs(&mut self) -> Result<()> {
        self.begun_at_ns = self.context.env.monotonic_ns();
        self.asked_at_ms = self.begun_at_ns / 1_000_000;
        let outputs = self.take_outputs();
        self.ahead.is_asked(size_of(&outputs));
        let asked = InFlight::of_outputs(
            outputs,
            &self.context.layout.application,
            self.membership.token(),
            &mut *self.writer,
            &*self.context.hooks,
        );
        self.is_asked(asked)
    }

    fn is_asked(&mut self, asked: Result<InFlight, CommitError>) -> Result<()> {
        match asked {
            Ok(flight) => {
                self.in_flight = Some(flight);
                self.asked_caught_up = self.has_caught_up;
                Ok(())
            }
            Err(error) => self.commit_failed(error),
        }
    }

    /// When the next commit is due, by the monotonic clock. With a backlog, after the interval; results
    /// that no waiting input will change need not wait for it.
    pub(super) fn commit_due_ms(&mut self) -> u64 {
        let settings = &self.context.settings;
        let interval_ms = settings.commit_interval_ms;
        let millis = |spacing: Duration| spacing.as_millis() as u64;
        let least_ms = settings.commit_spacing_ms;
        let least_ms = least_ms.or_else(|| self.writer.spacing().map(millis));
        let spacing_ms = least_ms.map_or(u64::MAX, |least_ms| {
            least_ms.max(SPACING_COMMITS * self.commit_took_ms)
        });
        let pause_ms = match spacing_ms < interval_ms && self.has_caught_up && self.is_dirty() {
            true => spacing_ms,
            false => interval_ms,
        };
        let rest_ms = least_ms.unwrap_or(0).min(REST_MS);
        let rested_ms = self.definite_at_ms.unwrap_or(0).saturating_add(rest_ms);
        let due_ms = self.committed_at_ms.saturating_add(pause_ms);
        due_ms.max(rested_ms).min(self.ahead.until_ms())
    }

    fn ask(&mut self) -> Result<()> {
        let Self {
            context,
            tasks,
            writer,
            membership,
            ahead,
            ..
        } = self;
        self.begun_at_ns = context.env.monotonic_ns();
        self.committed_at_ms = self.begun_at_ns / 1_000_000;
        let all = self.committed_at_ms > self.refreshed_at_ms + REFRESH_MS;
        if all {
            self.refreshed_at_ms = self.committed_at_ms;
        }
        let wall_ms = context.env.wall_ms();
        for open in tasks.values_mut() {
            open.task.set_wall_ms(wall_ms);
        }
        let sealed = seal(tasks, all)?;
        if sealed.is_empty() {
            return Ok(());
        }
        ahead.is_asked(sealed.bytes());
        let asked = InFlight::ask(
            sealed,
            &context.layout.application,
            membership.token(),
            &mut **writer,
            &*context.hooks,
        );
        self.asked_at_ms = self.committed_at_ms;
        self.is_asked(asked)
    }

    /// Takes the answer to the commit in flight, if it arrives within that time.
    pub(super) fn look_for_answer(&mut self, timeout: Duration) -> Result<()> {
        let now_ms = self.context.env.monotonic_ms();
        let Some(flight) = &mut self.in_flight else {
            return Ok(());
        };
        if now_ms < self.ask_again_at_ms {
            return Ok(());
        }
        let answer = flight.poll(&mut *self.writer, timeout);
        if let Some(error) = flight.take_unknown() {
            let times = Outage::note(&mut self.unanswered, self.asked_at_ms, &error);
            self.ask_again_at_ms = now_ms + backoff_ms(times);
            if times == 1 {
                tracing::warn!(worker = %self.name, %error, "the outcome of a commit is unknown; asking again");
            }
        }
        match answer {
            Ok(false) => Ok(()),
            Ok(true) => {
                let Some(flight) = self.answered() else {
                    return Ok(());
                };
                let wall_ms = self.context.env.wall_ms();
                let span = flight.span();
                // A commit of outputs alone has nothing to apply.
                flight.apply(&mut self.tasks, wall_ms, &*self.context.hooks)?;
                self.commits += 1;
                let answered_ns = self.context.env.monotonic_ns();
                let answered_ms = answered_ns / 1_000_000;
                let duration_ns = answered_ns.saturating_sub(self.begun_at_ns);
                self.latencies.note(duration_ns);
                spans::committed(&span, duration_ns);
                self.definite_at_ms = Some(answered_ms);
                let took_ms = answered_ms.saturating_sub(self.asked_at_ms);
                if self.asked_caught_up {
                    self.commit_took_ms = took_ms;
                }
                let staging = self.writer.staging();
                self.ahead.succeeded(took_ms, staging);
                self.aborts = None;
                match self.short_of_room {
                    true => self.purge(),
                    false => Ok(()),
                }
            }
            Err(error) => {
                self.answered();
                self.commit_failed(error)
            }
        }
    }

    /// There is no longer a commit in flight.
    pub(super) fn answered(&mut self) -> Option<InFlight> {
        self.unanswered = None;
        self.ask_again_at_ms = 0;
        self.in_flight.take()
    }

    /// Commits everything, over several turns; returns whether all of it is committed. It also returns
    /// false if a commit was aborted or the place in the group was lost: check the phase.
    pub(super) fn all_committed(&mut self) -> Result<bool> {
        let phase = self.phase;
        self.look_for_answer(Duration::ZERO)?;
        if self.in_flight.is_none() && self.phase == phase {
            self.ask()?;
            self.look_for_answer(Duration::ZERO)?;
        }
        Ok(self.in_flight.is_none() && self.phase == phase && !self.is_dirty())
    }

    fn is_dirty(&mut self) -> bool {
        self.tasks.values_mut().any(|open| open.is_dirty())
    }

    pub(super) fn commit_failed(&mut self, error: CommitError) -> Result<()> {
        self.ahead.failed();
        if let CommitError::Aborted(error) | CommitError::Lost(error) = &error
            && error.kind() == ErrorKind::Unavailable
        {
            self.ahead.halve();
        }
        match error {
            // A retry would be refused again.
            CommitError::Aborted(error) if error.kind() == ErrorKind::Invalid => Err(error),
            CommitError::Aborted(error) => self.abort(&error),
            CommitError::Fenced(error) => self.lose_place(error),
            // Whatever its outcome, the log knows it: the worker restarts from what is committed.
            CommitError::Lost(error) => self.rejoin(&error),
            CommitError::Unknown(error) | CommitError::Fatal(error) => Err(error),
        }
    }
}
