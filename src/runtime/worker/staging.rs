//! Outputs that are sent to the log ahead of their commit, where the log benefits from it
//! ([ADR 0019](../../../docs/adr/0019-outputs-go-ahead.md)).
//!
//! ```text
//!  step -> outputs wait -> enough of them: stage -> ... -> seal: the rest, changelogs, offsets -> submit
//! ```
//! Only outputs: a changelog has one record per row, however often that changed, and it is known only
//! when the commit is sealed. And only between steps: within a step a record may be undone. While a
//! commit is in flight nothing is sent ahead, since the next commit begins after it.

use super::{Phase, Worker};
use crate::base::{Result, TopicPartition};
use crate::log::{Batch, Staging};

/// A commit that failed for no known reason other than its size is retried at half the size, down to
/// this, in bytes.
const COMMIT_BYTES_MIN: usize = 32 << 10;

/// What was sent ahead of the next commit, and what was learned from the last ones.
#[derive(Default)]
pub(super) struct Ahead {
    /// When it must be submitted at the latest, by the monotonic clock; `None` while nothing was sent
    /// ahead.
    until_ms: Option<u64>,
    /// After a failed commit, nothing is sent ahead until one succeeds. The cause of the failure, such as
    /// a record that takes longer than a transaction may, may occur again, and must not find one open.
    is_off: bool,
    /// The maximum size of a commit since one failed, in bytes.
    limit: Option<usize>,
    /// The size of the last one.
    asked: usize,
}

impl Ahead {
    /// The next commit is submitted.
    pub(super) fn is_asked(&mut self, bytes: usize) {
        self.until_ms = None;
        self.asked = bytes;
    }

    /// The last one succeeded. Commits grow slowly, and not while they take long.
    pub(super) fn succeeded(&mut self, took_ms: u64, staging: Option<Staging>) {
        self.is_off = false;
        let is_slow = |staging: Staging| u128::from(took_ms) > staging.within.as_millis();
        if !staging.is_some_and(is_slow) {
            self.limit = self.limit.map(|limit| limit.saturating_add(limit / 8));
        }
    }

    pub(super) fn failed(&mut self) {
        self.until_ms = None;
        self.is_off = true;
    }

    /// The log did not take the last commit in time, perhaps because it was too large for the network:
    /// the next one has at most half the size.
    pub(super) fn halve(&mut self) {
        let known = self.limit.unwrap_or(usize::MAX);
        self.limit = Some((self.asked / 2).min(known).max(COMMIT_BYTES_MIN));
    }

    /// How much may wait for a commit, out of the available room.
    pub(super) fn room(&self, bytes: usize) -> usize {
        self.limit.map_or(bytes, |limit| limit.min(bytes))
    }

    /// What was sent ahead is gone.
    pub(super) fn forget(&mut self) {
        self.until_ms = None;
    }

    pub(super) fn until_ms(&self) -> u64 {
        self.until_ms.unwrap_or(u64::MAX)
    }
}

impl Worker {
    /// Sends outputs ahead, if enough of them are waiting to be worth it.
    pub(super) fn stage(&mut self) -> Result<()> {
        if self.in_flight.is_some() || self.phase != Phase::Working || self.ahead.is_off {
            return Ok(());
        }
        let Some(staging) = self.writer.staging() else {
            return Ok(());
        };
        if self.waiting_outputs() < staging.from_bytes {
            return Ok(());
        }
        let now_ms = self.context.env.monotonic_ms();
        let within_ms = u64::try_from(staging.within.as_millis()).unwrap_or(u64::MAX);
        let latest_ms = now_ms.saturating_add(within_ms);
        self.ahead.until_ms.get_or_insert(latest_ms);
        let outputs = self.take_outputs();
        match self.writer.stage(outputs) {
            Ok(()) => Ok(()),
            Err(error) => self.commit_failed(error),
        }
    }

    /// How many bytes of outputs wait.
    pub(super) fn waiting_outputs(&mut self) -> usize {
        let tasks = self.tasks.values_mut();
        tasks.map(|open| open.task.effects().bytes()).sum()
    }

    /// Takes them. A task that made some has something to commit, whatever else it did.
    pub(super) fn take_outputs(&mut self) -> Vec<(TopicPartition, Batch)> {
        let mut outputs = Vec::new();
        for open in self.tasks.values_mut() {
            let taken = open.task.effects().take();
            open.staged |= !taken.is_empty();
            outputs.extend(taken);
        }
        outputs
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_commit_that_fails_is_halved_and_grows_again() {
        let mut ahead = Ahead::default();
        assert_eq!(ahead.room(1 << 20), 1 << 20);
        ahead.is_asked(800_000);
        ahead.halve();
        assert_eq!(ahead.room(1 << 20), 400_000);
        ahead.is_asked(300_000);
        ahead.halve();
        assert_eq!(ahead.room(1 << 20), 150_000);
        ahead.is_asked(0);
        ahead.halve();
        assert_eq!(ahead.room(1 << 20), COMMIT_BYTES_MIN);
        let staging = Staging {
            from_bytes: 1,
            within: Duration::from_secs(20),
        };
        ahead.succeeded(20_001, Some(staging));
        assert_eq!(ahead.room(1 << 20), COMMIT_BYTES_MIN, "it took long");
        ahead.succeeded(20_000, Some(staging));
        assert_eq!(ahead.room(1 << 20), COMMIT_BYTES_MIN / 8 * 9);
        for _ in 0..1_000 {
            ahead.succeeded(0, None);
        }
        assert_eq!(ahead.room(1 << 20), 1 << 20);
    }
}
