//! Compaction: of each key the last record stays, with its offset.
//!
//! ```text
//!            clean_until                 cut        end
//!   | rewritten before | not yet         |          |
//!   pass 1:            ^--- last offset of each key-^        (keys in memory, up to a limit)
//!   pass 2: ^--------- rewrite every batch ---------^        (lowest first)
//! ```
//! `cut` is not behind the first batch that is younger than the topic's compaction lag.
//! A record below `cut` stays if it is the last of its key, or has no key. Rewriting goes from low to
//! high offsets, and each chunk is one RocksDB write: so a crash never leaves an old value without the
//! tombstone above it.
//!
//! A tombstone that is the last record of its key is removed too, but only `delete_retention_ms` after a
//! run that left no older record of its key (Kafka's delete horizon): a reader that saw such a record
//! read it before that run, and has that long to reach the tombstone. The tombstone's own age would not
//! be enough, since both may be removed in one run. A partition keeps one horizon at a time, an offset
//! and the time when the run ended; the next one is set when all tombstones below it are gone.
//!
//! Both passes read a snapshot, and no commit or purge waits for them; a chunk is written under
//! `cleaning` and `writing`, and skips what a purge has deleted in the meantime. Only the committer
//! appends, always above `cut`.

use std::collections::HashMap;

use super::format::{
    BATCHES, PARTITIONS, PartitionRow, base_offset_of, batch_key, partition_key, peek_batch,
};
use super::partition::{Partition, after};
use super::shared::Shared;
use crate::base::{Offset, Result};
use crate::disk::{Iter, Range, Reserved};
use crate::log::{Batch, BatchBuilder, TopicSpec};

/// The minimum and maximum memory for the keys of one run, in bytes: an eighth of the budget. With less,
/// one run becomes several.
const KEYS_BYTES_MIN: usize = 1 << 20;
const KEYS_BYTES_MAX: usize = 64 << 20;
/// The memory of a map entry besides its key, including its share of a map that has just grown.
const ENTRY_BYTES: usize = 112;
/// How much is rewritten at once, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Compacts what was appended to the partition before the call.
pub(super) fn compact(shared: &Shared, spec: &TopicSpec, partition: &Partition) -> Result<()> {
    compact_watched(shared, spec, partition, &|_| ())
}

/// [`compact`]; `reading` is called with each batch that a pass is about to read.
pub(super) fn compact_watched(
    shared: &Shared,
    spec: &TopicSpec,
    partition: &Partition,
    reading: &dyn Fn(Offset),
) -> Result<()> {
    // Two concurrent runs would count twice what they remove.
    let _compacting = partition.compacting();
    let budget = &shared.settings.budget;
    let most = (budget.bytes() / 8).clamp(KEYS_BYTES_MIN, KEYS_BYTES_MAX);
    // A chunk exists twice while it is written.
    let mut reserved = budget.reserve(2 * CHUNK_BYTES);
    loop {
        // Closing must not wait for a long run; everything written so far is complete.
        shared.check_open()?;
        let row = partition.row();
        let below = (row.clean_until, row.end);
        let limits = (most, appended_before(shared, spec));
        let (last, cut, is_young) =
            last_offsets(shared, partition, below, limits, &mut reserved, reading)?;
        if is_young && cut <= row.clean_until && !has_dead_tombstones(shared, spec, &row) {
            return Ok(());
        }
        rewrite(shared, spec, partition, &last, cut, reading)?;
        if is_young || cut >= row.end {
            return Ok(());
        }
    }
}

fn batches(shared: &Shared, partition: &Partition, from: Offset, to: Offset) -> Result<Iter> {
    let place = partition.place;
    let range = Range::between(batch_key(place, from), batch_key(place, to));
    shared.database.iter(BATCHES, range)
}

fn stored(base: Offset, value: &[u8]) -> Result<Batch> {
    Batch::from_bytes(value.to_vec()).map_err(|error| error.context(format_args!("offset {base}")))
}

/// Batches appended after this are not compacted, in milliseconds since 1970.
fn appended_before(shared: &Shared, spec: &TopicSpec) -> i64 {
    match spec.compaction_lag_ms {
        0 => i64::MAX,
        lag_ms => shared.env.wall_ms().saturating_sub(lag_ms),
    }
}

/// Whether a run would remove tombstones.
fn has_dead_tombstones(shared: &Shared, spec: &TopicSpec, row: &PartitionRow) -> bool {
    let age_ms = shared.env.wall_ms().saturating_sub(row.horizon_ms);
    row.horizon > 0 && age_ms > spec.delete_retention_ms
}

/// Pass 1: the last offset of each key in the batches from `from` up to `end`, or up to where memory was
/// full, or to the first batch that is too young; the last return value says where it stopped.
fn last_offsets(
    shared: &Shared,
    partition: &Partition,
    (from, end): (Offset, Offset),
    (most, appended_before): (usize, i64),
    reserved: &mut Reserved,
    reading: &dyn Fn(Offset),
) -> Result<(HashMap<Vec<u8>, Offset>, Offset, bool)> {
    let mut last = HashMap::new();
    let mut bytes = 0;
    let mut rows = batches(shared, partition, from, end)?;
    while let Some((key, value)) = rows.next()? {
        shared.check_open()?;
        let base = base_offset_of(key)?;
        reading(base);
        if bytes + 2 * CHUNK_BYTES > reserved.bytes() {
            reserved.resize(bytes + 2 * CHUNK_BYTES + KEYS_BYTES_MIN);
        }
        if bytes > most {
            return Ok((last, base, false));
        }
        if peek_batch(value)?.1 > appended_before {
            return Ok((last, base, true));
        }
        let mut records = stored(base, value)?.cursor(base);
        while let Some(record) = records.next_record()? {
            let Some(key) = record.key else {
                continue;
            };
            if let Some(offset) = last.get_mut(key) {
                *offset = record.offset;
            } else {
                bytes += key.len() + ENTRY_BYTES;
                last.insert(key.to_vec(), record.offset);
            }
        }
    }
    Ok((last, end, false))
}

/// Pass 2.
fn rewrite(
    shared: &Shared,
    spec: &TopicSpec,
    partition: &Partition,
    last: &HashMap<Vec<u8>, Offset>,
    cut: Offset,
    reading: &dyn Fn(Offset),
) -> Result<()> {
    let row = partition.row();
    let now_ms = shared.env.wall_ms();
    let is_over = now_ms.saturating_sub(row.horizon_ms) > spec.delete_retention_ms;
    let dead_until = if is_over { row.horizon } else { 0 };
    let mut chunk = Vec::new();
    let mut chunk_bytes = 0;
    let mut kept_bytes = 0;
    let mut rows = batches(shared, partition, 0, cut)?;
    while let Some((key, value)) = rows.next()? {
        shared.check_open()?;
        let base = base_offset_of(key)?;
        reading(base);
        let batch = stored(base, value)?;
        let kept = keep(base, &batch, last, dead_until)?;
        let bytes = match &kept {
            Kept::All => batch.as_bytes().len(),
            Kept::Some(rewritten) => rewritten.as_bytes().len(),
            Kept::None => 0,
        };
        kept_bytes += bytes as u64;
        if !matches!(kept, Kept::All) {
            chunk_bytes += bytes + ENTRY_BYTES;
            chunk.push(Rewritten {
                base,
                next: after(base, &batch),
                old_bytes: batch.as_bytes().len() as u64,
                kept,
            });
        }
        if chunk_bytes >= CHUNK_BYTES {
            chunk_bytes = 0;
            write_chunk(shared, partition, std::mem::take(&mut chunk), None)?;
        }
    }
    let end_ms = shared.env.wall_ms();
    let horizon = if is_over || row.horizon == 0 {
        (cut, end_ms)
    } else {
        // A clock that was ahead for a while must not keep tombstones for ever.
        (row.horizon, row.horizon_ms.min(end_ms))
    };
    let done = Done {
        cut,
        kept_bytes,
        horizon,
    };
    write_chunk(shared, partition, chunk, Some(done))
}

/// What a run leaves in the partition's row.
struct Done {
    cut: Offset,
    /// Of the batches below it.
    kept_bytes: u64,
    horizon: (Offset, i64),
}

/// A batch that was changed.
struct Rewritten {
    base: Offset,
    /// The offset after it, unchanged.
    next: Offset,
    old_bytes: u64,
    kept: Kept,
}

enum Kept {
    All,
    Some(Batch),
    None,
}

fn keep(
    base: Offset,
    batch: &Batch,
    last: &HashMap<Vec<u8>, Offset>,
    dead_until: Offset,
) -> Result<Kept> {
    let mut builder = BatchBuilder::default();
    let mut records = batch.cursor(base);
    while let Some(record) = records.next_record()? {
        let superseded = record
            .key
            .and_then(|key| last.get(key))
            .is_some_and(|last| *last > record.offset);
        let dead = record.key.is_some() && record.value.is_none() && record.offset < dead_until;
        if superseded || dead {
            continue;
        }
        // Deltas of a batch fit: they were read from one.
        let delta = (record.offset - base) as u32;
        let headers = record.headers()?;
        builder.push_at(
            delta,
            record.key,
            record.value,
            record.timestamp_ms,
            headers.as_slice(),
        );
    }
    if builder.len() == batch.record_count() as usize {
        return Ok(Kept::All);
    }
    let rewritten = builder
        .seal()
        .map(|rewritten| rewritten.stamp(batch.append_time_ms()));
    Ok(rewritten.map_or(Kept::None, Kept::Some))
}

fn write_chunk(
    shared: &Shared,
    partition: &Partition,
    chunk: Vec<Rewritten>,
    done: Option<Done>,
) -> Result<()> {
    if chunk.is_empty() && done.is_none() {
        return Ok(());
    }
    let _cleaning = partition.cleaning();
    let mut writing = shared.writing();
    if !shared.still_has(partition) {
        return Ok(());
    }
    let mut row = partition.row();
    let before_bytes = row.bytes;
    let mut batch = shared.database.batch();
    for changed in chunk {
        if changed.next <= row.start {
            continue;
        }
        let key = batch_key(partition.place, changed.base);
        row.bytes = row.bytes.saturating_sub(changed.old_bytes);
        match changed.kept {
            Kept::Some(rewritten) => {
                row.bytes += rewritten.as_bytes().len() as u64;
                batch.put(BATCHES, &key, rewritten.as_bytes());
            }
            Kept::None => batch.delete(BATCHES, &key),
            Kept::All => {}
        }
    }
    if let Some(done) = done {
        row.clean_until = done.cut;
        row.clean_bytes = done.kept_bytes.min(row.bytes);
        (row.horizon, row.horizon_ms) = done.horizon;
    }
    batch.put(PARTITIONS, &partition_key(partition.place), &row.encode());
    shared.write_as(batch, false)?;
    writing.bytes = writing
        .bytes
        .saturating_sub(before_bytes.saturating_sub(row.bytes));
    partition.state().row = row;
    Ok(())
}
