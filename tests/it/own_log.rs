//! A user-defined log: what it needs besides [`Groups`], which handles the members, and that it passes the suite.
//!
//! Everything is behind one lock. A commit is checked completely and then done, so that no part of one is ever
//! visible alone; readers wait for the number of commits to change.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use marea::base::{Env, Error, ErrorKind, ManualEnv, Offset, Result, TaskId, TopicPartition};
use marea::log::group::{Groups, LocalMember};
use marea::log::{
    Assignment, Batch, Commit, CommitError, CommittedOffset, Fetched, Heartbeat, Isolation,
    JoinRequest, Log, MemberToken, Membership, Reader, Receipt, Skipped, Staged, TopicSpec, Writer,
};

marea::log_conformance!(own);

fn own(env: Arc<ManualEnv>) -> Arc<dyn Log> {
    Arc::new(OwnLog(Arc::new(Inner {
        env,
        state: Mutex::default(),
        committed: Condvar::new(),
    })))
}

struct OwnLog(Arc<Inner>);

struct Inner {
    env: Arc<dyn Env>,
    state: Mutex<State>,
    committed: Condvar,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<String, Topic>,
    /// The number of topics created so far, from which a topic gets its id.
    made: u64,
    commits: u64,
    offsets: BTreeMap<String, BTreeMap<TopicPartition, CommittedOffset>>,
    writers: BTreeMap<String, u64>,
    groups: Groups,
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
    /// By base offset.
    batches: BTreeMap<Offset, Batch>,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fenced(who: &str) -> Error {
    Error::new(ErrorKind::Fenced, format!("{who} has been replaced"))
}

impl State {
    fn find(&mut self, place: &TopicPartition) -> Result<(u64, usize, &mut Partition)> {
        let topic = self.topics.get_mut(&*place.topic);
        let found = topic.and_then(|topic| {
            let partition = topic.partitions.get_mut(place.partition as usize)?;
            Some((topic.id, topic.spec.max_record_bytes, partition))
        });
        found.ok_or_else(|| Error::invalid(format!("partition {place} does not exist")))
    }

    fn check(&mut self, commit: &Commit) -> std::result::Result<(), CommitError> {
        for (place, batch) in &commit.appends {
            let (_, max, _) = self.find(place).map_err(CommitError::Aborted)?;
            let mut cursor = batch.cursor(0);
            while let Some(record) = cursor.next_record().map_err(CommitError::Aborted)? {
                let headers = record.headers().map_err(CommitError::Aborted)?;
                let headers = headers.as_slice().iter();
                let of = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
                let bytes = of(record.key)
                    + of(record.value)
                    + headers
                        .map(|header| header.key.len() + of(header.value.as_deref()))
                        .sum::<usize>();
                if bytes > max {
                    let message = format!("a record for {place} has {bytes} bytes of {max}");
                    return Err(CommitError::Aborted(Error::invalid(message)));
                }
            }
        }
        if let Some(group) = &commit.group {
            for (place, _) in &group.offsets {
                self.find(place).map_err(CommitError::Aborted)?;
            }
            let checked = self.groups.check_commit(group);
            checked.map_err(CommitError::Fenced)?;
        }
        Ok(())
    }

    fn apply(&mut self, commit: Commit, now_ms: i64) -> std::result::Result<Receipt, CommitError> {
        self.check(&commit)?;
        let mut receipt = Receipt::default();
        for (place, batch) in commit.appends {
            let (_, _, partition) = self.find(&place).map_err(CommitError::Aborted)?;
            let base = partition.end;
            partition.end += i64::from(batch.last_offset_delta()) + 1;
            receipt.ends.insert(place, partition.end);
            partition.batches.insert(base, batch.stamp(now_ms));
        }
        if let Some(group) = commit.group {
            let offsets = self.offsets.entry(group.group).or_default();
            offsets.extend(group.offsets);
        }
        self.commits += 1;
        Ok(receipt)
    }
}

impl Log for OwnLog {
    fn incarnation(&self) -> u128 {
        7
    }

    fn create_topics(&self, specs: &[TopicSpec]) -> Result<()> {
        let mut state = self.0.state();
        for spec in specs {
            let wrong = |why: &str| Err(Error::invalid(format!("topic {}: {why}", spec.name)));
            if spec.partitions == 0 || spec.name.is_empty() {
                return wrong("no partitions, or no name");
            }
            if let Some(Topic { spec: known, .. }) = state.topics.get(&spec.name)
                && (known.partitions, known.cleanup) != (spec.partitions, spec.cleanup)
            {
                let shape = |spec: &TopicSpec| {
                    let cleanup = format!("{:?}", spec.cleanup).to_lowercase();
                    format!("{} partitions and cleanup {cleanup}", spec.partitions)
                };
                let (known, wanted) = (shape(known), shape(spec));
                return wrong(&format!("exists with {known}, not {wanted}"));
            }
        }
        for spec in specs {
            if !state.topics.contains_key(&spec.name) {
                state.made += 1;
                let topic = Topic {
                    id: state.made,
                    spec: spec.clone(),
                    partitions: (0..spec.partitions).map(|_| Partition::default()).collect(),
                };
                state.topics.insert(spec.name.clone(), topic);
            }
        }
        Ok(())
    }

    fn topic(&self, name: &str) -> Result<Option<TopicSpec>> {
        let state = self.0.state();
        Ok(state.topics.get(name).map(|topic| topic.spec.clone()))
    }

    fn topic_names(&self) -> Result<Vec<String>> {
        Ok(self.0.state().topics.keys().cloned().collect())
    }

    fn delete_topics(&self, names: &[String]) -> Result<()> {
        let mut state = self.0.state();
        state.topics.retain(|name, _| !names.contains(name));
        for offsets in state.offsets.values_mut() {
            offsets.retain(|place, _| !names.iter().any(|name| **name == *place.topic));
        }
        Ok(())
    }

    fn start_offset(&self, place: &TopicPartition) -> Result<Offset> {
        Ok(self.0.state().find(place)?.2.start)
    }

    fn end_offset(&self, place: &TopicPartition, _: Isolation) -> Result<Offset> {
        Ok(self.0.state().find(place)?.2.end)
    }

    fn delete_records(&self, before: &[(TopicPartition, Offset)]) -> Result<()> {
        let mut state = self.0.state();
        for (place, _) in before {
            state.find(place)?;
        }
        for (place, offset) in before {
            let (_, _, partition) = state.find(place)?;
            partition.start = (*offset).clamp(partition.start, partition.end);
            let start = partition.start;
            let stays = |base: &Offset, batch: &mut Batch| {
                base + i64::from(batch.last_offset_delta()) >= start
            };
            partition.batches.retain(stays);
        }
        Ok(())
    }

    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<CommittedOffset>>> {
        let state = self.0.state();
        let known = |place| state.offsets.get(group)?.get(place).cloned();
        Ok(partitions.iter().map(known).collect())
    }

    fn members(&self, group: &str) -> Result<Option<Vec<String>>> {
        let now_ms = self.0.env.monotonic_ms();
        Ok(Some(self.0.state().groups.members(group, now_ms)))
    }

    fn delete_group(&self, group: &str) -> Result<()> {
        let mut state = self.0.state();
        state.groups.check_empty(group, self.0.env.monotonic_ms())?;
        state.offsets.remove(group);
        Ok(())
    }

    fn reader(&self, _bytes: usize) -> Result<Box<dyn Reader>> {
        Ok(Box::new(OwnReader {
            inner: Arc::clone(&self.0),
            assigned: Vec::new(),
            skipped: Vec::new(),
        }))
    }

    fn writer(&self, id: &str, _bytes: usize) -> Result<Box<dyn Writer>> {
        let mut state = self.0.state();
        let opened = state.writers.entry(id.to_owned()).or_default();
        *opened += 1;
        Ok(Box::new(OwnWriter {
            inner: Arc::clone(&self.0),
            id: id.to_owned(),
            opened: *opened,
            outcome: None,
            staged: Staged::default(),
        }))
    }

    fn join(&self, request: JoinRequest) -> Result<Box<dyn Membership>> {
        let now_ms = self.0.env.monotonic_ms();
        let local = self.0.state().groups.join(&request, now_ms)?;
        Ok(Box::new(Member(Arc::clone(&self.0), local)))
    }
}

struct OwnReader {
    inner: Arc<Inner>,
    assigned: Vec<Assigned>,
    skipped: Vec<Skipped>,
}

#[derive(Clone)]
struct Assigned {
    place: TopicPartition,
    topic: u64,
    position: Offset,
    paused: bool,
}

impl OwnReader {
    fn begin(&self, (place, position): &(TopicPartition, Offset)) -> Result<Assigned> {
        let (topic, ..) = self.inner.state().find(place)?;
        Ok(Assigned {
            place: place.clone(),
            topic,
            position: (*position).max(0),
            paused: false,
        })
    }

    /// One batch of the first partition that has one, which then becomes the last in turn.
    fn take(&mut self, state: &mut State) -> Result<Option<Fetched>> {
        for turn in 0..self.assigned.len() {
            let one = &mut self.assigned[turn];
            if one.paused {
                continue;
            }
            let (topic, _, partition) = state.find(&one.place)?;
            if topic != one.topic || one.position > partition.end {
                let what = match topic == one.topic {
                    true => format!("ends before {}", one.position),
                    false => format!("is of another topic {} now", one.place.topic),
                };
                return Err(Error::corrupt(format!("{} {what}", one.place)));
            }
            if one.position < partition.start {
                self.skipped.push(Skipped {
                    partition: one.place.clone(),
                    from: one.position,
                    to: partition.start,
                });
                one.position = partition.start;
            }
            let next =
                |base: Offset, batch: &Batch| base + i64::from(batch.last_offset_delta()) + 1;
            let mut batches = partition.batches.iter();
            let batch = batches.find(|(base, batch)| next(**base, batch) > one.position);
            if let Some((&base_offset, batch)) = batch {
                let fetched = Fetched {
                    partition: one.place.clone(),
                    base_offset,
                    position: one.position,
                    batch: batch.clone(),
                };
                one.position = next(base_offset, batch);
                self.assigned[turn..].rotate_left(1);
                return Ok(Some(fetched));
            }
        }
        Ok(None)
    }
}

impl Reader for OwnReader {
    fn assign(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()> {
        let begun = positions.iter().map(|one| self.begin(one));
        self.assigned = begun.collect::<Result<_>>()?;
        self.skipped.clear();
        Ok(())
    }

    fn update(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()> {
        let mut assigned = Vec::new();
        for wanted in positions {
            let begun = self.begin(wanted)?;
            let is_it =
                |one: &&Assigned| (&one.place, one.position) == (&begun.place, begun.position);
            assigned.push(self.assigned.iter().find(is_it).cloned().unwrap_or(begun));
        }
        self.assigned = assigned;
        Ok(())
    }

    fn pause(&mut self, place: &TopicPartition, paused: bool) {
        for one in self.assigned.iter_mut().filter(|one| one.place == *place) {
            one.paused = paused;
        }
    }

    fn poll(&mut self, max_bytes: usize, timeout: Duration) -> Result<Vec<Fetched>> {
        let inner = Arc::clone(&self.inner);
        let mut state = inner.state();
        loop {
            let (mut fetched, mut bytes) = (Vec::new(), 0);
            while bytes < max_bytes
                && let Some(one) = self.take(&mut state)?
            {
                bytes += one.batch.as_bytes().len();
                fetched.push(one);
            }
            if !fetched.is_empty() || timeout.is_zero() {
                return Ok(fetched);
            }
            let seen = state.commits;
            let waited = inner
                .committed
                .wait_timeout_while(state, timeout, |state| state.commits == seen);
            let (moved, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
            if timed_out.timed_out() {
                return Ok(Vec::new());
            }
            state = moved;
        }
    }

    fn position(&self, place: &TopicPartition) -> Option<Offset> {
        let mut assigned = self.assigned.iter();
        assigned
            .find(|one| one.place == *place)
            .map(|one| one.position)
    }

    fn skipped(&mut self) -> Vec<Skipped> {
        std::mem::take(&mut self.skipped)
    }

    fn end(&mut self, place: &TopicPartition, _: Duration) -> Result<Option<Offset>> {
        Ok(Some(self.inner.state().find(place)?.2.end))
    }
}

struct OwnWriter {
    inner: Arc<Inner>,
    id: String,
    opened: u64,
    outcome: Option<std::result::Result<Receipt, CommitError>>,
    staged: Staged,
}

impl Writer for OwnWriter {
    fn staged(&mut self) -> &mut Staged {
        &mut self.staged
    }

    fn submit(&mut self, commit: Commit) -> std::result::Result<(), CommitError> {
        let commit = self.staged.complete(commit);
        let now_ms = self.inner.env.wall_ms();
        let mut state = self.inner.state();
        if state.writers.get(&self.id) != Some(&self.opened) {
            return Err(CommitError::Fenced(fenced(&self.id)));
        }
        self.outcome = Some(state.apply(commit, now_ms));
        self.inner.committed.notify_all();
        Ok(())
    }

    fn poll(&mut self, _: Duration) -> std::result::Result<Option<Receipt>, CommitError> {
        self.outcome.take().transpose()
    }
}

struct Member(Arc<Inner>, LocalMember);

impl Membership for Member {
    fn poll(&mut self) -> Result<Option<Assignment>> {
        let now_ms = self.0.env.monotonic_ms();
        self.0.state().groups.poll(&mut self.1, now_ms)
    }

    fn release(&mut self, tasks: &[TaskId]) -> Result<()> {
        self.0.state().groups.release(&self.1, tasks)
    }

    fn token(&self) -> MemberToken {
        self.1.token()
    }

    fn heartbeat(&self) -> Box<dyn Heartbeat> {
        Box::new(Member(Arc::clone(&self.0), self.1.clone()))
    }

    fn leave(self: Box<Self>) {
        self.0.state().groups.leave(&self.1);
    }
}

impl Heartbeat for Member {
    fn beat(&self) -> Result<()> {
        let now_ms = self.0.env.monotonic_ms();
        self.0.state().groups.beat(&self.1, now_ms)
    }
}

impl fmt::Debug for OwnLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnLog")
    }
}
