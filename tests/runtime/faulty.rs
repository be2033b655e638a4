//! A log that misbehaves: answers are lost, commits are aborted, requests are not answered.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use marea::base::{Error, ErrorKind, Offset, Result, TaskId, TopicPartition};
use marea::log::{
    Assignment, Commit, CommitError, CommittedOffset, Fetched, Heartbeat, Isolation, JoinRequest,
    Log, MemberToken, Membership, Reader, Receipt, Skipped, Staged, Staging, Writer,
};

/// What goes wrong; in some cases with each commit whose number is divisible by `every`.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It happens, and the answer is lost; the second request is answered.
    LoseAnswer { every: u32 },
    /// It does not happen.
    Abort { every: u32 },
    /// The writer never learns whether it happened: every second time it did.
    LoseOutcome { every: u32 },
    /// Commits larger than this many bytes fail.
    TooLarge { bytes: usize },
    /// This many times the log does not say where the changelogs of that partition end, or until
    /// [`FaultyLog::release`].
    HideEnds { partition: u32, times: u32 },
    /// This many times the answer about a group's offsets is of a time before its first commit.
    OldOffsets { times: u32 },
    /// This many times a partition seems to end at its start for readers of committed records: a commit is
    /// acknowledged before its markers are everywhere.
    LateMarkers { times: u32 },
    /// No commit is answered before [`FaultyLog::release`], and nothing is sent ahead of one.
    Held,
    /// Nothing.
    None,
}

/// A log over another.
pub struct FaultyLog {
    log: Arc<dyn Log>,
    fault: Fault,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    down: AtomicBool,
    commits: AtomicU32,
    faults: AtomicU32,
    without_progress: AtomicU32,
    released: AtomicBool,
    reader_bytes: AtomicUsize,
    writer_bytes: AtomicUsize,
}

impl FaultyLog {
    pub fn new(log: Arc<dyn Log>, fault: Fault) -> Self {
        Self {
            log,
            fault,
            counts: Arc::default(),
        }
    }

    /// Makes every request fail from now on, or succeed again.
    pub fn set_down(&self, down: bool) {
        self.counts.down.store(down, Ordering::SeqCst);
    }

    /// How often something went wrong.
    pub fn faults(&self) -> u32 {
        self.counts.faults.load(Ordering::SeqCst)
    }

    /// Lets commits and questions about hidden ends be answered from now on.
    pub fn release(&self) {
        self.counts.released.store(true, Ordering::SeqCst);
    }

    /// How many commits were submitted.
    pub fn commits(&self) -> u32 {
        self.counts.commits.load(Ordering::SeqCst)
    }

    /// The memory that all readers so far may use, and all writers, in bytes.
    pub fn client_bytes(&self) -> (usize, usize) {
        let of = |bytes: &AtomicUsize| bytes.load(Ordering::SeqCst);
        (of(&self.counts.reader_bytes), of(&self.counts.writer_bytes))
    }

    /// How many of them had no offsets.
    pub fn commits_without_progress(&self) -> u32 {
        self.counts.without_progress.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for FaultyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyLog({:?})", self.fault)
    }
}

impl Log for FaultyLog {
    forward_to_log!(
        log:
        incarnation, create_topics, topic, topic_names, delete_topics, start_offset, delete_group
    );

    fn end_offset(&self, partition: &TopicPartition, isolation: Isolation) -> Result<Offset> {
        self.counts.ask()?;
        if let Fault::HideEnds {
            partition: hidden,
            times,
        } = self.fault
            && partition.partition == hidden
            && partition.topic.ends_with("-changelog")
            && self.faults() < times
            && !self.counts.released.load(Ordering::SeqCst)
        {
            self.counts.faults.fetch_add(1, Ordering::SeqCst);
            return Err(lost());
        }
        if let Fault::LateMarkers { times } = self.fault
            && isolation == Isolation::ReadCommitted
            && self.faults() < times
        {
            self.counts.faults.fetch_add(1, Ordering::SeqCst);
            return self.log.start_offset(partition);
        }
        self.log.end_offset(partition, isolation)
    }

    fn delete_records(&self, before: &[(TopicPartition, Offset)]) -> Result<()> {
        self.counts.ask()?;
        self.log.delete_records(before)
    }

    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<CommittedOffset>>> {
        self.counts.ask()?;
        if let Fault::OldOffsets { times } = self.fault
            && self.faults() < times
        {
            self.counts.faults.fetch_add(1, Ordering::SeqCst);
            return Ok(vec![None; partitions.len()]);
        }
        self.log.committed(group, partitions)
    }

    fn reader(&self, bytes: usize) -> Result<Box<dyn Reader>> {
        self.counts.ask()?;
        self.counts.reader_bytes.fetch_add(bytes, Ordering::SeqCst);
        Ok(Box::new(FaultyReader {
            reader: self.log.reader(bytes)?,
            counts: self.counts.clone(),
        }))
    }

    fn writer(&self, id: &str, bytes: usize) -> Result<Box<dyn Writer>> {
        self.counts.ask()?;
        let writer = self.log.writer(id, bytes)?;
        self.counts.writer_bytes.fetch_add(bytes, Ordering::SeqCst);
        let counts = self.counts.clone();
        Ok(Box::new(FaultyWriter {
            writer,
            fault: self.fault,
            counts,
            answer: Answer::Good,
        }))
    }

    fn join(&self, request: JoinRequest) -> Result<Box<dyn Membership>> {
        self.counts.ask()?;
        Ok(Box::new(FaultyMember {
            member: self.log.join(request)?,
            counts: self.counts.clone(),
        }))
    }
}

impl Counts {
    fn ask(&self) -> Result<()> {
        match self.down.load(Ordering::SeqCst) {
            true => Err(lost()),
            false => Ok(()),
        }
    }
}

struct FaultyReader {
    reader: Box<dyn Reader>,
    counts: Arc<Counts>,
}

impl Reader for FaultyReader {
    fn assign(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()> {
        self.counts.ask()?;
        self.reader.assign(positions)
    }

    fn update(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()> {
        self.counts.ask()?;
        self.reader.update(positions)
    }

    fn pause(&mut self, partition: &TopicPartition, paused: bool) {
        self.reader.pause(partition, paused);
    }

    fn poll(&mut self, max_bytes: usize, timeout: Duration) -> Result<Vec<Fetched>> {
        self.counts.ask()?;
        self.reader.poll(max_bytes, timeout)
    }

    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.reader.position(partition)
    }

    fn skipped(&mut self) -> Vec<Skipped> {
        self.reader.skipped()
    }

    fn end(&mut self, partition: &TopicPartition, timeout: Duration) -> Result<Option<Offset>> {
        self.counts.ask()?;
        self.reader.end(partition, timeout)
    }
}

/// Its process is healthy: the heartbeat continues.
struct FaultyMember {
    member: Box<dyn Membership>,
    counts: Arc<Counts>,
}

impl Membership for FaultyMember {
    fn poll(&mut self) -> Result<Option<Assignment>> {
        self.counts.ask()?;
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

struct FaultyWriter {
    writer: Box<dyn Writer>,
    fault: Fault,
    counts: Arc<Counts>,
    answer: Answer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Good,
    Lost,
    Abort,
    NeverKnown,
}

impl Writer for FaultyWriter {
    fn staged(&mut self) -> &mut Staged {
        self.writer.staged()
    }

    /// A few records at a time, so that commits fail of which parts were sent ahead.
    fn staging(&self) -> Option<Staging> {
        let stages = !matches!(self.fault, Fault::Held);
        stages.then_some(Staging {
            from_bytes: 2_000,
            within: Duration::from_secs(1),
        })
    }

    fn submit(&mut self, commit: Commit) -> Result<(), CommitError> {
        if self.counts.ask().is_err() {
            // It never arrives; nobody knows before the log can be asked again.
            self.answer = Answer::Abort;
            return Ok(());
        }
        let sizes = commit
            .appends
            .iter()
            .map(|(_, batch)| batch.as_bytes().len());
        let size = self.staged_bytes() + sizes.sum::<usize>();
        let number = self.counts.commits.fetch_add(1, Ordering::SeqCst) + 1;
        if commit
            .group
            .as_ref()
            .is_some_and(|group| group.offsets.is_empty())
        {
            self.counts.without_progress.fetch_add(1, Ordering::SeqCst);
        }
        self.answer = match self.fault {
            Fault::LoseAnswer { every } if number.is_multiple_of(every) => Answer::Lost,
            Fault::Abort { every } if number.is_multiple_of(every) => Answer::Abort,
            Fault::LoseOutcome { every } if number.is_multiple_of(every) => Answer::NeverKnown,
            Fault::TooLarge { bytes } if size > bytes => Answer::Abort,
            _ => Answer::Good,
        };
        if self.answer != Answer::Good {
            self.counts.faults.fetch_add(1, Ordering::SeqCst);
        }
        match self.answer {
            Answer::Abort => Ok(()),
            Answer::NeverKnown => {
                if !self.counts.faults.load(Ordering::SeqCst).is_multiple_of(2) {
                    self.writer.submit(commit)?;
                    while self.writer.poll(Duration::from_secs(1))?.is_none() {}
                }
                Ok(())
            }
            _ => self.writer.submit(commit),
        }
    }

    fn poll(&mut self, timeout: Duration) -> Result<Option<Receipt>, CommitError> {
        self.counts.ask().map_err(CommitError::Unknown)?;
        let is_released = self.counts.released.load(Ordering::SeqCst);
        if matches!(self.fault, Fault::Held) && !is_released {
            return Ok(None);
        }
        match self.answer {
            Answer::Good => self.writer.poll(timeout),
            // Asked again, the log answers.
            Answer::Lost => {
                self.answer = Answer::Good;
                Err(CommitError::Unknown(lost()))
            }
            Answer::Abort => {
                self.answer = Answer::Good;
                Err(CommitError::Aborted(lost()))
            }
            // It stays like this: this writer is no longer of use.
            Answer::NeverKnown => Err(CommitError::Lost(lost())),
        }
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Unavailable, "made by the test")
}
