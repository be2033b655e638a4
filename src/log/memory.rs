//! The shortest correct log: maps under one lock. The model that the others are compared with.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::check;
use super::group::{Groups, LocalMember};
use super::signal::Signal;
use super::turns::{From, Reached, Source, TurnReader};
use super::{
    Assignment, Batch, Commit, CommitError, CommittedOffset, Fetched, Heartbeat, Isolation,
    JoinRequest, Log, MemberToken, Membership, Reader, Receipt, Staged, TopicSpec, Writer,
};
use crate::base::{Env, Offset, Result, TaskId, TopicPartition};

/// A log in memory: lost with the process. There is no retention or compaction, so their limits have no
/// effect.
pub struct MemoryLog {
    shared: Arc<Shared>,
}

struct Shared {
    env: Arc<dyn Env>,
    incarnation: u128,
    state: Mutex<State>,
    signal: Signal,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<Arc<str>, Topic>,
    /// How many topics have been created so far.
    topics_made: u64,
    offsets: BTreeMap<String, BTreeMap<TopicPartition, CommittedOffset>>,
    groups: Groups,
    /// How often each writer was opened.
    writers: BTreeMap<String, u64>,
}

struct Topic {
    id: u64,
    spec: TopicSpec,
    partitions: Vec<Partition>,
}

#[derive(Default)]
struct Partition {
    start: Offset,
    end: Offset,
    batches: BTreeMap<Offset, Batch>,
}

impl MemoryLog {
    /// An empty log.
    pub fn new(env: Arc<dyn Env>) -> Self {
        let incarnation = u128::from(env.random_u64()) << 64 | u128::from(env.random_u64());
        let shared = Shared {
            env,
            incarnation,
            state: Mutex::default(),
            signal: Signal::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn partition(&self, partition: &TopicPartition) -> Result<&Partition> {
        let topic = self.topics.get(&partition.topic);
        topic
            .and_then(|topic| topic.partitions.get(partition.partition as usize))
            .ok_or_else(|| check::unknown_partition(partition))
    }

    fn partition_mut(&mut self, partition: &TopicPartition) -> Result<&mut Partition> {
        let topic = self.topics.get_mut(&partition.topic);
        topic
            .and_then(|topic| topic.partitions.get_mut(partition.partition as usize))
            .ok_or_else(|| check::unknown_partition(partition))
    }

    fn apply(&mut self, commit: Commit, now_ms: i64) -> Result<Receipt, CommitError> {
        for (partition, batch) in &commit.appends {
            self.partition(partition).map_err(CommitError::Aborted)?;
            let max = self.topics[&partition.topic].spec.max_record_bytes;
            check::check_sizes(partition, batch, max).map_err(CommitError::Aborted)?;
        }
        if let Some(group) = &commit.group {
            for partition in check::partitions_of(group) {
                self.partition(partition).map_err(CommitError::Aborted)?;
            }
            self.groups
                .check_commit(group)
                .map_err(CommitError::Fenced)?;
        }
        let mut receipt = Receipt::default();
        for (place, batch) in commit.appends {
            let partition = self.partition_mut(&place).map_err(CommitError::Aborted)?;
            let base = partition.end;
            partition.end = base + i64::from(batch.last_offset_delta()) + 1;
            partition.batches.insert(base, batch.stamp(now_ms));
            receipt.ends.insert(place, partition.end);
        }
        if let Some(group) = commit.group {
            self.offsets
                .entry(group.group)
                .or_default()
                .extend(group.offsets);
        }
        Ok(receipt)
    }
}

impl Log for MemoryLog {
    fn incarnation(&self) -> u128 {
        self.shared.incarnation
    }

    fn create_topics(&self, topics: &[TopicSpec]) -> Result<()> {
        let mut state = self.shared.state();
        for spec in topics {
            check::check_spec(spec)?;
            if let Some(existing) = state.topics.get(spec.name.as_str()) {
                check::check_same(spec, &existing.spec)?;
            }
        }
        let State {
            topics: known,
            topics_made,
            ..
        } = &mut *state;
        for spec in topics {
            let topic = || {
                *topics_made += 1;
                Topic {
                    id: *topics_made,
                    spec: spec.clone(),
                    partitions: (0..spec.partitions).map(|_| Partition::default()).collect(),
                }
            };
            known.entry(spec.name.as_str().into()).or_insert_with(topic);
        }
        Ok(())
    }

    fn topic(&self, name: &str) -> Result<Option<TopicSpec>> {
        Ok(self
            .shared
            .state()
            .topics
            .get(name)
            .map(|topic| topic.spec.clone()))
    }

    fn topic_names(&self) -> Result<Vec<String>> {
        Ok(self
            .shared
            .state()
            .topics
            .keys()
            .map(ToString::to_string)
            .collect())
    }

    fn delete_topics(&self, names: &[String]) -> Result<()> {
        let mut state = self.shared.state();
        for name in names {
            state.topics.remove(name.as_str());
        }
        for offsets in state.offsets.values_mut() {
            offsets.retain(|partition, _| !names.iter().any(|name| **name == *partition.topic));
        }
        Ok(())
    }

    fn start_offset(&self, partition: &TopicPartition) -> Result<Offset> {
        Ok(self.shared.state().partition(partition)?.start)
    }

    fn end_offset(&self, partition: &TopicPartition, _: Isolation) -> Result<Offset> {
        self.shared.end(partition)
    }

    fn delete_records(&self, before: &[(TopicPartition, Offset)]) -> Result<()> {
        let mut state = self.shared.state();
        for (place, _) in before {
            state.partition(place)?;
        }
        for (place, offset) in before {
            let partition = state.partition_mut(place)?;
            let start = (*offset).clamp(partition.start, partition.end);
            partition.start = start;
            partition
                .batches
                .retain(|base, batch| base + i64::from(batch.last_offset_delta()) >= start);
        }
        Ok(())
    }

    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<CommittedOffset>>> {
        let state = self.shared.state();
        let offsets = state.offsets.get(group);
        let one = |partition| offsets.and_then(|offsets| offsets.get(partition).cloned());
        Ok(partitions.iter().map(one).collect())
    }

    fn members(&self, group: &str) -> Result<Option<Vec<String>>> {
        let now_ms = self.shared.env.monotonic_ms();
        Ok(Some(self.shared.state().groups.members(group, now_ms)))
    }

    fn delete_group(&self, group: &str) -> Result<()> {
        let mut state = self.shared.state();
        state
            .groups
            .check_empty(group, self.shared.env.monotonic_ms())?;
        state.offsets.remove(group);
        Ok(())
    }

    fn reader(&self, _bytes: usize) -> Result<Box<dyn Reader>> {
        Ok(Box::new(TurnReader::new(Arc::clone(&self.shared))))
    }

    fn writer(&self, id: &str, _bytes: usize) -> Result<Box<dyn Writer>> {
        let mut state = self.shared.state();
        let opened = state.writers.entry(id.to_owned()).or_default();
        *opened += 1;
        Ok(Box::new(MemoryWriter {
            shared: Arc::clone(&self.shared),
            id: id.to_owned(),
            opened: *opened,
            outcome: None,
            staged: Staged::default(),
        }))
    }

    fn join(&self, request: JoinRequest) -> Result<Box<dyn Membership>> {
        let now_ms = self.shared.env.monotonic_ms();
        let local = self.shared.state().groups.join(&request, now_ms)?;
        Ok(Box::new(MemoryMember {
            shared: Arc::clone(&self.shared),
            local,
        }))
    }
}

impl Source for Shared {
    fn env(&self) -> &dyn Env {
        &*self.env
    }

    fn signal(&self) -> &Signal {
        &self.signal
    }

    fn topic_of(&self, partition: &TopicPartition) -> Result<u64> {
        let state = self.state();
        state.partition(partition)?;
        Ok(state.topics[&partition.topic].id)
    }

    fn end(&self, partition: &TopicPartition) -> Result<Offset> {
        Ok(self.state().partition(partition)?.end)
    }

    fn fetch(
        &self,
        place: &TopicPartition,
        from: From,
        max_bytes: usize,
        fetched: &mut Vec<Fetched>,
    ) -> Result<Reached> {
        let state = self.state();
        let partition = state.partition(place)?;
        if state.topics[&place.topic].id != from.topic {
            return Err(check::made_anew(place));
        }
        if from.position > partition.end {
            return Err(check::beyond_end(place, from.position, partition.end));
        }
        let start = partition.start;
        let mut position = from.position.max(start);
        let mut left = max_bytes;
        let across = partition.batches.range(..position).next_back();
        for (&base_offset, batch) in across
            .into_iter()
            .chain(partition.batches.range(position..))
        {
            let next = base_offset + i64::from(batch.last_offset_delta()) + 1;
            if next <= position {
                continue;
            }
            fetched.push(Fetched {
                partition: place.clone(),
                base_offset,
                position,
                batch: batch.clone(),
            });
            position = next;
            left = left.saturating_sub(batch.as_bytes().len());
            if left == 0 {
                break;
            }
        }
        Ok(Reached { position, start })
    }
}

struct MemoryWriter {
    shared: Arc<Shared>,
    id: String,
    opened: u64,
    outcome: Option<Result<Receipt, CommitError>>,
    staged: Staged,
}

impl Writer for MemoryWriter {
    fn staged(&mut self) -> &mut Staged {
        &mut self.staged
    }

    fn submit(&mut self, commit: Commit) -> Result<(), CommitError> {
        assert!(self.outcome.is_none(), "one commit at a time");
        let commit = self.staged.complete(commit);
        let now_ms = self.shared.env.wall_ms();
        let mut state = self.shared.state();
        if state.writers.get(&self.id) != Some(&self.opened) {
            return Err(CommitError::Fenced(check::fenced_writer(&self.id)));
        }
        self.outcome = Some(state.apply(commit, now_ms));
        drop(state);
        self.shared.signal.raise();
        Ok(())
    }

    fn poll(&mut self, _: Duration) -> Result<Option<Receipt>, CommitError> {
        self.outcome.take().transpose()
    }
}

struct MemoryMember {
    shared: Arc<Shared>,
    local: LocalMember,
}

impl Membership for MemoryMember {
    fn poll(&mut self) -> Result<Option<Assignment>> {
        let now_ms = self.shared.env.monotonic_ms();
        self.shared.state().groups.poll(&mut self.local, now_ms)
    }

    fn release(&mut self, tasks: &[TaskId]) -> Result<()> {
        self.shared.state().groups.release(&self.local, tasks)
    }

    fn token(&self) -> MemberToken {
        self.local.token()
    }

    fn heartbeat(&self) -> Box<dyn Heartbeat> {
        Box::new(MemoryHeartbeat {
            shared: Arc::clone(&self.shared),
            local: self.local.clone(),
        })
    }

    fn leave(self: Box<Self>) {
        self.shared.state().groups.leave(&self.local);
    }
}

struct MemoryHeartbeat {
    shared: Arc<Shared>,
    local: LocalMember,
}

impl Heartbeat for MemoryHeartbeat {
    fn beat(&self) -> Result<()> {
        let now_ms = self.shared.env.monotonic_ms();
        self.shared.state().groups.beat(&self.local, now_ms)
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryLog").field(&self.shared).finish()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ManualEnv;

    fn fresh(env: Arc<ManualEnv>) -> Arc<dyn Log> {
        Arc::new(MemoryLog::new(env))
    }

    crate::log_conformance!(fresh);
}
