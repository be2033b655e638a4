//! Deletes records that are no longer needed, on a separate thread: a broker that is down would make the
//! callers wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::Cluster;
use crate::base::{Error, ErrorKind, Offset, Result, TopicPartition};
use crate::log::kafka::locks::lock;

/// The pending deletions.
#[derive(Default)]
pub(in crate::log::kafka) struct Purges(Mutex<State>);

#[derive(Default)]
struct State {
    /// The offset below which to delete, for each partition.
    before: BTreeMap<TopicPartition, Offset>,
    /// Whether a thread is working on it.
    is_busy: bool,
    /// The deletions that were refused, and will be refused again.
    refused: Option<(ErrorKind, String)>,
}

impl State {
    fn add(&mut self, before: &[(TopicPartition, Offset)]) {
        for (partition, offset) in before {
            let known = self.before.entry(partition.clone()).or_insert(*offset);
            *known = (*known).max(*offset);
        }
    }
}

impl Cluster {
    /// See [`crate::log::Log::purge`].
    pub(in crate::log::kafka) fn purge(
        self: &Arc<Self>,
        before: &[(TopicPartition, Offset)],
    ) -> Result<()> {
        let mut state = lock(&self.purges.0);
        if let Some((kind, why)) = state.refused.take() {
            return Err(Error::new(kind, why));
        }
        state.add(before);
        if state.is_busy || state.before.is_empty() {
            return Ok(());
        }
        let cluster = Arc::downgrade(self);
        let body = move || {
            while let Some(cluster) = cluster.upgrade()
                && cluster.purge_what_waits()
            {}
        };
        // It ends when nothing is pending.
        let _ends_by_itself = self.env.spawn("marea-kafka-purge", Box::new(body))?;
        state.is_busy = true;
        Ok(())
    }

    /// Whether there was anything.
    fn purge_what_waits(&self) -> bool {
        let mut state = lock(&self.purges.0);
        let before = std::mem::take(&mut state.before);
        if before.is_empty() {
            state.is_busy = false;
            return false;
        }
        drop(state);
        let before: Vec<(TopicPartition, Offset)> = before.into_iter().collect();
        match self.delete_records(&before) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!(%error, "records were not purged; the next purge includes them");
            }
            Err(error) => {
                let refused = Some((error.kind(), error.message().to_owned()));
                lock(&self.purges.0).refused = refused;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_partition_the_largest_offset_waits() {
        let (p, q) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
        let mut state = State::default();
        state.add(&[(p.clone(), 5), (q.clone(), 1)]);
        state.add(&[(p.clone(), 3)]);
        state.add(&[(q.clone(), 7)]);
        assert_eq!(state.before, BTreeMap::from([(p, 5), (q, 7)]));
    }
}
