//! Purges: batches are deleted from the front of a partition, by retention or on request.
//!
//! Finding the batches to delete requires reading them, which takes time. So commits do not wait for it:
//! a step
//! 1. chooses, holding only the partition's `cleaning`: no purge or compaction changes what it reads, and
//!    commits only append above;
//! 2. deletes what it chose in one small write, under `writing`;
//! 3. frees whole files, once that write is synced, again without `writing`.

use super::format::{self, BATCHES, PARTITIONS, batch_key, partition_key};
use super::partition::Partition;
use super::shared::{Shared, at};
use crate::base::{Offset, Result, TopicPartition};
use crate::disk::Range;

/// How much one step of a purge deletes, in bytes.
const STEP_BYTES: u64 = 64 << 20;
/// The number of deleted bytes from which whole files may be gone, so that it is worth checking.
const FILES_BYTES: u64 = 8 << 20;

/// A batch about which [`Shared::purge`] asks.
#[derive(Clone, Copy)]
pub(super) struct Stored {
    /// The offset after it.
    pub(super) next: Offset,
    pub(super) append_time_ms: i64,
    /// Of the partition, including this batch.
    pub(super) bytes_left: u64,
}

/// What a step deletes.
struct Chosen {
    /// The start of the partition afterwards.
    start: Offset,
    /// The first batch that stays.
    first_kept: Offset,
    bytes: u64,
    /// Of those, the part below where the last compaction ended.
    clean_bytes: u64,
    /// Whether there may be more to do.
    more: bool,
}

impl Shared {
    pub(super) fn delete_records(&self, before: &[(TopicPartition, Offset)]) -> Result<()> {
        self.check_open()?;
        let mut partitions = Vec::with_capacity(before.len());
        for (name, offset) in before {
            partitions.push((self.find(name)?.1, *offset));
        }
        for (partition, offset) in partitions {
            let start = offset.min(partition.row().end);
            let purged = self.purge(&partition, start, |stored| stored.next <= start);
            purged.map_err(|error| at(&partition, error))?;
        }
        Ok(())
    }

    /// Deletes batches from the front as long as `goes` returns true; the partition then starts after
    /// them, or at `start` if that is larger. It works in steps: neither memory nor the time that others
    /// wait grows with the purge.
    pub(super) fn purge(
        &self,
        partition: &Partition,
        start: Offset,
        goes: impl Fn(Stored) -> bool,
    ) -> Result<()> {
        loop {
            self.check_open()?;
            let _cleaning = partition.cleaning();
            if !self.still_has(partition) {
                return Ok(());
            }
            let Some(chosen) = self.choose(partition, start, &goes)? else {
                return Ok(());
            };
            self.delete_chosen(partition, &chosen)?;
            if !chosen.more {
                return Ok(());
            }
        }
    }

    /// Step 1. `None` if there is nothing to do.
    fn choose(
        &self,
        partition: &Partition,
        start: Offset,
        goes: &impl Fn(Stored) -> bool,
    ) -> Result<Option<Chosen>> {
        let place = partition.place;
        let row = partition.row();
        let mut chosen = Chosen {
            start: row.start,
            first_kept: row.end,
            bytes: 0,
            clean_bytes: 0,
            more: false,
        };
        let range = Range::between(batch_key(place, 0), batch_key(place, row.end));
        let mut rows = self.database.iter(BATCHES, range)?;
        while let Some((key, value)) = rows.next()? {
            let base = format::base_offset_of(key)?;
            let (delta, append_time_ms) = format::peek_batch(value)?;
            let stored = Stored {
                next: base + i64::from(delta) + 1,
                append_time_ms,
                bytes_left: row.bytes.saturating_sub(chosen.bytes),
            };
            chosen.more = chosen.bytes >= STEP_BYTES;
            if chosen.more || !goes(stored) {
                chosen.first_kept = base;
                break;
            }
            let bytes = value.len() as u64;
            chosen.bytes += bytes;
            if base < row.clean_until {
                chosen.clean_bytes += bytes;
            }
            chosen.start = chosen.start.max(stored.next);
        }
        if !chosen.more {
            chosen.start = chosen.start.max(start);
        }
        let changes = chosen.start > row.start || chosen.bytes > 0;
        Ok(changes.then_some(chosen))
    }

    /// Steps 2 and 3.
    fn delete_chosen(&self, partition: &Partition, chosen: &Chosen) -> Result<()> {
        let place = partition.place;
        let (from, to) = (batch_key(place, 0), batch_key(place, chosen.first_kept));
        let mut writing = self.writing();
        if !self.still_has(partition) {
            return Ok(());
        }
        let mut row = partition.row();
        row.start = row.start.max(chosen.start);
        row.bytes = row.bytes.saturating_sub(chosen.bytes);
        row.clean_bytes = row.clean_bytes.saturating_sub(chosen.clean_bytes);
        let mut batch = self.database.batch();
        batch.delete_range(BATCHES, &from, &to);
        batch.put(PARTITIONS, &partition_key(place), &row.encode());
        // A small purge is not synced: after the machine dies the records may be there again, and will be
        // purged again.
        self.write_as(batch, false)?;
        writing.bytes = writing.bytes.saturating_sub(chosen.bytes);
        partition.state().row = row;
        drop(writing);
        if chosen.bytes >= FILES_BYTES {
            // Files must not be deleted before the row that records it is safe. Nothing is written into
            // the range any more: offsets only grow, and a compaction skips what was purged.
            self.sync()?;
            self.database.delete_files(BATCHES, &from, &to)?;
        }
        Ok(())
    }
}
