//! Counts of the records that go through a task, for monitoring.
//!
//! All of them are plain numbers of the task, updated by its thread: no record pays for an allocation or
//! a lock. The runtime publishes them.

use super::Stage;

/// Records and their size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Records.
    pub records: u64,
    /// Their size, in bytes.
    pub bytes: u64,
}

impl Traffic {
    /// Adds other records.
    pub fn add(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

/// The throughput of one input of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputFigures {
    /// Records processed, with the bytes of key, value and headers. Records that are read again after an
    /// aborted commit count again.
    pub taken: Traffic,
    /// Those of them that the source refused, or that a policy skipped or sent to the dead letters.
    pub rejected: u64,
}

/// How many records failed without stopping the application, by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures([u64; 3]);

impl Failures {
    const STAGES: [Stage; 3] = [Stage::Decode, Stage::Process, Stage::Encode];

    pub(super) fn count(&mut self, stage: Stage) {
        self.0[stage as usize] += 1;
    }

    /// The count of a stage.
    pub fn of(&self, stage: Stage) -> u64 {
        self.0[stage as usize]
    }

    /// Each stage with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, u64)> + '_ {
        Self::STAGES.iter().map(|stage| (*stage, self.of(*stage)))
    }

    /// Adds another task's counts.
    pub fn add(&mut self, other: &Self) {
        let counts = self.0.iter_mut().zip(other.0);
        counts.for_each(|(ours, theirs)| *ours += theirs);
    }
}
