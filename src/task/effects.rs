//! The records that a task writes, encoded as they are made.

use std::collections::HashMap;
use std::sync::Arc;

use super::{ClocksTo, DynamicTopics, OutputSpec, TopicName, Traffic};
use crate::base::{Error, Header, NO_TIMESTAMP, Result, TopicPartition};
use crate::batch::{Batch, BatchesBuilder, BatchesMark};

/// Position of a topic in the task's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputId(pub usize);

/// Output records since the last commit: one builder per partition.
#[derive(Debug)]
pub struct Effects {
    topics: Vec<OutputTopic>,
    /// The topics that records may name, and those that they have named.
    dynamic: DynamicTopics,
    named: HashMap<Arc<str>, OutputId>,
    records: u64,
    bytes: usize,
    /// Incremented with each mark; a builder saves its own mark the first time it is touched after one.
    epoch: u64,
    touched: Vec<(usize, usize, BatchesMark, i64)>,
    /// The existing marks, the innermost last.
    marks: Vec<EffectsMark>,
    clock_interval_ms: i64,
}

/// What there was at a mark.
#[derive(Clone, Copy, Debug)]
struct EffectsMark {
    touched: usize,
    records: u64,
    bytes: usize,
}

#[derive(Debug)]
struct OutputTopic {
    spec: OutputSpec,
    partitions: Vec<OutputPartition>,
    /// The number of records taken since the last query.
    taken: Traffic,
}

impl OutputTopic {
    fn new(spec: OutputSpec) -> Self {
        let partitions = (0..spec.partitions).map(|_| OutputPartition::new());
        Self {
            partitions: partitions.collect(),
            taken: Traffic::default(),
            spec,
        }
    }
}

#[derive(Debug)]
struct OutputPartition {
    builder: BatchesBuilder,
    epoch: u64,
    /// The last clock that was sent here, as far as this process knows.
    clock_ms: i64,
    /// When a clock without a record was last sent, by the wall clock.
    said_at_ms: i64,
    /// Whether the partition is known to have had a record.
    used: bool,
    /// Number of waiting clocks without records.
    clocks_alone: u64,
}

impl OutputPartition {
    fn new() -> Self {
        Self {
            builder: BatchesBuilder::default(),
            epoch: 0,
            clock_ms: NO_TIMESTAMP,
            said_at_ms: i64::MIN,
            used: false,
            clocks_alone: 0,
        }
    }
}

impl Effects {
    pub(super) fn new(outputs: &[OutputSpec], dynamic: DynamicTopics) -> Self {
        let named = outputs.iter().enumerate();
        let named = named.filter(|(_, spec)| matches!(spec.name, TopicName::External(_)));
        Self {
            topics: outputs.iter().cloned().map(OutputTopic::new).collect(),
            dynamic,
            named: named
                .map(|(position, spec)| (spec.topic.clone(), OutputId(position)))
                .collect(),
            records: 0,
            bytes: 0,
            epoch: 1,
            touched: Vec::new(),
            marks: Vec::new(),
            clock_interval_ms: 0,
        }
    }

    /// The topic that a record names.
    ///
    /// # Errors
    /// `User` if it did not exist when the application started.
    pub fn named(&mut self, topic: &str) -> Result<OutputId> {
        if let Some(output) = self.named.get(topic) {
            return Ok(*output);
        }
        let found = match &self.dynamic {
            DynamicTopics::None => None,
            DynamicTopics::Any(topic) => Some(*topic),
            DynamicTopics::Known(topics) => topics.get(topic).copied(),
        };
        let found = found.ok_or_else(|| {
            Error::user(format!(
                "a record was sent to topic {topic:?}, which did not exist when the application started; \
                 create it and restart, or choose another topic"
            ))
        })?;
        let name: Arc<str> = topic.into();
        let output = OutputId(self.topics.len());
        self.topics.push(OutputTopic::new(OutputSpec {
            topic: name.clone(),
            partitions: found.partitions,
            max_record_bytes: found.max_record_bytes,
            name: TopicName::External(topic.to_owned()),
            origins: None,
            clocked: false,
            clocks: ClocksTo::Used,
        }));
        self.named.insert(name, output);
        Ok(output)
    }

    /// The topic's settings.
    pub fn output(&self, output: OutputId) -> &OutputSpec {
        &self.topics[output.0].spec
    }

    /// Finds an output topic by its full name.
    pub fn find(&self, topic: &str) -> Option<OutputId> {
        self.topics
            .iter()
            .position(|output| &*output.spec.topic == topic)
            .map(OutputId)
    }

    /// Appends a record; `mark` is the engine's own header.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a record, borrowed; a struct would only name them twice"
    )]
    pub(super) fn append(
        &mut self,
        output: OutputId,
        partition: u32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &[Header],
        mark: Option<(&str, &[u8])>,
    ) {
        let slot = &mut self.topics[output.0].partitions[partition as usize];
        slot.used = true;
        if slot.epoch != self.epoch {
            slot.epoch = self.epoch;
            let touched = (
                output.0,
                partition as usize,
                slot.builder.mark(),
                slot.clock_ms,
            );
            self.touched.push(touched);
        }
        let grown = slot
            .builder
            .push_marked(key, value, timestamp_ms, headers, mark);
        self.bytes += grown;
        self.records += 1;
    }

    /// Records which clock goes with the record just appended to a partition.
    pub(super) fn set_clock(&mut self, output: OutputId, partition: u32, clock_ms: i64) {
        self.topics[output.0].partitions[partition as usize].clock_ms = clock_ms;
    }

    /// Sends a clock without a record to the partitions that do not know it yet; with `again`, to all of
    /// them. It is sent to partitions that have ever had records, or to all partitions if the topic's
    /// readers need it, but not more often than the interval allows.
    pub(super) fn send_clock(
        &mut self,
        output: OutputId,
        mark: (&str, &[u8]),
        clock_ms: i64,
        again: bool,
        wall_ms: i64,
    ) {
        let interval_ms = self.clock_interval_ms;
        let topic = &self.topics[output.0];
        let to_all = topic.spec.clocks == ClocksTo::All;
        for partition in 0..topic.spec.partitions {
            let slot = &mut self.topics[output.0].partitions[partition as usize];
            let news = again || slot.clock_ms != clock_ms;
            if !news || !(to_all || slot.used) {
                continue;
            }
            // An end is sent at once. A wall clock that was set back is no reason to wait.
            let since_ms = wall_ms.saturating_sub(slot.said_at_ms);
            if clock_ms != i64::MAX && (0..interval_ms).contains(&since_ms) {
                continue;
            }
            slot.said_at_ms = wall_ms;
            // A clock without a record has no time of its own; 0 is the earliest that any broker accepts.
            let timestamp_ms = if clock_ms == i64::MAX {
                0
            } else {
                clock_ms.max(0)
            };
            self.append(output, partition, None, None, timestamp_ms, &[], Some(mark));
            self.set_clock(output, partition, clock_ms);
            self.topics[output.0].partitions[partition as usize].clocks_alone += 1;
        }
    }

    /// Sets the minimum interval at which clocks without records are sent to a partition, in milliseconds
    /// of the wall clock.
    pub fn set_clock_interval_ms(&mut self, interval_ms: i64) {
        self.clock_interval_ms = interval_ms;
    }

    /// The repartition topics whose unused partitions are sent no clock, with their partitions that are
    /// not known to be used.
    pub fn unused(&self) -> impl Iterator<Item = (OutputId, TopicPartition)> + '_ {
        let topics = self.topics.iter().enumerate();
        let sparing = topics.filter(|(_, topic)| {
            topic.spec.origins.is_some() && topic.spec.clocks == ClocksTo::Used
        });
        sparing.flat_map(|(position, topic)| {
            let slots = topic.partitions.iter().enumerate();
            let unused = slots.filter(|(_, slot)| !slot.used);
            unused.map(move |(partition, _)| {
                let place = TopicPartition::new(topic.spec.topic.clone(), partition as u32);
                (OutputId(position), place)
            })
        })
    }

    /// Records that a partition has had a record, from any task.
    pub fn set_used(&mut self, output: OutputId, partition: u32) {
        self.topics[output.0].partitions[partition as usize].used = true;
    }

    /// Assumes that no partition knows the clock: it is sent at the next commit.
    pub(super) fn forget_clocks(&mut self, output: OutputId) {
        for slot in &mut self.topics[output.0].partitions {
            slot.clock_ms = i64::MIN;
            slot.said_at_ms = i64::MIN;
        }
    }

    /// Sets a mark, for [`Effects::undo_to_mark`], inside the existing ones.
    pub(super) fn mark(&mut self) {
        if self.marks.is_empty() {
            self.touched.clear();
        }
        self.epoch += 1;
        self.marks.push(EffectsMark {
            touched: self.touched.len(),
            records: self.records,
            bytes: self.bytes,
        });
    }

    /// Discards what was appended since the innermost mark, and removes that mark.
    pub(super) fn undo_to_mark(&mut self) {
        let Some(mark) = self.marks.pop() else {
            return;
        };
        // A builder that was touched under several marks has several entries: the oldest one applies.
        for (topic, partition, before, clock_ms) in self.touched.drain(mark.touched..).rev() {
            let slot = &mut self.topics[topic].partitions[partition];
            slot.builder.truncate(before);
            slot.clock_ms = clock_ms;
        }
        (self.records, self.bytes) = (mark.records, mark.bytes);
        self.epoch += 1;
    }

    /// Removes the innermost mark: what was appended since belongs to the surrounding one.
    pub(super) fn clear_mark(&mut self) {
        self.marks.pop();
    }

    /// Takes everything, leaving nothing: for each partition the batches in their order.
    pub fn take(&mut self) -> Vec<(TopicPartition, Batch)> {
        self.records = 0;
        self.bytes = 0;
        self.epoch += 1;
        self.touched.clear();
        self.marks.clear();
        let mut batches = Vec::new();
        for topic in &mut self.topics {
            for (partition, slot) in topic.partitions.iter_mut().enumerate() {
                for batch in slot.builder.seal() {
                    topic.taken.add(Traffic {
                        records: u64::from(batch.record_count()),
                        bytes: batch.as_bytes().len() as u64,
                    });
                    let place = TopicPartition::new(topic.spec.topic.clone(), partition as u32);
                    batches.push((place, batch));
                }
                let clocks = std::mem::take(&mut slot.clocks_alone);
                topic.taken.records = topic.taken.records.saturating_sub(clocks);
            }
        }
        batches
    }

    /// Each topic with the number of records taken for it since the last call.
    pub fn take_traffic(&mut self) -> impl Iterator<Item = (&Arc<str>, Traffic)> + '_ {
        let topics = self.topics.iter_mut();
        topics.map(|topic| (&topic.spec.topic, std::mem::take(&mut topic.taken)))
    }

    /// Number of records waiting.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes waiting.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
