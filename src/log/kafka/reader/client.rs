//! The client below a reader.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;

use super::{STALLED_MS, Slot};
use crate::log::kafka::admin::learn_leaders;
use crate::log::kafka::config::Consumer;

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
    pub(super) fn learn_leaders(&mut self, slots: &[Slot]) {
        let topics = slots.iter().map(|slot| &slot.partition.topic);
        let new: BTreeSet<Arc<str>> = topics
            .filter(|topic| !self.known.contains(*topic))
            .cloned()
            .collect();
        let names = new.iter().map(|topic| &**topic).collect();
        let wait = Duration::from_millis(STALLED_MS);
        if learn_leaders(self.consumer.client(), &names, wait) {
            self.known.extend(new);
        }
    }
}
