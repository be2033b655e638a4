//! What retention and compaction take away from the memory log.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::log::RecordRef;

pub(super) const NOW_MS: i64 = 1_700_000_000_000;
const DELETE_RETENTION_MS: i64 = 1_000;
const RETENTION_MS: i64 = 2_000;
const RETENTION_BYTES: u64 = 10 << 20;

/// Topic and partition of each place; neighbours, so that files hold rows of several.
const NAMES: [(&str, u32); 6] = [
    ("aged", 0),
    ("kept", 0),
    ("kept", 1),
    ("sized", 0),
    ("table", 0),
    ("table", 1),
];
pub(super) const PLACES: usize = NAMES.len();

pub(super) fn place(at: usize) -> TopicPartition {
    TopicPartition::new(NAMES[at].0, NAMES[at].1)
}

pub(super) fn topics() -> Vec<TopicSpec> {
    let mut aged = TopicSpec::new("aged", 1);
    aged.retention_ms = Some(RETENTION_MS);
    let mut sized = TopicSpec::new("sized", 1);
    sized.retention_bytes = Some(RETENTION_BYTES);
    let mut table = TopicSpec::new("table", 2).with_cleanup(Cleanup::Compact);
    table.delete_retention_ms = DELETE_RETENTION_MS;
    vec![aged, TopicSpec::new("kept", 2), sized, table]
}

/// A record as a reader sees it; of a value its length and checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) offset: Offset,
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<(usize, u32)>,
}

impl Seen {
    pub(super) fn of(record: &RecordRef<'_>) -> Self {
        Self {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record
                .value
                .map(|value| (value.len(), crc32c::crc32c(value))),
        }
    }
}

#[derive(Clone, Copy)]
struct Stored {
    base: Offset,
    next: Offset,
    bytes: u64,
    append_time_ms: i64,
}

#[derive(Default)]
struct Partition {
    /// Those that are not deleted as a whole, as they were appended.
    batches: Vec<Stored>,
    /// All records ever appended.
    records: Vec<Seen>,
    /// Offsets that compaction took.
    compacted: BTreeSet<Offset>,
    horizon: (Offset, i64),
}

pub(super) struct Model {
    pub(super) memory: MemoryLog,
    partitions: BTreeMap<TopicPartition, Partition>,
}

impl Model {
    pub(super) fn new(memory: MemoryLog) -> Self {
        memory.create_topics(&topics()).expect("created");
        let partitions = (0..PLACES).map(|at| (place(at), Partition::default()));
        Self {
            partitions: partitions.collect(),
            memory,
        }
    }

    pub(super) fn start(&self, at: &TopicPartition) -> Offset {
        self.memory.start_offset(at).expect("known")
    }

    pub(super) fn end(&self, at: &TopicPartition) -> Offset {
        let end = self.memory.end_offset(at, Isolation::ReadCommitted);
        end.expect("known")
    }

    pub(super) fn appended(&mut self, commit: &Commit, append_time_ms: i64) {
        for (at, batch) in &commit.appends {
            let partition = self.partitions.get_mut(at).expect("a place");
            let base = partition.records.len() as Offset;
            let mut cursor = batch.cursor(base);
            while let Some(record) = cursor.next_record().expect("intact") {
                partition.records.push(Seen::of(&record));
            }
            partition.batches.push(Stored {
                base,
                next: partition.records.len() as Offset,
                bytes: batch.as_bytes().len() as u64,
                append_time_ms,
            });
        }
    }

    pub(super) fn purge(&mut self, at: &TopicPartition, before: Offset) {
        let deleted = self.memory.delete_records(&[(at.clone(), before)]);
        deleted.expect("deleted");
        let start = self.start(at);
        let partition = self.partitions.get_mut(at).expect("a place");
        partition.batches.retain(|stored| stored.next > start);
    }

    /// Where the batch begins that is this many from the end.
    pub(super) fn base_from_the_end(&self, at: &TopicPartition, number: usize) -> Offset {
        let batches = &self.partitions[at].batches;
        let stored = batches.len().checked_sub(number + 1);
        stored.map_or(0, |index| batches[index].base)
    }

    pub(super) fn clean(&mut self, now_ms: i64) {
        for at in (0..PLACES).map(place) {
            match &*at.topic {
                "aged" => self.expire(&at, |stored, _| {
                    now_ms - stored.append_time_ms > RETENTION_MS
                }),
                "sized" => self.expire(&at, |_, left| left > RETENTION_BYTES),
                "table" => self.compact(&at, now_ms),
                _ => {}
            }
        }
    }

    fn expire(&mut self, at: &TopicPartition, goes: impl Fn(Stored, u64) -> bool) {
        let batches = &self.partitions[at].batches;
        let mut left: u64 = batches.iter().map(|stored| stored.bytes).sum();
        let mut start = 0;
        for stored in batches {
            if !goes(*stored, left) {
                break;
            }
            left -= stored.bytes;
            start = stored.next;
        }
        self.purge(at, start);
    }

    fn compact(&mut self, at: &TopicPartition, now_ms: i64) {
        let end = self.end(at);
        let partition = self.partitions.get_mut(at).expect("a place");
        let (horizon, horizon_ms) = partition.horizon;
        let is_over = now_ms - horizon_ms > DELETE_RETENTION_MS;
        let dead_until = if is_over { horizon } else { 0 };
        let mut last = BTreeMap::new();
        for seen in &partition.records {
            if let Some(key) = &seen.key {
                last.insert(key, seen.offset);
            }
        }
        for seen in &partition.records {
            let Some(key) = &seen.key else {
                continue;
            };
            let dead = seen.value.is_none() && seen.offset < dead_until;
            if last[key] > seen.offset || dead {
                partition.compacted.insert(seen.offset);
            }
        }
        partition.horizon = if is_over || horizon == 0 {
            (end, now_ms)
        } else {
            (horizon, horizon_ms.min(now_ms))
        };
    }

    pub(super) fn records(&self, at: &TopicPartition) -> Vec<Seen> {
        let partition = &self.partitions[at];
        let mut reader = self.memory.reader(1 << 20).expect("a reader");
        let mut records = all(&mut *reader, at, 0);
        records.retain(|seen| !partition.compacted.contains(&seen.offset));
        records
    }

    /// Offsets to begin at: around the start, every batch's bounds, the middle of one, the end.
    pub(super) fn starts(&self, at: &TopicPartition) -> BTreeSet<Offset> {
        let (start, end) = (self.start(at), self.end(at));
        let batches = self.partitions[at].batches.iter();
        let within = batches.flat_map(|stored| [stored.base, stored.next - 1]);
        let around = [0, start - 1, start, start + 1, end - 1, end];
        within.chain(around).filter(|from| *from >= 0).collect()
    }
}
