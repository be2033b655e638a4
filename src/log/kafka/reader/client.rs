//! The client below a reader.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{STALLED_MS, Slot};
use crate::log::kafka::admin::learn_leaders;
use crate::log::kafka::config::Consumer;

/// A client that reads; kept for the next reader when one is dropped.
pub(in crate::log::kafka) struct ReaderClient {
    pub(in crate::log::kafka) consumer: Consumer,
    /// The topics whose leaders it has been made to learn.
    known: BTreeSet<Arc<str>>,
}

impl ReaderClient {
    pub(in crate::log::kafka) fn new(consumer: Consumer) -> Self {
        Self {
            consumer,
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
        if learn_leaders(&self.consumer, &names, Duration::from_millis(STALLED_MS)) {
            self.known.extend(new);
        }
    }
}
