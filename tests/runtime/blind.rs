//! A log that does not say where some partitions end, or says that there are more records than can be read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use marea::base::{Offset, TopicPartition};
use marea::log::Log;

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
    forward_to_log!(
        log:
        incarnation, create_topics, topic, topic_names, delete_topics, start_offset, end_offset,
        delete_records, committed, delete_group, reader, writer, join
    );

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
}
