//! Why records are dropped, and how many were.

use super::{Failures, Stage};

/// Why a record, or a part of its effect, was dropped. The names are those of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Its key is null where a key is needed.
    NullKey,
    /// Its value is null where a value is needed.
    NullValue,
    /// Its window has closed.
    Late,
    /// Its window has closed without waiting for its origin, whose input had been silent: see
    /// [`Consumed::idle_timeout`](crate::dsl::Consumed::idle_timeout).
    ClosedWhileIdle,
    /// The source refused it, by its predicate or its timestamp extractor, before it advanced time.
    Refused,
    /// A store refused its row as too old.
    Expired,
    /// Its new key is null and it would have been repartitioned. Kafka Streams drops these without
    /// counting.
    NullRepartitionKey,
    /// An answer in a join by a foreign key, whose left row has changed since the request.
    Superseded,
    /// A later change of its key has arrived before, and only the newest counts.
    OutOfOrder,
    /// A policy skipped it after an error.
    Skipped,
    /// A policy sent it to the dead letters.
    DeadLetter,
}

/// All reasons, in the order of their counters.
const REASONS: [DropReason; 11] = [
    DropReason::NullKey,
    DropReason::NullValue,
    DropReason::Late,
    DropReason::ClosedWhileIdle,
    DropReason::Refused,
    DropReason::Expired,
    DropReason::NullRepartitionKey,
    DropReason::Superseded,
    DropReason::OutOfOrder,
    DropReason::Skipped,
    DropReason::DeadLetter,
];

impl DropReason {
    /// The counter's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NullKey => "null_key",
            Self::NullValue => "null_value",
            Self::Late => "late",
            Self::ClosedWhileIdle => "closed_while_idle",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::NullRepartitionKey => "null_repartition_key",
            Self::Superseded => "superseded",
            Self::OutOfOrder => "out_of_order",
            Self::Skipped => "skipped",
            Self::DeadLetter => "dead_letter",
        }
    }
}

/// How many records were dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; REASONS.len()], Failures);

impl Drops {
    #[inline]
    pub(super) fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    /// The count of a reason.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Each reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        REASONS.iter().map(|reason| (*reason, self.of(*reason)))
    }

    /// What Kafka Streams' `dropped-records-total` counts: all but null repartition keys (which it drops
    /// silently) and dead letters.
    pub fn kafka_streams_total(&self) -> u64 {
        let ours = [DropReason::NullRepartitionKey, DropReason::DeadLetter];
        self.iter()
            .filter(|(reason, _)| !ours.contains(reason))
            .map(|(_, count)| count)
            .sum()
    }

    /// Adds another task's counts.
    pub fn add(&mut self, other: &Self) {
        self.1.add(&other.1);
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(ours, theirs)| *ours += theirs);
    }

    /// Counts a failed record, in addition to its outcome.
    pub(super) fn count_failure(&mut self, stage: Stage) {
        self.1.count(stage);
    }

    /// Those of them that failed, by stage: they were skipped or sent to the dead letters.
    pub fn failures(&self) -> &Failures {
        &self.1
    }
}
