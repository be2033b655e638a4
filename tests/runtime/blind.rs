//! A log that does not say where some partitions end, or says that there are more records than can be read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use marea::base::{Offset, Result, TopicPartition};
use marea::log::{
    CommittedOffset, Isolation, JoinRequest, Log, Membership, Reader, TopicSpec, Writer,
};

/// What the log says about the end of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Nothing: its leader is unavailable.
    Nothing,
    /// That there is one more record than can be read: a transaction is open.
    More,
}

/// A log over another.
pub struct BlindLog {
    log: Arc<dyn Log>,
    says: Mutex<BTreeMap<TopicPartition, Says>>,
}

impl BlindLog {
    pub fn new(log: Arc<dyn Log>) -> Arc<Self> {
        let says = Mutex::default();
        Arc::new(Self { log, says })
    }

    pub fn set(&self, partition: &TopicPartition, says: Option<Says>) {
        let mut all = self.says.lock().expect("no panic");
        match says {
            Some(says) => drop(all.insert(partition.clone(), says)),
            None => drop(all.remove(partition)),
        }
    }
}

impl fmt::Debug for BlindLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlindLog")
    }
}

impl Log for BlindLog {
    fn incarnation(&self) -> u128 {
        self.log.incarnation()
    }

    fn create_topics(&self, topics: &[TopicSpec]) -> Result<()> {
        self.log.create_topics(topics)
    }

    fn topic(&self, name: &str) -> Result<Option<TopicSpec>> {
        self.log.topic(name)
    }

    fn topic_names(&self) -> Result<Vec<String>> {
        self.log.topic_names()
    }

    fn delete_topics(&self, names: &[String]) -> Result<()> {
        self.log.delete_topics(names)
    }

    fn start_offset(&self, partition: &TopicPartition) -> Result<Offset> {
        self.log.start_offset(partition)
    }

    fn end_offset(&self, partition: &TopicPartition, isolation: Isolation) -> Result<Offset> {
        self.log.end_offset(partition, isolation)
    }

    fn recent_high_watermarks(&self, partitions: &[TopicPartition]) -> Vec<Option<(Offset, u64)>> {
        let says = self.says.lock().expect("no panic");
        let ends = self.log.recent_high_watermarks(partitions);
        let answers = partitions.iter().zip(ends);
        let answer = |(partition, end): (_, Option<(Offset, u64)>)| match says.get(partition) {
            None => end,
            Some(Says::Nothing) => None,
            Some(Says::More) => end.map(|(end, age_ms)| (end + 1, age_ms)),
        };
        answers.map(answer).collect()
    }

    fn delete_records(&self, before: &[(TopicPartition, Offset)]) -> Result<()> {
        self.log.delete_records(before)
    }

    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<CommittedOffset>>> {
        self.log.committed(group, partitions)
    }

    fn delete_group(&self, group: &str) -> Result<()> {
        self.log.delete_group(group)
    }

    fn reader(&self, bytes: usize) -> Result<Box<dyn Reader>> {
        self.log.reader(bytes)
    }

    fn writer(&self, id: &str, bytes: usize) -> Result<Box<dyn Writer>> {
        self.log.writer(id, bytes)
    }

    fn join(&self, request: JoinRequest) -> Result<Box<dyn Membership>> {
        self.log.join(request)
    }
}
