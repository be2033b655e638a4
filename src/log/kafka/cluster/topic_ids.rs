//! The identity of a topic: the brokers give each one an id (KIP-516), which distinguishes a topic that
//! was deleted and recreated from the old one of the same name.
//!
//! Positions and records belong to a topic, not to a name. A reader notes the ids of its assigned topics;
//! they are checked once a second while it reads, by the thread that makes requests.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rdkafka::bindings as native;

use super::Cluster;
use crate::base::{Error, Result};
use crate::log::kafka::locks::lock;
use crate::log::kafka::waits::ATTEMPT;

/// How often ids are checked, in milliseconds.
const LOOK_MS: u64 = 1_000;

/// A topic's id.
pub(in crate::log::kafka) type TopicId = u128;

/// What is known about topics that a reader has.
#[derive(Default)]
pub(in crate::log::kafka) struct TopicIds {
    known: Mutex<HashMap<Arc<str>, TopicId>>,
    /// Grows when an id changes.
    changes: AtomicU64,
    /// When they were last requested.
    asked_ms: AtomicU64,
}

/// The ids of one reader's assigned topics, as of the assignment.
#[derive(Default)]
pub(in crate::log::kafka) struct NotedIds {
    noted: HashMap<Arc<str>, TopicId>,
    changes: u64,
}

impl NotedIds {
    /// Notes the ids of topics that the reader did not have before. A broker without ids returns none.
    ///
    /// # Errors
    /// `Unavailable` if the brokers cannot answer now.
    pub(in crate::log::kafka) fn note(
        &mut self,
        cluster: &Cluster,
        topics: &[Arc<str>],
    ) -> Result<()> {
        self.noted.retain(|topic, _| topics.contains(topic));
        let is_new = |topic: &&Arc<str>| !self.noted.contains_key(*topic);
        let new: Vec<Arc<str>> = topics.iter().filter(is_new).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        let found = cluster.ask_topic_ids(&new)?;
        cluster.topic_ids.learn(&found);
        self.noted.extend(found);
        Ok(())
    }

    /// Checks whether a topic has been replaced by another one.
    ///
    /// # Errors
    /// `Corrupt` if so: the message names it.
    pub(in crate::log::kafka) fn check(&mut self, cluster: &Cluster) -> Result<()> {
        let changes = cluster.topic_ids.changes.load(Ordering::Acquire);
        if changes == self.changes {
            return Ok(());
        }
        self.changes = changes;
        let known = lock(&cluster.topic_ids.known);
        for (topic, noted) in &self.noted {
            if let Some(now) = known.get(topic).filter(|now| *now != noted) {
                return Err(Error::corrupt(format!(
                    "topic {topic} was deleted and recreated while it was being read (its id was \
                     {noted:032x} and is {now:032x}): the records read so far are from the old topic. \
                     Restart to read the new topic and keep the state built from the old one, or restart \
                     under another application id to begin without that state"
                )));
            }
        }
        Ok(())
    }
}

impl TopicIds {
    /// Whether it is time to request them again.
    pub(in crate::log::kafka) fn are_due(&self, now_ms: u64) -> bool {
        let asked_ms = self.asked_ms.load(Ordering::Relaxed);
        now_ms >= asked_ms + LOOK_MS
            && self
                .asked_ms
                .compare_exchange(asked_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn learn(&self, found: &HashMap<Arc<str>, TopicId>) {
        let mut known = lock(&self.known);
        for (topic, id) in found {
            let before = known.insert(Arc::clone(topic), *id);
            if before.is_some_and(|before| before != *id) {
                self.changes.fetch_add(1, Ordering::Release);
            }
        }
    }
}

impl Cluster {
    /// Requests the ids that readers have noted once more.
    pub(in crate::log::kafka) fn look_at_topic_ids(&self) {
        let known = lock(&self.topic_ids.known);
        let topics: Vec<Arc<str>> = known.keys().cloned().collect();
        drop(known);
        match self.ask_topic_ids(&topics) {
            Ok(found) => self.topic_ids.learn(&found),
            Err(error) => tracing::debug!(%error, "requesting the ids of topics again"),
        }
    }

    /// The ids of topics; those that do not exist, or have none, are left out.
    fn ask_topic_ids(&self, topics: &[Arc<str>]) -> Result<HashMap<Arc<str>, TopicId>> {
        let mut names = Vec::with_capacity(topics.len());
        for topic in topics {
            names.push(CString::new(&**topic).map_err(|_| {
                Error::invalid(format!("topic {topic}: the name contains a zero byte"))
            })?);
        }
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let found = describe(self, &names);
        let found = found.ok_or_else(|| {
            let message = "requesting the ids of topics: no response; try again";
            Error::new(crate::base::ErrorKind::Unavailable, message)
        })?;
        let of = |(name, id): (String, TopicId)| {
            let topic = topics.iter().find(|topic| ***topic == *name)?;
            Some((Arc::clone(topic), id))
        };
        Ok(found.into_iter().filter_map(of).collect())
    }
}

/// Names and ids, as the brokers return them within [`ATTEMPT`]. The binding has no call for it, so this
/// one goes to the underlying library.
#[expect(
    unsafe_code,
    reason = "the binding has no such call; the proof is beside it"
)]
fn describe(cluster: &Cluster, names: &[CString]) -> Option<Vec<(String, TopicId)>> {
    let client = cluster.admin().inner().native_ptr();
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let wait_ms = i32::try_from(ATTEMPT.as_millis()).unwrap_or(i32::MAX);
    let mut found = Vec::with_capacity(names.len());
    // SAFETY: the client outlives the call, as `cluster` is borrowed. The names live in `names` until the
    // collection, which copies them, is made. Queue, collection and event are made and destroyed here,
    // each once, the event before the queue. The result and everything in it belong to the event and are
    // copied out before it is destroyed; the array has as many elements as the library says, and names
    // are terminated. An answer that arrives after the wait finds its queue disabled, which the library
    // allows.
    unsafe {
        let queue = native::rd_kafka_queue_new(client);
        let asked =
            native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        native::rd_kafka_DescribeTopics(client, asked, ptr::null(), queue);
        native::rd_kafka_TopicCollection_destroy(asked);
        let event = native::rd_kafka_queue_poll(queue, wait_ms);
        let answered = !event.is_null();
        let refused = answered
            && native::rd_kafka_event_error(event)
                != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        let result = match answered && !refused {
            true => native::rd_kafka_event_DescribeTopics_result(event),
            false => ptr::null(),
        };
        if !result.is_null() {
            let mut count = 0;
            let topics = native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            for index in 0..count {
                let topic = *topics.add(index);
                let id = native::rd_kafka_TopicDescription_topic_id(topic);
                let error = native::rd_kafka_TopicDescription_error(topic);
                if id.is_null() || !error.is_null() {
                    continue;
                }
                let name = CStr::from_ptr(native::rd_kafka_TopicDescription_name(topic));
                let high = native::rd_kafka_Uuid_most_significant_bits(id);
                let low = native::rd_kafka_Uuid_least_significant_bits(id);
                found.push((name.to_string_lossy().into_owned(), joined(high, low)));
            }
        }
        if answered {
            native::rd_kafka_event_destroy(event);
        }
        native::rd_kafka_queue_destroy(queue);
        if result.is_null() {
            return None;
        }
    }
    // Brokers without ids return zero.
    found.retain(|(_, id)| *id != 0);
    Some(found)
}

fn joined(high: i64, low: i64) -> TopicId {
    TopicId::from(high.cast_unsigned()) << 64 | TopicId::from(low.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_make_an_id() {
        assert_eq!(joined(1, -1), (1 << 64) | u128::from(u64::MAX));
        assert_eq!(joined(-1, 0), u128::from(u64::MAX) << 64);
    }
}
