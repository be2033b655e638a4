//! The reader of the logs that live in this process: positions, pauses, fair turns, waiting.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use super::signal::Signal;
use super::{Fetched, Reader, Skipped};
use crate::base::{Env, Offset, Result, TopicPartition};

/// Where a fetch starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct From {
    /// The topic to which the offset belongs: one that was deleted and recreated has another number.
    pub(super) topic: u64,
    /// The first offset requested.
    pub(super) position: Offset,
    /// Whether no batch extends across it, which saves a search for that batch.
    pub(super) aligned: bool,
}

/// What such a log provides for its readers.
pub(super) trait Source: Send + Sync + Debug + 'static {
    fn env(&self) -> &dyn Env;
    fn signal(&self) -> &Signal;

    /// The number of the partition's topic, which no other topic has, not even one of the same name.
    /// `Invalid` if the partition does not exist.
    fn topic_of(&self, partition: &TopicPartition) -> Result<u64>;

    /// Where the partition's committed records end now.
    fn end(&self, partition: &TopicPartition) -> Result<Offset>;

    /// Appends to `fetched` the committed batches at and after the position, up to `max_bytes` in total
    /// but at least one, and returns how far it got. `Corrupt` if the partition ends before the position,
    /// or the topic is a different one.
    fn fetch(
        &self,
        partition: &TopicPartition,
        from: From,
        max_bytes: usize,
        fetched: &mut Vec<Fetched>,
    ) -> Result<Reached>;
}

/// How far a fetch got.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    /// The position after what was fetched, or after a gap.
    pub(super) position: Offset,
    /// Where the partition began.
    pub(super) start: Offset,
}

/// Reads from a [`Source`].
pub(super) struct TurnReader<S: Source> {
    source: Arc<S>,
    assigned: Vec<Assigned>,
    /// Whose turn it is.
    next: usize,
    skipped: Vec<Skipped>,
}

#[derive(Clone)]
struct Assigned {
    partition: TopicPartition,
    from: From,
    paused: bool,
}

impl<S: Source> TurnReader<S> {
    pub(super) fn new(source: Arc<S>) -> Self {
        Self {
            source,
            assigned: Vec::new(),
            next: 0,
            skipped: Vec::new(),
        }
    }

    /// A partition to be read from there on.
    fn begin(&self, partition: &TopicPartition, position: Offset) -> Result<Assigned> {
        Ok(Assigned {
            partition: partition.clone(),
            from: From {
                topic: self.source.topic_of(partition)?,
                position: position.max(0),
                aligned: false,
            },
            paused: false,
        })
    }

    fn take_turns(&mut self, max_bytes: usize, fetched: &mut Vec<Fetched>) -> Result<()> {
        let mut left = max_bytes;
        for _ in 0..self.assigned.len() {
            let turn = self.next % self.assigned.len();
            self.next = turn + 1;
            let assigned = &mut self.assigned[turn];
            if assigned.paused {
                continue;
            }
            let known = fetched.len();
            let Reached { position, start } =
                self.source
                    .fetch(&assigned.partition, assigned.from, left, fetched)?;
            if start > assigned.from.position {
                self.skipped.push(Skipped {
                    partition: assigned.partition.clone(),
                    from: assigned.from.position,
                    to: start,
                });
            }
            let bytes: usize = fetched[known..]
                .iter()
                .map(|fetched| fetched.batch.as_bytes().len())
                .sum();
            let aligned = assigned.from.aligned || position > assigned.from.position;
            assigned.from = From {
                position,
                aligned,
                ..assigned.from
            };
            left = left.saturating_sub(bytes);
            if left == 0 {
                break;
            }
        }
        Ok(())
    }
}

impl<S: Source> Reader for TurnReader<S> {
    fn assign(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()> {
        let begun = positions.iter();
        let begun = begun.map(|(partition, position)| self.begin(partition, *position));
        self.assigned = begun.collect::<Result<_>>()?;
        self.next = 0;
        self.skipped.clear();
        Ok(())
    }

    fn update(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()> {
        let mut assigned = Vec::with_capacity(positions.len());
        for (partition, position) in positions {
            let begun = self.begin(partition, *position)?;
            let known = self.assigned.iter();
            let mut known = known.filter(|known| known.partition == *partition);
            assigned.push(match known.next() {
                // Only the reader's next poll may report that it is another topic.
                Some(known) if known.from.position == begun.from.position => known.clone(),
                _ => begun,
            });
        }
        self.assigned = assigned;
        self.next = 0;
        Ok(())
    }

    fn pause(&mut self, partition: &TopicPartition, paused: bool) {
        for assigned in &mut self.assigned {
            if assigned.partition == *partition {
                assigned.paused = paused;
            }
        }
    }

    fn poll(&mut self, max_bytes: usize, timeout: Duration) -> Result<Vec<Fetched>> {
        let mut fetched = Vec::new();
        let deadline_ns = self
            .source
            .env()
            .monotonic_ns()
            .saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        loop {
            let seen = self.source.signal().count();
            self.take_turns(max_bytes, &mut fetched)?;
            let left_ns = deadline_ns.saturating_sub(self.source.env().monotonic_ns());
            if !fetched.is_empty() || left_ns == 0 {
                return Ok(fetched);
            }
            if !self
                .source
                .signal()
                .wait_past(seen, Duration::from_nanos(left_ns))
            {
                return Ok(fetched);
            }
        }
    }

    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        let assigned = self
            .assigned
            .iter()
            .find(|assigned| assigned.partition == *partition)?;
        Some(assigned.from.position)
    }

    fn skipped(&mut self) -> Vec<Skipped> {
        std::mem::take(&mut self.skipped)
    }

    fn end(&mut self, partition: &TopicPartition, _: Duration) -> Result<Option<Offset>> {
        self.source.end(partition).map(Some)
    }
}
