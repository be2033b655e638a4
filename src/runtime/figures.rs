//! The numbers in a snapshot: throughput, sizes, commit latencies.
//!
//! Workers count for themselves and publish their numbers with each report, about ten times a second
//! (`worker/reporting.rs`). Outputs count once their commit is definite.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{Offset, TopicPartition};
use crate::log::Batch;
use crate::state::StoreFigures;
use crate::task::{Effects, InputFigures, Traffic};

/// An input of a task.
#[derive(Clone, Debug)]
pub struct InputSnapshot {
    /// The partition it reads.
    pub partition: TopicPartition,
    /// Whether it is one of the application's own repartition topics.
    pub is_repartition: bool,
    /// The next offset to be processed.
    pub position: Offset,
    /// Records that are not processed yet; `None` until the log has reported where the partition ends.
    pub lag: Option<i64>,
    /// The largest timestamp read from it, in milliseconds; `None` before the first.
    pub partition_time_ms: Option<i64>,
    /// Input since the task was opened.
    pub figures: InputFigures,
}

/// A store of a task.
#[derive(Clone, Debug)]
pub struct StoreSnapshot {
    /// Its size; some seconds old.
    pub figures: StoreFigures,
    /// The topic of its changelog, if it has one.
    pub changelog: Option<Arc<str>>,
    /// What was written to its changelog since the task was opened.
    pub written: Traffic,
}

/// The memory of one worker, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerMemory {
    /// Records that were fetched but not processed yet.
    pub fetched_bytes: u64,
    /// Data that waits for a commit, or is in flight in one.
    pub uncommitted_bytes: u64,
    /// Cached committed rows.
    pub cached_bytes: u64,
}

impl WorkerMemory {
    /// Adds the memory of another worker.
    pub fn add(&mut self, other: &Self) {
        self.fetched_bytes += other.fetched_bytes;
        self.uncommitted_bytes += other.uncommitted_bytes;
        self.cached_bytes += other.cached_bytes;
    }
}

/// The memory of an application, as far as it is counted, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemorySnapshot {
    /// The limit, [`Settings::memory_bytes`](super::Settings::memory_bytes).
    pub limit_bytes: u64,
    /// The share of its log.
    pub log_bytes: u64,
    /// The block cache and the write buffers of RocksDB; `None` once the application is gone.
    pub disk_bytes: Option<u64>,
    /// The rows of global stores in memory.
    pub globals_bytes: u64,
    /// The memory of the workers.
    pub workers: WorkerMemory,
}

impl MemorySnapshot {
    /// Everything that is counted, with the log at its limit, in bytes.
    pub fn used_bytes(&self) -> u64 {
        let WorkerMemory {
            fetched_bytes,
            uncommitted_bytes,
            cached_bytes,
        } = self.workers;
        let disk_bytes = self.disk_bytes.unwrap_or(0);
        let beside_bytes = self.log_bytes + disk_bytes + self.globals_bytes;
        beside_bytes + fetched_bytes + uncommitted_bytes + cached_bytes
    }
}

/// The upper bounds of the buckets of [`Latencies`], in milliseconds; the last bucket has none.
const BOUNDS_MS: [u64; 14] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000,
];

/// How long commits took, from the moment they begin until they are definite and applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    counts: [u64; BOUNDS_MS.len() + 1],
    sum_ns: u64,
}

impl Latencies {
    pub(super) fn note(&mut self, took_ns: u64) {
        let bounds = BOUNDS_MS.iter();
        let bucket = bounds.take_while(|bound_ms| took_ns > **bound_ms * 1_000_000);
        self.counts[bucket.count()] += 1;
        self.sum_ns += took_ns;
    }

    /// Adds the latencies of another worker.
    pub fn add(&mut self, other: &Self) {
        let counts = self.counts.iter_mut().zip(other.counts);
        counts.for_each(|(ours, theirs)| *ours += theirs);
        self.sum_ns += other.sum_ns;
    }

    /// The number of commits.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The total duration, in nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// For each bound in milliseconds, and finally for none: how many took no longer.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let bounds = BOUNDS_MS.iter().copied().map(Some).chain([None]);
        let counts = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        bounds.zip(counts)
    }
}

/// The output of a task: committed records count, those in flight wait.
#[derive(Debug, Default)]
pub(super) struct Written {
    outputs: BTreeMap<Arc<str>, Traffic>,
    /// By store, the task's own changelog last.
    changes: Vec<Traffic>,
    sealed_outputs: Vec<(Arc<str>, Traffic)>,
    sealed_changes: Vec<(usize, Traffic)>,
}

impl Written {
    /// The outputs belong to the next commit, including those sent ahead of it.
    pub(super) fn seal(&mut self, effects: &mut Effects) {
        for (topic, traffic) in effects.take_traffic() {
            // A topic named by a record may get no records.
            if traffic != Traffic::default() || !self.outputs.contains_key(topic) {
                self.sealed_outputs.push((Arc::clone(topic), traffic));
            }
        }
    }

    /// So may a batch of a store's changelog.
    pub(super) fn seal_changes(&mut self, store: usize, batch: &Batch) {
        let traffic = Traffic {
            records: u64::from(batch.record_count()),
            bytes: batch.as_bytes().len() as u64,
        };
        self.sealed_changes.push((store, traffic));
    }

    /// The commit is definite.
    pub(super) fn committed(&mut self) {
        for (topic, traffic) in self.sealed_outputs.drain(..) {
            self.outputs.entry(topic).or_default().add(traffic);
        }
        for (store, traffic) in self.sealed_changes.drain(..) {
            if self.changes.len() <= store {
                self.changes.resize(store + 1, Traffic::default());
            }
            self.changes[store].add(traffic);
        }
    }

    /// Nothing of it happened.
    pub(super) fn aborted(&mut self) {
        self.sealed_outputs.clear();
        self.sealed_changes.clear();
    }

    pub(super) fn outputs(&self) -> Vec<(Arc<str>, Traffic)> {
        let outputs = self.outputs.iter();
        outputs
            .map(|(topic, traffic)| (Arc::clone(topic), *traffic))
            .collect()
    }

    pub(super) fn changes(&self, store: usize) -> Traffic {
        self.changes.get(store).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_in_the_first_bucket_that_takes_it() {
        let mut latencies = Latencies::default();
        for took_ns in [0, 1_000_000, 1_000_001, 40_000_000, 31_000_000_000] {
            latencies.note(took_ns);
        }
        let of = |bound_ms: Option<u64>| {
            let found = latencies.buckets().find(|(bound, _)| *bound == bound_ms);
            found.map(|(_, count)| count)
        };
        assert_eq!(of(Some(1)), Some(2));
        assert_eq!(of(Some(2)), Some(3));
        assert_eq!(of(Some(20)), Some(3));
        assert_eq!(of(Some(50)), Some(4));
        assert_eq!(of(Some(30_000)), Some(4));
        assert_eq!(of(None), Some(5));
        assert_eq!(latencies.count(), 5);
        assert_eq!(latencies.sum_ns(), 31_042_000_001);
    }

    #[test]
    fn an_aborted_commit_wrote_nothing() {
        let mut written = Written::default();
        let topic: Arc<str> = "out".into();
        let traffic = Traffic {
            records: 3,
            bytes: 100,
        };
        written.sealed_outputs.push((Arc::clone(&topic), traffic));
        written.sealed_changes.push((1, traffic));
        written.aborted();
        written.committed();
        assert!(written.outputs().is_empty());
        written.sealed_outputs.push((Arc::clone(&topic), traffic));
        written.sealed_changes.push((1, traffic));
        written.committed();
        assert_eq!(written.outputs(), [(topic, traffic)]);
        assert_eq!(written.changes(0), Traffic::default());
        assert_eq!(written.changes(1), traffic);
    }
}
