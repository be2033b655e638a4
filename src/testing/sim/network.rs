//! A log behind a network that loses, delays and breaks messages.
//!
//! ```text
//!  worker -- submit --> SimWriter --> on its way --(its time has come)--> the log below
//!            poll   <-- the answer <-----------------------------------------+
//! ```
//! A commit in flight arrives even if its sender is gone: the log below must detect whether it comes from
//! a zombie.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::env::SimEnv;
use super::faults::{FaultCounts, Faults};
use crate::base::{Error, ErrorKind, Offset, Result, TaskId, TopicPartition};
use crate::log::{
    Assignment, Commit, CommitError, CommittedOffset, Fetched, Heartbeat, Isolation, JoinRequest,
    Log, MemberToken, Membership, Reader, Receipt, Skipped, Staged, Staging, TopicSpec, Writer,
};

/// Longest delay of a commit, and of a late one, in milliseconds.
const WAY_MS: u64 = 15;
const LATE_MS: u64 = 1_500;
/// How often, at most, a lost answer is requested in vain.
const IN_VAIN: u64 = 3;
/// The number of bytes from which outputs are staged, and the longest time for which they are.
const STAGE_BYTES: usize = 300;
const STAGED_FOR: Duration = Duration::from_secs(1);

/// A log and the network in front of it.
pub(super) struct Network {
    log: Arc<dyn Log>,
    shared: Arc<Shared>,
}

struct Shared {
    env: Arc<SimEnv>,
    state: Mutex<State>,
}

struct State {
    faults: Faults,
    counts: FaultCounts,
    /// Until when the log is unreachable.
    down_until_ms: u64,
    on_their_way: Vec<OnItsWay>,
}

struct OnItsWay {
    arrives_at_ms: u64,
    commit: Commit,
    writer: Below,
    answer: Answer,
}

type Below = Arc<Mutex<Box<dyn Writer>>>;
type Answer = Arc<Mutex<Option<Result<Receipt, CommitError>>>>;

impl Network {
    pub(super) fn new(log: Arc<dyn Log>, env: Arc<SimEnv>, faults: Faults) -> Self {
        let state = State {
            faults,
            counts: FaultCounts::default(),
            down_until_ms: 0,
            on_their_way: Vec::new(),
        };
        let state = Mutex::new(state);
        Self {
            log,
            shared: Arc::new(Shared { env, state }),
        }
    }

    /// From now on there are no faults.
    pub(super) fn calm(&self) {
        let mut state = self.shared.state();
        state.faults = Faults::NONE;
        state.down_until_ms = 0;
    }

    pub(super) fn counts(&self) -> FaultCounts {
        self.shared.state().counts
    }

    /// Makes the log unreachable until then.
    pub(super) fn break_until_ms(&self, ms: u64) {
        let mut state = self.shared.state();
        state.counts.outages += 1;
        state.down_until_ms = ms;
    }

    /// Delivers the commits that are due to the log below.
    pub(super) fn deliver(&self) {
        let now_ms = self.shared.env.now_ms();
        let mut state = self.shared.state();
        if now_ms < state.down_until_ms {
            return;
        }
        let all = std::mem::take(&mut state.on_their_way);
        let (here, rest) = all
            .into_iter()
            .partition(|commit| commit.arrives_at_ms <= now_ms);
        state.on_their_way = rest;
        let here: Vec<OnItsWay> = here;
        for OnItsWay {
            commit,
            writer,
            answer,
            ..
        } in here
        {
            let mut below = lock(&writer);
            let outcome = below
                .submit(commit)
                .and_then(|()| below.poll(Duration::ZERO))
                .map(Option::unwrap_or_default);
            if matches!(outcome, Err(CommitError::Fenced(_))) {
                state.counts.fenced += 1;
            }
            *lock(&answer) = Some(outcome);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn reach(&self) -> Result<()> {
        match self.env.now_ms() < self.state().down_until_ms {
            true => Err(unreached()),
            false => Ok(()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unreached() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the simulation has cut the connection to the log",
    )
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Network").field(&self.log).finish()
    }
}

impl Log for Network {
    fn incarnation(&self) -> u128 {
        self.log.incarnation()
    }

    fn create_topics(&self, topics: &[TopicSpec]) -> Result<()> {
        self.shared.reach()?;
        self.log.create_topics(topics)
    }

    fn topic(&self, name: &str) -> Result<Option<TopicSpec>> {
        self.shared.reach()?;
        self.log.topic(name)
    }

    fn topic_names(&self) -> Result<Vec<String>> {
        self.shared.reach()?;
        self.log.topic_names()
    }

    fn delete_topics(&self, names: &[String]) -> Result<()> {
        self.shared.reach()?;
        self.log.delete_topics(names)
    }

    fn start_offset(&self, partition: &TopicPartition) -> Result<Offset> {
        self.shared.reach()?;
        self.log.start_offset(partition)
    }

    fn end_offset(&self, partition: &TopicPartition, isolation: Isolation) -> Result<Offset> {
        self.shared.reach()?;
        self.log.end_offset(partition, isolation)
    }

    fn delete_records(&self, before: &[(TopicPartition, Offset)]) -> Result<()> {
        self.shared.reach()?;
        self.log.delete_records(before)
    }

    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<CommittedOffset>>> {
        self.shared.reach()?;
        self.log.committed(group, partitions)
    }

    fn members(&self, group: &str) -> Result<Option<Vec<String>>> {
        self.shared.reach()?;
        self.log.members(group)
    }

    fn delete_group(&self, group: &str) -> Result<()> {
        self.shared.reach()?;
        self.log.delete_group(group)
    }

    fn reader(&self, bytes: usize) -> Result<Box<dyn Reader>> {
        self.shared.reach()?;
        Ok(Box::new(SimReader {
            reader: self.log.reader(bytes)?,
            shared: Arc::clone(&self.shared),
        }))
    }

    fn writer(&self, id: &str, bytes: usize) -> Result<Box<dyn Writer>> {
        self.shared.reach()?;
        Ok(Box::new(SimWriter {
            below: Arc::new(Mutex::new(self.log.writer(id, bytes)?)),
            shared: Arc::clone(&self.shared),
            answer: None,
            in_vain: 0,
            staged: Staged::default(),
        }))
    }

    fn join(&self, request: JoinRequest) -> Result<Box<dyn Membership>> {
        self.shared.reach()?;
        Ok(Box::new(SimMember {
            member: self.log.join(request)?,
            shared: Arc::clone(&self.shared),
        }))
    }
}

struct SimWriter {
    below: Below,
    shared: Arc<Shared>,
    /// Of the commit in flight.
    answer: Option<Answer>,
    /// How many more times its answer will be requested in vain.
    in_vain: u64,
    staged: Staged,
}

impl Writer for SimWriter {
    fn staged(&mut self) -> &mut Staged {
        &mut self.staged
    }

    /// So that outputs are sent ahead of their commits here too, in parts of a few records.
    fn staging(&self) -> Option<Staging> {
        Some(Staging {
            from_bytes: STAGE_BYTES,
            within: STAGED_FOR,
        })
    }

    fn submit(&mut self, commit: Commit) -> Result<(), CommitError> {
        let commit = self.staged.complete(commit);
        self.shared.reach().map_err(CommitError::Aborted)?;
        let chance = self.shared.env.chance();
        let mut state = self.shared.state();
        let Faults {
            abort,
            lose_answer,
            late,
            ..
        } = state.faults;
        if chance.one_in(abort) {
            state.counts.aborts += 1;
            return Err(CommitError::Aborted(unreached()));
        }
        self.in_vain = 0;
        if chance.one_in(lose_answer) {
            state.counts.lost_answers += 1;
            self.in_vain = 1 + chance.below(IN_VAIN);
        }
        let way_ms = match chance.one_in(late) {
            true => {
                state.counts.late += 1;
                chance.below(LATE_MS)
            }
            false => chance.below(WAY_MS),
        };
        let answer = Answer::default();
        self.answer = Some(Arc::clone(&answer));
        state.on_their_way.push(OnItsWay {
            arrives_at_ms: self.shared.env.now_ms() + way_ms,
            commit,
            writer: Arc::clone(&self.below),
            answer,
        });
        Ok(())
    }

    fn poll(&mut self, _: Duration) -> Result<Option<Receipt>, CommitError> {
        self.shared.reach().map_err(CommitError::Unknown)?;
        let Some(answer) = &self.answer else {
            return Ok(None);
        };
        if self.in_vain > 0 {
            self.in_vain -= 1;
            return Err(CommitError::Unknown(unreached()));
        }
        let Some(outcome) = lock(answer).take() else {
            return Ok(None);
        };
        self.answer = None;
        outcome.map(Some)
    }
}

struct SimReader {
    reader: Box<dyn Reader>,
    shared: Arc<Shared>,
}

impl Reader for SimReader {
    fn assign(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()> {
        self.shared.reach()?;
        self.reader.assign(positions)
    }

    fn update(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()> {
        self.shared.reach()?;
        self.reader.update(positions)
    }

    fn pause(&mut self, partition: &TopicPartition, paused: bool) {
        self.reader.pause(partition, paused);
    }

    /// Nothing arrives while a caller waits: there is nobody else.
    fn poll(&mut self, max_bytes: usize, _: Duration) -> Result<Vec<Fetched>> {
        self.shared.reach()?;
        self.reader.poll(max_bytes, Duration::ZERO)
    }

    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.reader.position(partition)
    }

    fn skipped(&mut self) -> Vec<Skipped> {
        self.reader.skipped()
    }

    fn end(&mut self, partition: &TopicPartition, _: Duration) -> Result<Option<Offset>> {
        self.shared.reach()?;
        self.reader.end(partition, Duration::ZERO)
    }
}

struct SimMember {
    member: Box<dyn Membership>,
    shared: Arc<Shared>,
}

impl Membership for SimMember {
    fn poll(&mut self) -> Result<Option<Assignment>> {
        self.shared.reach()?;
        self.member.poll()
    }

    fn release(&mut self, tasks: &[TaskId]) -> Result<()> {
        self.member.release(tasks)
    }

    fn token(&self) -> MemberToken {
        self.member.token()
    }

    fn heartbeat(&self) -> Box<dyn Heartbeat> {
        self.member.heartbeat()
    }

    fn leave(self: Box<Self>) {
        self.member.leave();
    }
}
