//! The client below a reader.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;

use super::{STALLED_MS, Slot};
use crate::log::kafka::admin::TOPICS_ASKED_ALONE;
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
        let asked: Vec<Option<&str>> = match new.len() > TOPICS_ASKED_ALONE {
            true => vec![None],
            false => new.iter().map(|topic| Some(&**topic)).collect(),
        };
        for topic in asked {
            let wait = Duration::from_millis(STALLED_MS);
            if let Err(cause) = self.consumer.fetch_metadata(topic, wait) {
                tracing::debug!(%cause, topic, "the client will look for the leaders by itself");
                return;
            }
        }
        self.known.extend(new);
    }
}
