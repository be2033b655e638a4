//! Feeds lines into the readings topic, on a separate thread, each line exactly once.
//!
//! A batch of lines and the position after it are one commit of the log, in the group [`GROUP`]: so a
//! program that dies continues after the last line in the log, and neither loses nor repeats one. Lines
//! come from a [`Source`].
//!
//! Several instances may be told to feed. The group gives the turn to one of them; when that one has fed
//! everything, or is gone, the next continues at the position in the log.

mod pending;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use marea::base::{Env, Error, ErrorKind, Result, TaskId, Thread, TopicPartition};
use marea::log::{Assignment, CommittedOffset, JoinRequest, Log, Membership, TaskPlan};
use marea::prelude::{OwnCodec, Producer, ProducerOptions};

use self::pending::Pending;
use crate::patience::wait_out;
use crate::topology::READINGS;

/// The group whose committed offset on the readings' partition 0 is the number of lines fed; its note
/// names the source.
pub const GROUP: &str = "ocean-feeder";

/// Lines of a commit when there is no rate to keep.
const BATCH_LINES: usize = 1_000;
/// Bytes of a commit, about.
const BATCH_BYTES: usize = 512 << 10;
/// With a rate to keep: the interval between batches, and the longest time until a stop is noticed.
const TICK: Duration = Duration::from_millis(20);
/// How long to wait for a commit's answer after the feeder was told to stop.
const ANSWER: Duration = Duration::from_secs(10);
/// A feeder whose process is silent for this long loses its turn, in milliseconds.
const SESSION_MS: u64 = 30_000;
/// A feeder that neither feeds nor checks whether it is its turn for this long loses the turn, in
/// milliseconds: it may be waiting for the log.
const POLL_MS: u64 = 300_000;

/// The result of reading from a [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A line, without its end.
    Line,
    /// The beginning of a line that is longer than the limit; the whole line has this many bytes.
    Oversized(u64),
    /// There is no more.
    End,
}

/// A source of lines.
pub trait Source: Send {
    /// Puts the next line into `line`, at most `limit` bytes of it.
    ///
    /// # Errors
    /// Any error that keeps it from reading on. Lines returned before remain valid.
    fn next(&mut self, line: &mut Vec<u8>, limit: usize) -> Result<Next>;

    /// The position after the last line returned, in the form in which it is committed.
    fn position(&self) -> CommittedOffset;

    /// How much of the source has been returned, from 0 to 1.
    fn done(&self) -> f64;
}

/// Opens a source after its position in the log, when it is the feeder's turn.
pub type Opener = Box<dyn FnMut(Option<&CommittedOffset>) -> Result<Box<dyn Source>> + Send>;

/// How a [`Feeder`] feeds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of this feeder among those of other instances; the same after a restart.
    pub member: String,
    /// Partitions of the readings topic.
    pub partitions: u32,
    /// Lines a second; as fast as the log takes them if there is none.
    pub rate: Option<u64>,
    /// A larger `timestamp_ms` does not become the record's timestamp.
    pub latest_ms: i64,
}

/// The progress of a feeder.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Lines committed by this feeder; those of earlier runs are not counted.
    pub lines: u64,
    /// Lines sent to the dead letters because they are too long for the topic.
    pub oversized: u64,
    /// How much of the source is committed, from 0 to 1.
    pub done: f64,
    /// Whether it has ended: everything is fed, it was stopped, or it failed.
    pub ended: bool,
}

/// The group's position in the log.
///
/// # Errors
/// As [`Log::committed`].
pub fn committed(log: &dyn Log) -> Result<Option<CommittedOffset>> {
    let found = log.committed(GROUP, &[TopicPartition::new(READINGS, 0)])?;
    Ok(found.into_iter().next().flatten())
}

/// A thread that feeds. It is stopped and joined when dropped.
pub struct Feeder {
    shared: Arc<Shared>,
    /// Until it is joined.
    thread: Option<Thread>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    ended: AtomicBool,
    lines: AtomicU64,
    oversized: AtomicU64,
    /// The bits of [`Progress::done`].
    done: AtomicU64,
    /// What ended it, until [`Feeder::finish`] takes it.
    error: Mutex<Option<Error>>,
}

impl Feeder {
    /// Starts feeding as soon as it is its turn. The topics must exist.
    ///
    /// # Errors
    /// `Invalid` if they do not; else as [`Env::spawn`]. Errors of `open` are returned by
    /// [`Feeder::finish`].
    pub fn start(
        log: Arc<dyn Log>,
        env: Arc<dyn Env>,
        open: Opener,
        settings: Settings,
    ) -> Result<Self> {
        let limit = match log.topic(READINGS)? {
            Some(spec) => spec.max_record_bytes,
            None => return Err(Error::invalid(format!("topic {READINGS} does not exist"))),
        };
        let shared = Arc::new(Shared::default());
        let mut feeding = Feeding {
            shared: Arc::clone(&shared),
            log,
            env: Arc::clone(&env),
            open,
            limit,
            settings,
        };
        let body = move || {
            if let Err(error) = feeding.run() {
                *lock(&feeding.shared.error) = Some(error);
            }
            feeding.shared.ended.store(true, Ordering::Release);
        };
        let thread = env.spawn("ocean-feeder", Box::new(body))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Its progress.
    pub fn progress(&self) -> Progress {
        // Read first, so that the values read after it are final when it is true.
        let ended = self.shared.ended.load(Ordering::Acquire);
        Progress {
            lines: self.shared.lines.load(Ordering::Relaxed),
            oversized: self.shared.oversized.load(Ordering::Relaxed),
            done: f64::from_bits(self.shared.done.load(Ordering::Relaxed)),
            ended,
        }
    }

    /// Whether something ended it before its source did; [`Feeder::finish`] returns the reason.
    pub fn has_failed(&self) -> bool {
        lock(&self.shared.error).is_some()
    }

    /// Asks it to end after the current batch. The next run feeds the rest.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// The error that ended it before its source did; everything it read before that has been fed.
    pub fn finish(mut self) -> Result<Progress> {
        if let Some(thread) = self.thread.take()
            && !thread.join()
        {
            let message = "the feeder panicked; its message is on standard error";
            return Err(Error::internal(message));
        }
        lock(&self.shared.error)
            .take()
            .map_or_else(|| Ok(self.progress()), Err)
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

/// The state of the thread.
struct Feeding {
    shared: Arc<Shared>,
    log: Arc<dyn Log>,
    env: Arc<dyn Env>,
    open: Opener,
    /// Largest record that the readings topic takes, in bytes.
    limit: usize,
    settings: Settings,
}

/// How a turn ended.
enum Turn {
    /// Everything is fed, or it was told to stop.
    Done,
    /// The turn now belongs to another feeder.
    Lost,
}

impl Feeding {
    fn run(&mut self) -> Result<()> {
        loop {
            let request = JoinRequest {
                group: GROUP.to_owned(),
                member: self.settings.member.clone(),
                tasks: vec![TaskPlan {
                    task: turn(),
                    inputs: vec![TopicPartition::new(READINGS, 0)],
                }],
                session_timeout_ms: SESSION_MS,
                max_poll_interval_ms: POLL_MS,
            };
            let mut membership =
                self.wait_out("joining its group", || self.log.join(request.clone()))?;
            match self.take_turns(&mut *membership) {
                Ok(()) => {
                    membership.leave();
                    return Ok(());
                }
                // Silent for too long, for instance while the machine slept.
                Err(error) if error.kind() == ErrorKind::Fenced => {
                    tracing::warn!(%error, "the feeder lost its place in the group; rejoining");
                }
                Err(error) => {
                    membership.leave();
                    return Err(error);
                }
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    /// Repeats a request until the log answers, or the feeder is told to stop.
    fn wait_out<T>(&self, doing: &str, ask: impl FnMut() -> Result<T>) -> Result<T> {
        wait_out(&*self.env, || self.is_stopped(), doing, ask)
    }

    /// Commits lines with the source's position, however long the log takes; after the feeder was told to
    /// stop, for only a few more seconds.
    fn producer(&self) -> Result<Producer<Vec<u8>, Vec<u8>>> {
        let shared = Arc::clone(&self.shared);
        let go_on = move |waited| waited < ANSWER || !shared.stop.load(Ordering::Acquire);
        let options = ProducerOptions::default()
            .source(GROUP)
            .patience(go_on)
            .env(Arc::clone(&self.env));
        Producer::open(&self.log, READINGS, Vec::codec(), Vec::codec(), options)
    }

    fn take_turns(&mut self, membership: &mut dyn Membership) -> Result<()> {
        while !self.is_stopped() {
            let assigned = look(membership)?;
            if assigned.is_none_or(|assigned| assigned.tasks.is_empty()) {
                self.env.sleep(TICK);
                continue;
            }
            // The producer first: the previous holder of the turn can write nothing after it.
            let (producer, known) = self.wait_out("opening the producer", || {
                let producer = self.producer()?;
                let known = producer.position()?;
                Ok((producer, known))
            })?;
            let source = (self.open)(known.as_ref())?;
            self.shared
                .done
                .store(source.done().to_bits(), Ordering::Relaxed);
            let mut work = Work {
                feeding: self,
                membership,
                source,
                producer,
                line: Vec::new(),
                timed: None,
            };
            match work.run()? {
                Turn::Done => return Ok(()),
                Turn::Lost => membership.release(&[turn()])?,
            }
        }
        Ok(())
    }
}

/// The group's answer. A place that cannot be obtained now is as good as lost: the feeder rejoins.
fn look(membership: &mut dyn Membership) -> Result<Option<Assignment>> {
    membership.poll().map_err(|error| match error.kind() {
        ErrorKind::Unavailable => Error::new(ErrorKind::Fenced, error.to_string()),
        _ => error,
    })
}

/// The one task of the group.
fn turn() -> TaskId {
    TaskId::new("turn", 0)
}

/// A turn.
struct Work<'a> {
    feeding: &'a Feeding,
    membership: &'a mut dyn Membership,
    source: Box<dyn Source>,
    producer: Producer<Vec<u8>, Vec<u8>>,
    line: Vec<u8>,
    /// The partition of the last line with a time.
    timed: Option<u32>,
}

impl Work<'_> {
    fn run(&mut self) -> Result<Turn> {
        let env = Arc::clone(&self.feeding.env);
        let started_ns = env.monotonic_ns();
        let mut fed = 0u64;
        while !self.feeding.is_stopped() {
            let assigned = look(self.membership)?;
            if assigned.is_some_and(|assigned| assigned.tasks.is_empty()) {
                return Ok(Turn::Lost);
            }
            let due = match self.feeding.settings.rate {
                None => BATCH_LINES,
                Some(rate) => {
                    let elapsed_ns = env.monotonic_ns() - started_ns;
                    let due = u128::from(elapsed_ns) * u128::from(rate) / 1_000_000_000;
                    (due as u64).saturating_sub(fed).min(BATCH_LINES as u64) as usize
                }
            };
            if due == 0 {
                env.sleep(TICK);
                continue;
            }
            let (lines, end) = self.feed(due)?;
            fed += lines;
            if end {
                break;
            }
            if self.feeding.settings.rate.is_some() && lines < BATCH_LINES as u64 {
                env.sleep(TICK);
            }
        }
        Ok(Turn::Done)
    }

    /// Feeds a commit of up to `due` lines; returns their number, and whether the source has ended.
    fn feed(&mut self, due: usize) -> Result<(u64, bool)> {
        let mut pending = Pending::after(self.timed, &mut self.producer);
        let outcome = loop {
            if pending.lines as usize >= due || pending.bytes >= BATCH_BYTES {
                break Ok(false);
            }
            match self.source.next(&mut self.line, self.feeding.limit) {
                Ok(Next::Line) => {
                    pending.line(&self.line, self.feeding.limit, &self.feeding.settings)
                }
                Ok(Next::Oversized(bytes)) => {
                    pending.oversized(&self.line, bytes, self.feeding.limit)
                }
                Ok(Next::End) => break Ok(true),
                // Lines before it are fed first.
                Err(error) => break Err(error),
            }
        };
        let (lines, oversized) = (pending.lines, pending.oversized);
        self.timed = pending.timed;
        if lines > 0 {
            let position = self.source.position();
            self.producer.set_token(self.membership.token());
            self.producer.commit_at(position)?;
            self.feeding
                .shared
                .lines
                .fetch_add(lines, Ordering::Relaxed);
            self.feeding
                .shared
                .oversized
                .fetch_add(oversized, Ordering::Relaxed);
        }
        self.feeding
            .shared
            .done
            .store(self.source.done().to_bits(), Ordering::Relaxed);
        outcome.map(|end| (lines, end))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
