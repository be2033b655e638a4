//! Where readers get batches: from the tail in memory, or else from RocksDB.

use std::sync::PoisonError;

use super::format::{BATCHES, base_offset_of, batch_key};
use super::partition::{Partition, State, after};
use super::shared::{Shared, at};
use crate::base::{Env, Offset, Result, TopicPartition};
use crate::disk::Range;
use crate::log::signal::Signal;
use crate::log::turns::{From, Reached, Source};
use crate::log::{Batch, Fetched, check};

impl Source for Shared {
    fn env(&self) -> &dyn Env {
        &*self.env
    }

    fn signal(&self) -> &Signal {
        &self.signal
    }

    fn topic_of(&self, partition: &TopicPartition) -> Result<u64> {
        let (topic, _) = self.find(partition)?;
        Ok(u64::from(topic.id))
    }

    fn end(&self, partition: &TopicPartition) -> Result<Offset> {
        let (_, partition) = self.find(partition)?;
        let _published = self
            .published
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(partition.row().end)
    }

    fn fetch(
        &self,
        name: &TopicPartition,
        from: From,
        max_bytes: usize,
        fetched: &mut Vec<Fetched>,
    ) -> Result<Reached> {
        self.check_open()?;
        let (topic, partition) = self.find(name)?;
        if u64::from(topic.id) != from.topic {
            return Err(check::made_anew(name));
        }
        let mut taking = Taking {
            partition: &partition,
            position: from.position,
            left: max_bytes,
            fetched,
        };
        let published = self
            .published
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let state = partition.state();
        let (start, end) = (state.row.start, state.row.end);
        if from.position > end {
            return Err(check::beyond_end(name, from.position, end));
        }
        taking.position = taking.position.max(start);
        let reached = |position| Ok(Reached { position, start });
        if taking.position >= end {
            return reached(taking.position);
        }
        if taking.take_from_tail(&state) {
            return reached(taking.position);
        }
        drop(state);
        drop(published);
        let aligned = from.aligned && from.position >= start;
        self.take_from_disk(&mut taking, aligned, end)
            .map_err(|error| at(&partition, error))?;
        reached(taking.position)
    }
}

struct Taking<'a> {
    partition: &'a Partition,
    position: Offset,
    left: usize,
    fetched: &'a mut Vec<Fetched>,
}

impl Taking<'_> {
    /// Whether there is room for another one.
    fn take(&mut self, base_offset: Offset, batch: Batch) -> bool {
        self.left = self.left.saturating_sub(batch.as_bytes().len());
        let next = after(base_offset, &batch);
        self.fetched.push(Fetched {
            partition: self.partition.name.clone(),
            base_offset,
            position: self.position,
            batch,
        });
        self.position = next;
        self.left > 0
    }

    /// Whether the tail reaches back to the position.
    ///
    /// Not below where a compaction ended: a reader that still saw an old value there would have less
    /// than `delete_retention_ms` to reach the tombstone.
    fn take_from_tail(&mut self, state: &State) -> bool {
        if self.position < state.row.clean_until {
            return false;
        }
        if state
            .tail
            .front()
            .is_none_or(|(base, _)| *base > self.position)
        {
            return false;
        }
        let first = state
            .tail
            .partition_point(|(base, batch)| after(*base, batch) <= self.position);
        for (base, batch) in state.tail.range(first..) {
            if !self.take(*base, batch.clone()) {
                break;
            }
        }
        true
    }
}

impl Shared {
    /// One pass of an iterator, up to the published `end`.
    fn take_from_disk(&self, taking: &mut Taking<'_>, aligned: bool, end: Offset) -> Result<()> {
        let place = taking.partition.place;
        let mut first = taking.position;
        if !aligned {
            // A batch may begin below the position and extend over it.
            let below = Range::between(batch_key(place, 0), batch_key(place, first + 1));
            if let Some((key, _)) = self.database.iter_back(BATCHES, below)?.next()? {
                first = base_offset_of(key)?;
            }
        }
        let range = Range::between(batch_key(place, first), batch_key(place, end));
        let mut rows = self.database.iter(BATCHES, range)?;
        while let Some((key, value)) = rows.next()? {
            let base = base_offset_of(key)?;
            let batch = Batch::from_bytes(value.to_vec()).map_err(|error| {
                error.context(format_args!(
                    "offset {base}: restore the log from a copy, or delete the records before the next \
                     batch"
                ))
            })?;
            if after(base, &batch) > taking.position && !taking.take(base, batch) {
                return Ok(());
            }
        }
        // Everything else up to the end was deleted.
        taking.position = taking.position.max(end);
        Ok(())
    }
}
