//! Housekeeping: flushes rows to disk, and deletes records that are no longer needed from the log.

use super::Worker;
use crate::base::{ErrorKind, Result};
use crate::runtime::layout::inputs;

impl Worker {
    /// Flushes and purges when it is time.
    pub(super) fn maintain(&mut self) -> Result<()> {
        let now_ms = self.context.env.monotonic_ms();
        let settings = &self.context.settings;
        if now_ms
            < self
                .maintained_at_ms
                .saturating_add(settings.purge_interval_ms)
        {
            return Ok(());
        }
        self.maintained_at_ms = now_ms;
        self.short_of_room = false;
        self.flush_what_is_due(now_ms)?;
        if self.commits == self.purged_commits {
            return Ok(());
        }
        self.purged_commits = self.commits;
        self.purge()
    }

    /// Bounds how much of the changelogs a restart reads after a crash, and how old the rows get.
    fn flush_what_is_due(&mut self, now_ms: u64) -> Result<()> {
        let interval_ms = self.context.settings.flush_interval_ms;
        for open in self.tasks.values_mut() {
            if now_ms >= open.flushed_at_ms.saturating_add(interval_ms) {
                open.flush(&*self.context.hooks)?;
                open.flushed_at_ms = now_ms;
            }
        }
        Ok(())
    }

    /// Deletes records that are no longer needed from internal topics.
    pub(super) fn purge(&mut self) -> Result<()> {
        let mut before = Vec::new();
        for open in self.tasks.values() {
            for (input, offset) in inputs(open.task.spec()).into_iter().zip(&open.committed) {
                if self.context.layout.is_repartition(&input.topic) {
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
        match self.context.log.purge(&before) {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!(%error, "nothing was purged; the next purge includes it");
                Ok(())
            }
            purged => purged,
        }
    }
}
