//! Creating and deleting topics.

use std::sync::Arc;

use super::format::{
    self, BATCHES, META, OFFSETS, PARTITIONS, PartitionRow, TOPICS, batch_key, partition_key,
};
use super::partition::{Partition, Topic};
use super::shared::Shared;
use crate::base::{Result, TopicPartition};
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
}
