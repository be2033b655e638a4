//! A log that does not answer about one topic.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex};

use marea::Result;
use marea::log::{Log, TopicSpec};

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

    /// Requests about the topic are not answered until the result is dropped.
    pub fn stop_answering(&self) -> Speaks<'_> {
        self.silence.lock().expect("no panic").is_silent = true;
        Speaks(self)
    }

    /// How many requests are waiting.
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
    forward_to_log!(
        log:
        incarnation, create_topics, topic_names, delete_topics, start_offset, end_offset,
        delete_records, committed, delete_group, reader, writer, join
    );

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
}
