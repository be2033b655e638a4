//! A log that does not answer about one topic.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex};

use marea::base::{Offset, Result, TopicPartition};
use marea::log::{
    CommittedOffset, Isolation, JoinRequest, Log, Membership, Reader, TopicSpec, Writer,
};

/// A log over another.
pub struct SilentLog {
    log: Arc<dyn Log>,
    topic: &'static str,
    silence: Mutex<Silence>,
    is_over: Condvar,
}

#[derive(Default)]
struct Silence {
    is_silent: bool,
    waiting: usize,
}

impl SilentLog {
    pub fn new(log: Arc<dyn Log>, topic: &'static str) -> Arc<Self> {
        Arc::new(Self {
            log,
            topic,
            silence: Mutex::default(),
            is_over: Condvar::new(),
        })
    }

    /// From now on who asks about the topic waits, until the result is dropped.
    pub fn fall_silent(&self) -> Speaks<'_> {
        self.silence.lock().expect("no panic").is_silent = true;
        Speaks(self)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.silence.lock().expect("no panic").waiting
    }
}

/// Ends a silence.
pub struct Speaks<'a>(&'a SilentLog);

impl Drop for Speaks<'_> {
    fn drop(&mut self) {
        self.0.silence.lock().expect("no panic").is_silent = false;
        self.0.is_over.notify_all();
    }
}

impl fmt::Debug for SilentLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SilentLog")
    }
}

impl Log for SilentLog {
    fn incarnation(&self) -> u128 {
        self.log.incarnation()
    }

    fn create_topics(&self, topics: &[TopicSpec]) -> Result<()> {
        self.log.create_topics(topics)
    }

    fn topic(&self, name: &str) -> Result<Option<TopicSpec>> {
        if name == self.topic {
            let mut silence = self.silence.lock().expect("no panic");
            silence.waiting += 1;
            let waits = |silence: &mut Silence| silence.is_silent;
            let mut silence = self.is_over.wait_while(silence, waits).expect("no panic");
            silence.waiting -= 1;
        }
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
