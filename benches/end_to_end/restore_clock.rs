//! How long a restore takes: from the first request for a changelog's end to the last row written, which is also
//! what the restore listener of Kafka Streams measures.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use marea::Result;
use marea::base::{Offset, TopicPartition};
use marea::log::{Isolation, Log};
use marea::runtime::{Hooks, Point};

/// A log that forwards every call, and notes the times.
#[derive(Debug)]
pub struct RestoreClock {
    log: Arc<dyn Log>,
    /// The first start and the last end.
    noted: Mutex<(Option<Instant>, Option<Instant>)>,
}

impl RestoreClock {
    pub fn new(log: Arc<dyn Log>) -> Arc<Self> {
        let noted = Mutex::default();
        Arc::new(Self { log, noted })
    }

    fn note_start(&self, partitions: &[TopicPartition], isolation: Isolation) {
        let is_changelog = |partition: &TopicPartition| partition.topic.ends_with("-changelog");
        if isolation == Isolation::ReadUncommitted && partitions.iter().any(is_changelog) {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.0.get_or_insert_with(Instant::now);
        }
    }

    pub fn seconds(&self) -> f64 {
        match *self.noted.lock().unwrap_or_else(PoisonError::into_inner) {
            (Some(start), Some(end)) => (end - start).as_secs_f64(),
            _ => 0.0,
        }
    }
}

impl Hooks for RestoreClock {
    fn reached(&self, point: Point) {
        if point == Point::Restoring {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.1 = Some(Instant::now());
        }
    }
}

impl Log for RestoreClock {
    forward_to_log!(
        log:
        incarnation, create_topics, topic, topic_names, delete_topics, start_offset,
        delete_records, committed, delete_group, reader, writer, join
    );

    fn end_offset(&self, partition: &TopicPartition, isolation: Isolation) -> Result<Offset> {
        self.note_start(std::slice::from_ref(partition), isolation);
        self.log.end_offset(partition, isolation)
    }

    fn end_offsets(
        &self,
        partitions: &[TopicPartition],
        isolation: Isolation,
    ) -> Result<Vec<Offset>> {
        self.note_start(partitions, isolation);
        self.log.end_offsets(partitions, isolation)
    }
}
