//! The client below a reader.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;

use super::config::Consumer;
use super::leaders::learn_leaders;

/// A client that reads; kept for the next reader when one is dropped.
pub(in crate::log::kafka) struct ReaderClient {
    pub(in crate::log::kafka) consumer: Consumer,
    /// What it was made for.
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

    /// Makes the client learn who leads the partitions. By itself it looks for what it does not know
    /// once a second, and until then fetches nothing.
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
