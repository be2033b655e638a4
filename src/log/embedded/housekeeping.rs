//! The thread that frees space: retention, then compaction, partition by partition.

use std::sync::Arc;
use std::time::Duration;

use super::compaction::compact;
use super::partition::{Partition, Topic};
use super::shared::{Shared, at};
use crate::base::{ErrorKind, Result};
use crate::log::{Cleanup, TopicSpec};

/// The housekeeping thread: works in intervals until the log is closed.
pub(super) fn run(shared: Arc<Shared>) {
    let interval = Duration::from_millis(shared.settings.housekeeping_interval_ms);
    while !shared.closing.wait_past(0, interval) {
        if let Err(error) = clean(&shared, Worth::DirtyHalf) {
            tracing::error!(%error, "housekeeping of the log failed and will be retried");
        }
    }
}

/// Which partitions are compacted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// Those of which at least half is new since the last time (Kafka's default): each byte is then
    /// rewritten about twice in its life.
    DirtyHalf,
    /// All.
    Anything,
}

/// One round over all partitions. An error in one does not keep the others from being cleaned; the
/// first is returned.
pub(super) fn clean(shared: &Shared, worth: Worth) -> Result<()> {
    let topics: Vec<Arc<Topic>> = shared.topics().values().cloned().collect();
    let mut result = Ok(());
    for topic in topics {
        for partition in &topic.partitions {
            // Closing does not wait for the rest of a long round.
            if shared.check_open().is_err() {
                return result;
            }
            let cleaned = match clean_partition(shared, &topic, partition, worth) {
                Err(error) if error.kind() == ErrorKind::Closed => Ok(()),
                cleaned => cleaned,
            };
            result = result.and(cleaned.map_err(|error| at(partition, error)));
        }
    }
    result
}

fn clean_partition(
    shared: &Shared,
    topic: &Topic,
    partition: &Partition,
    worth: Worth,
) -> Result<()> {
    if topic.spec.cleanup != Cleanup::Compact {
        expire(shared, &topic.spec, partition)?;
    }
    if topic.spec.cleanup != Cleanup::Delete {
        let row = partition.row();
        let dirty = row.bytes.saturating_sub(row.clean_bytes);
        if worth == Worth::Anything || (dirty > 0 && dirty * 2 >= row.bytes) {
            compact(shared, &topic.spec, partition)?;
        }
    }
    Ok(())
}

fn expire(shared: &Shared, spec: &TopicSpec, partition: &Partition) -> Result<()> {
    if spec.retention_ms.is_none() && spec.retention_bytes.is_none() {
        return Ok(());
    }
    let now_ms = shared.env.wall_ms();
    shared.purge(partition, 0, |stored| {
        let age_ms = now_ms.saturating_sub(stored.append_time_ms);
        let old = spec.retention_ms.is_some_and(|limit_ms| age_ms > limit_ms);
        let large = spec
            .retention_bytes
            .is_some_and(|limit| stored.bytes_left > limit);
        old || large
    })
}

impl Shared {
    /// Whether the partition's topic was not deleted; stays true while `writing` is held.
    pub(super) fn still_has(&self, partition: &Partition) -> bool {
        self.find(&partition.name)
            .is_ok_and(|(_, found)| found.place == partition.place)
    }
}
