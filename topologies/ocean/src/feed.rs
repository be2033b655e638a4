//! Feeds lines into the readings topic, on a thread of its own, each exactly once.
//!
//! A batch of lines and the position after it are one commit of the log, in the group
//! [`GROUP`]: so a program that dies continues after the last line that the log has, and neither
//! loses nor repeats one. Where lines come from is a [`Source`].
//!
//! Several instances may be told to feed. The group gives the turn to one of them; when it has fed
//! all it has, or is gone, the next continues where the log says.

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

/// The group whose committed offset on the readings' partition 0 is the number of lines fed; its
/// note says of what.
pub const GROUP: &str = "ocean-feeder";

/// Lines of a commit when there is no rate to keep.
const BATCH_LINES: usize = 1_000;
/// Bytes of a commit, about.
const BATCH_BYTES: usize = 512 << 10;
/// With a rate to keep: how often something is due, and how long a stop may go unheard.
const TICK: Duration = Duration::from_millis(20);
/// How long a commit's answer is waited for once the feeder was told to stop.
const ANSWER: Duration = Duration::from_secs(10);
/// A feeder whose process is silent for this long loses its turn, in milliseconds.
const SESSION_MS: u64 = 30_000;
/// A feeder that neither feeds nor asks whether it is its turn for this long loses it, in milliseconds: it
/// may be waiting for the log.
const POLL_MS: u64 = 300_000;

/// What a [`Source`] gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A line, without its end.
    Line,
    /// The beginning of a line that is longer than was asked for; the whole has so many bytes.
    Oversized(u64),
    /// There is no more.
    End,
}

/// Where lines come from.
pub trait Source: Send {
    /// Puts the next line into `line`, at most `limit` bytes of it.
    ///
    /// # Errors
    /// What keeps it from reading on. Lines given before stand.
    fn next(&mut self, line: &mut Vec<u8>, limit: usize) -> Result<Next>;

    /// The position after the last line given, as it is committed.
    fn position(&self) -> CommittedOffset;

    /// How much of the source has been given, from 0 to 1.
    fn done(&self) -> f64;
}

/// Opens a source after the position that the log has of it, when it is the feeder's turn.
pub type Opener = Box<dyn FnMut(Option<&CommittedOffset>) -> Result<Box<dyn Source>> + Send>;

/// How a [`Feeder`] feeds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of this feeder among those of other instances, the same after a restart.
    pub member: String,
    /// Partitions of the readings topic.
    pub partitions: u32,
    /// Lines a second; as fast as the log takes them if there is none.
    pub rate: Option<u64>,
    /// A later `timestamp_ms` does not become the record's timestamp.
    pub latest_ms: i64,
}

/// How far a feeder is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Lines committed by this feeder; those of earlier runs are not counted.
    pub lines: u64,
    /// Lines that went to the dead letters because the topic takes none of their length.
    pub oversized: u64,
    /// How much of the source is committed, from 0 to 1.
    pub done: f64,
    /// Whether it has ended: everything is fed, it was stopped, or it failed.
    pub ended: bool,
}

/// The position that the log has of this group.
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
    /// Begins to feed as soon as it is its turn. The topics must exist.
    ///
    /// # Errors
    /// `Invalid` if they do not; as [`Env::spawn`]. Those of `open` come from [`Feeder::finish`].
    pub fn start(
        log: Arc<dyn Log>,
        env: Arc<dyn Env>,
        open: Opener,
        settings: Settings,
    ) -> Result<Self> {
        let limit = match log.topic(READINGS)? {
            Some(spec) => spec.max_record_bytes,
            None => return Err(Error::invalid(format!("there is no topic {READINGS}"))),
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

    /// How far it is.
    pub fn progress(&self) -> Progress {
        // First, so that what is read after it is final when it is true.
        let ended = self.shared.ended.load(Ordering::Acquire);
        Progress {
            lines: self.shared.lines.load(Ordering::Relaxed),
            oversized: self.shared.oversized.load(Ordering::Relaxed),
            done: f64::from_bits(self.shared.done.load(Ordering::Relaxed)),
            ended,
        }
    }

    /// Whether something ended it before its source did; [`Feeder::finish`] says what.
    pub fn has_failed(&self) -> bool {
        lock(&self.shared.error).is_some()
    }

    /// Asks it to end after the batch in hand. What it has not fed, the next run feeds.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// What ended it before its source did; what it read before that is fed.
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

/// What the thread owns.
struct Feeding {
    shared: Arc<Shared>,
    log: Arc<dyn Log>,
    env: Arc<dyn Env>,
    open: Opener,
    /// Largest record that the readings topic takes, in bytes.
    limit: usize,
    settings: Settings,
}

/// How a turn came to its end.
enum Turn {
    /// Everything is fed, or it was told to stop.
    Done,
    /// It is another's now.
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
                    tracing::warn!(%error, "the feeder lost its place; joining anew");
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

    /// Asks the log until it answers, or the feeder is told to stop.
    fn wait_out<T>(&self, doing: &str, ask: impl FnMut() -> Result<T>) -> Result<T> {
        wait_out(&*self.env, || self.is_stopped(), doing, ask)
    }

    /// Commits lines with the source's position, however long the log takes; once the feeder was told to
    /// stop, for some seconds more.
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
            // The producer first: whoever had the turn before has no say after it.
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

/// What the group says. A place that cannot be had now is as good as lost: the feeder joins anew.
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
    /// Where the last line with a time went.
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

    /// Feeds a commit of up to `due` lines; their number, and whether the source has ended.
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
                // What came before it is fed first.
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
