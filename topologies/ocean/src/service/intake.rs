//! How readings get into the log: one thread, one writer, many requests per commit.
//!
//! ```text
//!  requests --> bounded queue --> thread: all that wait, their keys and answers --> one commit --> answers
//!                                   ^ the turn, among instances           (acknowledged by the log)
//! ```
//! 1. `Intake::submit` queues a request, or refuses it at once if there is no room.
//! 2. `Serving::gather` takes all waiting requests, up to a commit's worth. A known key is answered from
//!    memory; one that occurs twice in a commit is appended once.
//! 3. `Serving::commit` appends readings and keys together, in the group [`GROUP`], whose offset counts
//!    commits: this shows the outcome of a commit whose answer was lost.
//! 4. Only then are the requests answered. After any error, the writer is opened again, which settles
//!    what was open, and the keys are read again: the log decides, see ADR 0031.
//!
//! Only one instance at a time has the turn, given by the group; the others refuse readings and say so.

mod serving;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use marea::base::{Env, Error, ErrorKind, Result, TaskId, Thread, TopicPartition};
use marea::log::{JoinRequest, Log, Membership, TaskPlan};
use marea::prelude::{OwnCodec, Producer, ProducerOptions};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use self::serving::Serving;
use super::known::Known;
use super::post::{Checked, Report};
use crate::patience::wait_out;
use crate::topology::READINGS;

/// The group that takes turns, whose offset counts commits.
pub const GROUP: &str = "ocean-intake";

/// Number of requests that may wait.
const QUEUE: usize = 1_024;
/// How soon a stop, or the loss of the turn, is noticed.
const TICK: Duration = Duration::from_millis(50);
/// How long to wait for a commit's acknowledgement: less than clients wait.
const COMMITTING: Duration = Duration::from_secs(20);
/// An instance that is silent for this long loses its turn, in milliseconds.
const SESSION_MS: u64 = 30_000;
/// An instance that neither appends nor checks whether it is its turn for this long loses the turn, in
/// milliseconds.
const POLL_MS: u64 = 300_000;

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In the log, from now or from an earlier request with the same key.
    Answered {
        /// The answer.
        report: Report,
        /// Whether the answer is an earlier one.
        again: bool,
    },
    /// The key was used for another body within a day.
    KeyOfAnotherBody,
    /// Nothing is known to be in the log; the same request may be sent again after this many seconds.
    Later {
        /// The reason.
        reason: &'static str,
        /// The pause.
        seconds: u64,
        /// Whether it may be in the log anyway; sent again with its key, it will not be duplicated.
        unsure: bool,
    },
}

impl Outcome {
    fn later(reason: &'static str) -> Self {
        Self::Later {
            reason,
            seconds: 1,
            unsure: false,
        }
    }
}

/// A waiting request.
pub struct Posted {
    /// Its key, if it has one.
    pub key: Option<String>,
    /// The body's [`super::known::mark`].
    pub body: u64,
    /// The part to append, and the answer once it is appended.
    pub checked: Checked,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Outcome>,
    /// The memory it uses, released once its readings are in the commit.
    pub room: Option<OwnedSemaphorePermit>,
}

/// The queue and its thread, which is stopped and joined when dropped.
pub struct Intake {
    shared: Arc<Shared>,
    queue: SyncSender<Posted>,
    /// Until it is joined.
    thread: Mutex<Option<Thread>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Whether this instance has the turn and its writer.
    open: AtomicBool,
    readings: AtomicU64,
    commits: AtomicU64,
    /// The error that ended the thread.
    error: Mutex<Option<Error>>,
}

/// How an intake works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of this instance among others, the same after a restart.
    pub member: String,
    /// Partitions of the readings topic.
    pub partitions: u32,
    /// Number of idempotency keys remembered at a time.
    pub keys: usize,
}

impl Intake {
    /// Starts taking readings as soon as it is this instance's turn. The topics must exist.
    ///
    /// # Errors
    /// As [`Env::spawn`].
    pub fn start(log: Arc<dyn Log>, env: Arc<dyn Env>, settings: Settings) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (queue, waiting) = sync_channel(QUEUE);
        let mut taking = Taking {
            shared: Arc::clone(&shared),
            log,
            env: Arc::clone(&env),
            settings,
            waiting,
        };
        let body = move || {
            if let Err(error) = taking.run() {
                tracing::error!(%error, "readings are no longer taken");
                *lock(&taking.shared.error) = Some(error);
            }
            taking.shared.open.store(false, Ordering::Release);
        };
        Ok(Self {
            thread: Mutex::new(Some(env.spawn("ocean-intake", Box::new(body))?)),
            shared,
            queue,
        })
    }

    /// Queues a request.
    ///
    /// # Errors
    /// The answer, if it cannot be taken now.
    pub fn submit(&self, posted: Posted) -> std::result::Result<(), Outcome> {
        self.check()?;
        self.queue
            .try_send(posted)
            .map_err(|refused| match refused {
                TrySendError::Full(_) => {
                    Outcome::later("too many requests are waiting for the log")
                }
                TrySendError::Disconnected(_) => Outcome::later("the service is stopping"),
            })
    }

    /// Whether requests are taken now.
    ///
    /// # Errors
    /// The answer, if not.
    pub fn check(&self) -> std::result::Result<(), Outcome> {
        match self.shared.open.load(Ordering::Acquire) {
            true => Ok(()),
            false => Err(Outcome::later(
                "the log is being opened, or another instance takes the readings",
            )),
        }
    }

    /// Number of readings and commits of this process so far.
    pub fn counts(&self) -> (u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.shared.readings), of(&self.shared.commits))
    }

    /// The error that ended it, if any.
    pub fn error(&self) -> Option<Error> {
        lock(&self.shared.error).take()
    }

    /// Answers all waiting requests, and ends.
    pub fn finish(&self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = lock(&self.thread).take() {
            thread.join();
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The state of the thread.
struct Taking {
    shared: Arc<Shared>,
    log: Arc<dyn Log>,
    env: Arc<dyn Env>,
    settings: Settings,
    waiting: Receiver<Posted>,
}

/// How a turn ended.
enum Ended {
    Stopped,
    /// The turn belongs to another instance now, or this one must start over.
    Lost,
}

impl Taking {
    fn run(&mut self) -> Result<()> {
        while !self.is_stopped() {
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
            let join = || self.log.join(request.clone());
            let mut membership = match wait_out(&*self.env, || self.is_stopped(), "joining", join) {
                Ok(membership) => membership,
                Err(_) if self.is_stopped() => break,
                Err(error) => return Err(error),
            };
            let outcome = self.take_turns(&mut *membership);
            self.shared.open.store(false, Ordering::Release);
            self.refuse_all();
            match outcome {
                Ok(()) => {
                    membership.leave();
                    break;
                }
                Err(error) if passes(&error) => {
                    tracing::warn!(%error, "restarting the intake");
                    membership.leave();
                    self.env.sleep(TICK);
                }
                Err(error) => {
                    membership.leave();
                    return Err(error);
                }
            }
        }
        self.refuse_all();
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    /// Answers all waiting requests that this instance does not take readings now.
    fn refuse_all(&self) {
        while let Ok(posted) = self.waiting.try_recv() {
            let later =
                Outcome::later("another instance takes the readings, or the log is unavailable");
            drop(posted.answer.send(later));
        }
    }

    fn take_turns(&mut self, membership: &mut dyn Membership) -> Result<()> {
        while !self.is_stopped() {
            if membership
                .poll()?
                .is_none_or(|found| found.tasks.is_empty())
            {
                self.refuse_all();
                self.env.sleep(TICK);
                continue;
            }
            // The producer first: the previous holder of the turn can write nothing after it, so that
            // what is read then is complete.
            let options = ProducerOptions::default()
                .source(GROUP)
                .delivery_timeout(COMMITTING)
                .env(Arc::clone(&self.env));
            let mut producer =
                Producer::open(&self.log, READINGS, Vec::codec(), Vec::codec(), options)?;
            let commits = producer.position()?.map_or(0, |position| position.offset);
            let known = Known::load(&*self.log, self.settings.keys, self.env.wall_ms())?;
            producer.set_token(membership.token());
            self.shared.open.store(true, Ordering::Release);
            let mut serving = Serving {
                taking: self,
                membership,
                producer,
                known,
                commits,
            };
            let ended = serving.run()?;
            self.shared.open.store(false, Ordering::Release);
            match ended {
                Ended::Stopped => return Ok(()),
                Ended::Lost => membership.release(&[turn()])?,
            }
        }
        Ok(())
    }
}

/// Whether starting over may fix it.
fn passes(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Fenced | ErrorKind::Unavailable)
}

/// The one task of the group.
fn turn() -> TaskId {
    TaskId::new("turn", 0)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
