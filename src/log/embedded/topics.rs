//! Topics: made, deleted, purged.

use std::sync::Arc;

use super::format::{self, PartitionRow, batch_key, partition_key};
use super::partition::{Partition, Topic};
use super::shared::{BATCHES, META, OFFSETS, PARTITIONS, Shared, TOPICS, Writing, at};
use crate::base::{Offset, Result, TopicPartition};
use crate::disk::Range;
use crate::log::{TopicSpec, check};

impl Shared {
    pub(super) fn create_topics(&self, specs: &[TopicSpec]) -> Result<()> {
        self.check_open()?;
        let mut writing = self.writing();
        let mut batch = self.database.batch();
        let mut created: Vec<Topic> = Vec::new();
        let mut next = writing.next_topic;
        for spec in specs {
            check::check_spec(spec)?;
            let topics = self.topics();
            let twin = created.iter().find(|topic| topic.spec.name == spec.name);
            let twin = twin.map(|topic| &topic.spec);
            let existing = topics.get(spec.name.as_str()).map(|topic| &topic.spec);
            if let Some(existing) = existing.or(twin) {
                check::check_same(spec, existing)?;
                continue;
            }
            let name: Arc<str> = spec.name.as_str().into();
            let partition = |number| {
                let name = TopicPartition::new(Arc::clone(&name), number);
                Partition::new(name, (next, number), PartitionRow::default())
            };
            batch.put(TOPICS, spec.name.as_bytes(), &format::topic_row(next, spec));
            created.push(Topic {
                id: next,
                spec: spec.clone(),
                partitions: (0..spec.partitions).map(partition).collect(),
            });
            next += 1;
        }
        if created.is_empty() {
            return Ok(());
        }
        let row = format::Row::new().put(&next.to_le_bytes()).seal();
        batch.put(META, format::NEXT_TOPIC, &row);
        self.write(batch)?;
        writing.next_topic = next;
        self.change_topics(|topics| {
            for topic in created {
                topics.insert(topic.spec.name.as_str().into(), Arc::new(topic));
            }
        });
        Ok(())
    }

    pub(super) fn delete_topics(&self, names: &[String]) -> Result<()> {
        self.check_open()?;
        let mut writing = self.writing();
        let mut batch = self.database.batch();
        let mut deleted = Vec::new();
        for name in names {
            let Some(topic) = self.topics().get(name.as_str()).cloned() else {
                continue;
            };
            batch.delete(TOPICS, name.as_bytes());
            let (from, to) = ((topic.id, 0), (topic.id + 1, 0));
            batch.delete_range(PARTITIONS, &partition_key(from), &partition_key(to));
            batch.delete_range(BATCHES, &batch_key(from, 0), &batch_key(to, 0));
            for (group, offsets) in &writing.offsets {
                for place in offsets.keys().filter(|place| place.0 == topic.id) {
                    batch.delete(OFFSETS, &format::offset_key(group, *place));
                }
            }
            deleted.push(topic);
        }
        if deleted.is_empty() {
            return Ok(());
        }
        self.write(batch)?;
        for topic in deleted {
            let bytes: u64 = topic
                .partitions
                .iter()
                .map(|partition| partition.row().bytes)
                .sum();
            writing.bytes = writing.bytes.saturating_sub(bytes);
            for offsets in writing.offsets.values_mut() {
                offsets.retain(|place, _| place.0 != topic.id);
            }
            self.change_topics(|topics| {
                topics.remove(topic.spec.name.as_str());
            });
        }
        Ok(())
    }

    pub(super) fn delete_group(&self, group: &str) -> Result<()> {
        self.check_open()?;
        let mut writing = self.writing();
        self.with_group(group, |groups| {
            groups.check_empty(group, self.env.monotonic_ms())
        })?;
        if let Range {
            from: Some(from),
            to: Some(to),
        } = Range::prefix(format::offset_prefix(group))
        {
            let mut batch = self.database.batch();
            batch.delete_range(OFFSETS, &from, &to);
            self.write(batch)?;
        }
        writing.offsets.remove(group);
        Ok(())
    }

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

    /// Deletes batches from the front as long as `goes` says so; the partition then starts after them,
    /// or at `start` if that is larger. In steps, so that commits need not wait for a long purge.
    pub(super) fn purge(
        &self,
        partition: &Partition,
        start: Offset,
        goes: impl Fn(Stored) -> bool,
    ) -> Result<()> {
        loop {
            self.check_open()?;
            let mut writing = self.writing();
            if !self.still_has(partition)
                || !self.purge_step(&mut writing, partition, start, &goes)?
            {
                return Ok(());
            }
        }
    }

    /// Whether there may be more to do.
    fn purge_step(
        &self,
        writing: &mut Writing,
        partition: &Partition,
        start: Offset,
        goes: &impl Fn(Stored) -> bool,
    ) -> Result<bool> {
        let place = partition.place;
        let before = partition.row();
        let mut row = before;
        let range = Range::between(batch_key(place, 0), batch_key(place, row.end));
        let mut rows = self.database.iter(BATCHES, range)?;
        let (mut first_kept, mut more) = (row.end, false);
        while let Some((key, value)) = rows.next()? {
            let base = format::base_offset_of(key)?;
            let (delta, append_time_ms) = format::peek_batch(value)?;
            let stored = Stored {
                next: base + i64::from(delta) + 1,
                append_time_ms,
                bytes_left: row.bytes,
            };
            more = before.bytes - row.bytes >= STEP_BYTES;
            if more || !goes(stored) {
                first_kept = base;
                break;
            }
            row.bytes = row.bytes.saturating_sub(value.len() as u64);
            if base < row.clean_until {
                row.clean_bytes = row.clean_bytes.saturating_sub(value.len() as u64);
            }
            row.start = row.start.max(stored.next);
        }
        if !more {
            row.start = row.start.max(start);
        }
        if row == before {
            return Ok(false);
        }
        let (from, to) = (batch_key(place, 0), batch_key(place, first_kept));
        let mut batch = self.database.batch();
        batch.delete_range(BATCHES, &from, &to);
        batch.put(PARTITIONS, &partition_key(place), &row.encode());
        let deleted_bytes = before.bytes - row.bytes;
        // A small purge is not synced: after the machine's death the records may be there again, and
        // go again. Files must not go before the row that says so is safe.
        let with_files = deleted_bytes >= FILES_BYTES;
        self.write_as(batch, with_files)?;
        writing.bytes = writing.bytes.saturating_sub(deleted_bytes);
        partition.state().row = row;
        if with_files {
            self.database.delete_files(BATCHES, &from, &to)?;
        }
        Ok(more)
    }
}

/// How much one step of a purge deletes, in bytes.
const STEP_BYTES: u64 = 64 << 20;
/// From how many bytes on whole files may be gone, so that it is worth to look.
const FILES_BYTES: u64 = 8 << 20;

/// A batch that [`Shared::purge`] asks about.
#[derive(Clone, Copy)]
pub(super) struct Stored {
    /// The offset after it.
    pub(super) next: Offset,
    pub(super) append_time_ms: i64,
    /// Of the partition, this batch included.
    pub(super) bytes_left: u64,
}
