//! Outputs that go to the log ahead of their commit, where the log gains by it (decision D18,
//! [ADR 0019](../../../docs/adr/0019-outputs-go-ahead.md)).
//!
//! ```text
//!  step -> outputs wait -> enough of them: stage -> ... -> seal: the rest, changelogs, offsets -> submit
//! ```
//! Outputs alone: a changelog has one record of a row, however often that changed, and it is known when the
//! commit is sealed. And between steps alone: within one a record may be undone. While a commit is in flight
//! nothing goes ahead, since the next one begins after it.

use super::{Phase, Worker};
use crate::base::{Result, TopicPartition};
use crate::log::{Batch, Staging};

/// A commit of which nothing is known to be wrong but its size is tried again with half of it, down to this, in
/// bytes.
const COMMIT_BYTES_MIN: usize = 32 << 10;

/// What went ahead of the next commit, and what the last ones taught.
#[derive(Default)]
pub(super) struct Ahead {
    /// When it has to be submitted at the latest, by the monotonic clock; `None` while nothing went ahead.
    until_ms: Option<u64>,
    /// A commit failed: until one succeeds they go whole. What made the last one fail, such as a record that
    /// takes longer than a transaction may, may come again, and must not find one open.
    is_off: bool,
    /// How large a commit may be since one failed, in bytes.
    limit: Option<usize>,
    /// The size of the last one.
    asked: usize,
}

impl Ahead {
    /// The next commit is asked for.
    pub(super) fn is_asked(&mut self, bytes: usize) {
        self.until_ms = None;
        self.asked = bytes;
    }

    /// The last one did. Commits grow slowly, and not while they take long.
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

    /// The log did not take the last commit in time, perhaps because it was too large for what leads there: the
    /// next is of half the size at most.
    pub(super) fn halve(&mut self) {
        let known = self.limit.unwrap_or(usize::MAX);
        self.limit = Some((self.asked / 2).min(known).max(COMMIT_BYTES_MIN));
    }

    /// How much may wait for a commit, of what there is room for.
    pub(super) fn room(&self, bytes: usize) -> usize {
        self.limit.map_or(bytes, |limit| limit.min(bytes))
    }

    /// What went ahead is gone.
    pub(super) fn forget(&mut self) {
        self.until_ms = None;
    }

    pub(super) fn until_ms(&self) -> u64 {
        self.until_ms.unwrap_or(u64::MAX)
    }
}

impl Worker {
    /// Lets outputs go ahead, if enough of them wait to be worth it.
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
        let now_ms = self.shared.env.monotonic_ms();
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

    /// Takes them. Whoever made some has something to commit, whatever else it did.
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
