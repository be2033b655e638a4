//! The client used by a reader.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;

use super::config::Consumer;
use super::leaders::learn_leaders;

/// A client that reads; when its reader is dropped, it is kept for the next one.
pub(in crate::log::kafka) struct ReaderClient {
    pub(in crate::log::kafka) consumer: Consumer,
    /// The memory it was made for.
    pub(in crate::log::kafka) bytes: usize,
    /// The topics whose leaders it has been made to learn.
    known: BTreeSet<Arc<str>>,
}

impl ReaderClient {
    pub(in crate::log::kafka) fn new(consumer: Consumer, bytes: usize) -> Self {
        Self {
            consumer,
            bytes,
            known: BTreeSet::new(),
        }
    }

    /// Makes the client learn the leaders of the partitions. By itself it looks for leaders it does not
    /// know once a second, and fetches nothing until then.
    pub(in crate::log::kafka) fn learn_leaders<'a>(
        &mut self,
        topics: impl Iterator<Item = &'a Arc<str>>,
        wait: Duration,
    ) {
        let new: BTreeSet<Arc<str>> = topics
            .filter(|topic| !self.known.contains(*topic))
            .cloned()
            .collect();
        let names = new.iter().map(|topic| &**topic).collect();
        if learn_leaders(self.consumer.client(), &names, wait) {
            self.known.extend(new);
        }
    }
}
