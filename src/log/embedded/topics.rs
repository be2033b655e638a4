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
            let mut writing = self.writing();
            let row = partition.row();
            let start = offset.min(row.end);
            if start > row.start {
                let purged = self.purge(&mut writing, &partition, |stored| {
                    if stored.next <= start {
                        Purge::Batch
                    } else {
                        Purge::Until(start)
                    }
                });
                purged.map_err(|error| at(&partition, error))?;
            }
        }
        Ok(())
    }

    /// Deletes batches from the front as long as `judge` says so, and moves the start. Not synced:
    /// after the machine's death they may be there again, and go again.
    pub(super) fn purge(
        &self,
        writing: &mut Writing,
        partition: &Partition,
        mut judge: impl FnMut(Stored) -> Purge,
    ) -> Result<()> {
        let place = partition.place;
        let before = partition.row();
        let mut row = before;
        let range = Range::between(batch_key(place, 0), batch_key(place, row.end));
        let mut rows = self.database.iter(BATCHES, range)?;
        let mut first_kept = row.end;
        let mut start = row.end;
        while let Some((key, value)) = rows.next()? {
            let base = format::base_offset_of(key)?;
            let (delta, append_time_ms) = format::peek_batch(value)?;
            let stored = Stored {
                next: base + i64::from(delta) + 1,
                append_time_ms,
                bytes_left: row.bytes,
            };
            if let Purge::Until(offset) = judge(stored) {
                first_kept = base;
                // Without a wish of its own, what was gone before stays gone, and gaps are skipped.
                start = offset.max(row.start);
                break;
            }
            row.bytes = row.bytes.saturating_sub(value.len() as u64);
            if base < row.clean_until {
                row.clean_bytes = row.clean_bytes.saturating_sub(value.len() as u64);
            }
            row.start = row.start.max(stored.next);
        }
        row.start = start;
        if row == before {
            return Ok(());
        }
        let mut batch = self.database.batch();
        batch.delete_range(BATCHES, &batch_key(place, 0), &batch_key(place, first_kept));
        batch.put(PARTITIONS, &partition_key(place), &row.encode());
        self.write_as(batch, false)?;
        writing.bytes = writing.bytes.saturating_sub(before.bytes - row.bytes);
        partition.state().row = row;
        Ok(())
    }
}

/// A batch that [`Shared::purge`] asks about.
#[derive(Clone, Copy)]
pub(super) struct Stored {
    /// The offset after it.
    pub(super) next: Offset,
    pub(super) append_time_ms: i64,
    /// Of the partition, this batch included.
    pub(super) bytes_left: u64,
}

pub(super) enum Purge {
    /// It goes.
    Batch,
    /// It stays, and all after it; the partition starts at the offset, or after the last that went if
    /// that is larger.
    Until(Offset),
}
