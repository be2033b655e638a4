//! The handle of a running application.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use futures::stream::{self, Stream, StreamExt};

use super::builder::ApplicationBuilder;
use super::drain::Drain;
use super::globals::Filling;
use super::handle::Handle;
use super::opening::{Restorer, run as restore};
use super::queries::Queries;
use super::shared::Shared;
use super::shutdown::GIVE_UP_MS;
use super::snapshot::{Snapshot, State};
use super::stop_signal::{Signal, StopSignal};
use super::watch::watch;
use super::worker::{Ends, Worker, join};
use crate::base::{Error, ErrorKind, Result, Thread, panic_message};
use crate::topology::Topology;

/// How often a waiting handle checks its workers.
const LOOK: Duration = Duration::from_millis(5);
/// How quickly a signal is noticed.
const LISTEN: Duration = Duration::from_millis(50);

/// A running application: worker threads that own its tasks.
///
/// ```
/// use std::time::Duration;
/// use marea::prelude::*;
/// use marea::runtime::StateBackend;
///
/// let builder = StreamBuilder::new();
/// builder.stream::<String, String>("in").to("out");
///
/// let log = marea::open("memory:")?;
/// log.create_topics(&[TopicSpec::new("in", 1), TopicSpec::new("out", 1)])?;
/// let mut application = Application::builder(builder.build()?, "copy")
///     .log(log)
///     .settings(Settings { state_backend: StateBackend::Memory, ..Settings::default() })
///     .start()?;
/// application.drain(Duration::from_secs(60))?;
/// application.close(Duration::from_secs(60))?;
/// # Ok::<(), marea::Error>(())
/// ```
pub struct Application {
    shared: Arc<Shared>,
    /// The workers, and the threads that restore for them.
    threads: Vec<Thread>,
    /// Send the members' heartbeats, and watch the input topics.
    beside: Vec<Thread>,
}

impl ApplicationBuilder {
    /// Creates the internal topics and starts the workers.
    ///
    /// # Errors
    /// `Invalid` if the topology does not fit the log's topics or the state directory cannot be used;
    /// `Unavailable` if another process has the directory. The message names the remedy.
    pub fn start(self) -> Result<Application> {
        let shared = Arc::new(self.prepare()?);
        let instance = shared.context.directory.as_ref().map_or_else(
            || format!("{:016x}", shared.context.env.random_u64()),
            |directory| directory.instance().to_owned(),
        );
        let mut application = Application {
            shared: shared.clone(),
            threads: Vec::new(),
            beside: Vec::new(),
        };
        if let Some(filling) = Filling::start(&shared)? {
            let filled = filling.wait();
            application.threads.push(filling.thread);
            filled?;
        }
        // All members join before any of them works, so that the first assignment is the last.
        let mut joined = Vec::new();
        for number in 0..shared.context.settings.workers {
            let name = format!("{instance}-{number}");
            let membership = join(&shared.context, &name)?;
            let heartbeat = membership.heartbeat();
            shared.liveness.keep(&name, Some(heartbeat));
            joined.push((name, membership));
        }
        application.beside.push(keep_alive(&shared)?);
        application.beside.push(watch_inputs(&shared)?);
        let threads = shared
            .context
            .settings
            .restore_threads
            .min(shared.context.layout.specs.len());
        for _ in 0..threads {
            let restorer = Restorer::new(&shared.context, &shared.moves);
            let queue = Arc::clone(&shared.restores);
            application.own(
                "marea-restorer",
                Box::new(move || restore(restorer, &queue)),
            )?;
        }
        for (name, membership) in joined {
            let shared = shared.clone();
            let body = move || {
                let work = || match Ends::open_patiently(&shared, &name)? {
                    Some(ends) => Worker::new(shared.clone(), name.clone(), membership, ends).run(),
                    None => Ok(()),
                };
                // Failing closures of the user are caught at their record; this catches anything else.
                let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
                    Err(Error::internal(format!(
                        "worker {name} panicked: {}",
                        panic_message(&*panic)
                    )))
                });
                if let Err(error) = &outcome {
                    tracing::error!(worker = %name, %error, "worker failed");
                    // A failure stops all workers: the others commit what they have.
                    shared.context.stop_soon();
                }
                shared.liveness.keep(&name, None);
                shared.status.worker_ended(outcome);
            };
            application.own("marea-worker", Box::new(body))?;
        }
        Ok(application)
    }
}

impl Application {
    /// Starts building an application. `id` names its group, its internal topics and its state: at most 200 letters,
    /// digits, '.', '_' and '-'.
    pub fn builder(topology: Topology, id: impl Into<String>) -> ApplicationBuilder {
        ApplicationBuilder::new(topology, id.into())
    }

    /// Reads of its stores, from any thread, while it runs: what the tasks in this process have committed.
    pub fn queries(&self) -> Queries {
        Queries::new(Arc::clone(&self.shared))
    }

    /// A snapshot of its current state.
    pub fn snapshot(&self) -> Snapshot {
        self.handle().snapshot()
    }

    /// A view of it for other code, mainly to show its state.
    pub fn handle(&self) -> Handle {
        Handle::new(&self.shared)
    }

    /// Brings the input to its end: waits until everything appended before the call has been processed,
    /// then closes open windows and commits. Nothing should be appended to the inputs in the meantime;
    /// later records are processed, but may be late.
    ///
    /// # Errors
    /// The failure of a worker; `Unavailable` if it takes longer than `deadline`.
    pub fn drain(&self, deadline: Duration) -> Result<()> {
        let until_ms = self.until_ms(deadline);
        let mut drain = Drain::begin(&self.shared);
        self.wait_for(until_ms, "the input to end", || drain.is_done(&self.shared))
    }

    /// Stops permanently, as [`Application::close`] does, and gives the tasks back: other instances take
    /// them over at once, whereas after a close they wait for this one. For scaling down.
    ///
    /// # Errors
    /// As [`Application::close`].
    pub fn leave(&mut self, deadline: Duration) -> Result<()> {
        self.shared.context.shutdown.leave();
        self.close(deadline)
    }

    /// Shuts down cleanly: what was processed is committed, nothing more is read, time does not advance.
    /// A restart continues from here. On Kafka the places in the group are kept: an instance that returns
    /// within [`Settings::session_timeout_ms`](super::Settings::session_timeout_ms) gets its tasks back, and no
    /// task moves in a rolling restart.
    ///
    /// # Errors
    /// The failure of a worker; `Unavailable` if it takes longer than `deadline`, and then workers may
    /// still be running.
    pub fn close(&mut self, deadline: Duration) -> Result<()> {
        self.shared.status.enter(State::Stopping);
        self.shared
            .context
            .shutdown
            .request(self.until_ms(deadline));
        self.wait_for(self.until_ms(deadline), "the workers to stop", || {
            self.shared.status.running() == 0
        })?;
        self.join();
        self.shared.status.error().map_or(Ok(()), Err)
    }

    /// Waits until it has stopped or failed, for at most `deadline`; `Ok(false)` if it still runs.
    ///
    /// # Errors
    /// The failure of a worker.
    pub fn wait(&self, deadline: Duration) -> Result<bool> {
        let until_ms = self.until_ms(deadline);
        while self.shared.status.running() > 0 {
            if self.shared.context.env.monotonic_ms() >= until_ms {
                return Ok(false);
            }
            self.shared.context.env.sleep(LOOK);
        }
        self.shared.status.error().map_or(Ok(true), Err)
    }

    /// The current state, and then the latest state whenever it has changed; ends after
    /// [`State::Stopped`] or [`State::Failed`]. Needs no runtime of its own: any executor will do.
    ///
    /// ```
    /// # fn main_of(application: marea::runtime::Application) {
    /// use futures::StreamExt;
    /// let states = application.states();
    /// let stopped = async move {
    ///     let last = states.collect::<Vec<_>>().await.pop();
    ///     println!("ended as {last:?}");
    /// };
    /// # drop(stopped);
    /// # }
    /// ```
    pub fn states(&self) -> impl Stream<Item = State> + Send + Unpin + 'static {
        let receiver = self.shared.status.states();
        Box::pin(stream::unfold(Some(receiver), async |receiver| {
            let mut receiver = receiver?;
            let state = *receiver.borrow_and_update();
            if matches!(state, State::Stopped | State::Failed) {
                return Some((state, None));
            }
            // The sender lives as long as a worker does.
            let next = receiver.changed().await.is_ok().then_some(receiver);
            Some((state, next))
        }))
    }

    /// [`Application::wait`] for callers that must not block: resolves when it has stopped or failed.
    ///
    /// # Errors
    /// The failure of a worker.
    pub async fn ended(&self) -> Result<()> {
        self.states().collect::<Vec<_>>().await;
        self.shared.status.error().map_or(Ok(()), Err)
    }

    /// Runs as a service: until SIGINT or SIGTERM, then shuts down cleanly.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// # fn main_of(mut application: marea::runtime::Application) -> Result<(), marea::Error> {
    /// use marea::runtime::StopSignal;
    /// application.run_until(&StopSignal::listen()?, Duration::from_secs(30))
    /// # }
    /// ```
    ///
    /// # Errors
    /// The failure of a worker: return it from `main`, so that the process ends with a non-zero exit
    /// code; as [`Application::close`] with `deadline`.
    pub fn run_until(&mut self, stop: &StopSignal, deadline: Duration) -> Result<()> {
        while !stop.is_set() {
            if self.wait(LISTEN)? {
                return Ok(());
            }
        }
        self.close(deadline)
    }

    /// [`Application::run_until`] for callers that must not block: until SIGINT or SIGTERM, then shuts
    /// down cleanly; or until it fails. Runs on the caller's tokio runtime and starts none. A second
    /// signal ends the process at once.
    ///
    /// Dropping the future leaves the application running. Dropping the application after the future has
    /// resolved joins its threads, which have ended.
    ///
    /// ```no_run
    /// # use marea::prelude::*;
    /// #[tokio::main]
    /// async fn main() -> marea::Result<()> {
    /// #   let topology = StreamBuilder::new().build()?;
    ///     let application = Application::builder(topology, "orders")
    ///         .log(marea::open("embedded:./data")?)
    ///         .state_directory("./state")
    ///         .start()?;
    ///     application.run().await
    /// }
    /// ```
    ///
    /// # Errors
    /// The failure of a worker: return it from `main`, so that the process ends with a non-zero exit
    /// code. `Invalid` outside a tokio runtime; `Unavailable` if the system refuses signal handlers, or
    /// workers have not stopped after 30 seconds.
    pub async fn run(&self) -> Result<()> {
        let signal = Signal::listen()?;
        match select(pin!(self.ended()), pin!(signal.caught())).await {
            Either::Left((ended, _)) => return ended,
            Either::Right(_) => {}
        }
        self.shared.status.enter(State::Stopping);
        let closing = Duration::from_millis(GIVE_UP_MS);
        self.shared.context.shutdown.request(self.until_ms(closing));
        // Workers give up by themselves; one that is stuck in a closure of the user must not block this.
        let Ok(ended) = tokio::time::timeout(closing, self.ended()).await else {
            let message = format!("waited {GIVE_UP_MS} ms for the workers to stop");
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        ended
    }

    /// Starts a thread; if that fails, everything stops.
    fn own(&mut self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<()> {
        let thread = self.shared.context.env.spawn(name, body).inspect_err(|_| {
            self.shared.context.shutdown.request(self.until_ms(LOOK));
        })?;
        self.threads.push(thread);
        Ok(())
    }

    fn until_ms(&self, deadline: Duration) -> u64 {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        self.shared
            .context
            .env
            .monotonic_ms()
            .saturating_add(deadline_ms)
    }

    fn wait_for(&self, until_ms: u64, what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
        let since_ms = self.shared.context.env.monotonic_ms();
        while !done() {
            if let Some(error) = self.shared.status.error() {
                return Err(error);
            }
            if self.shared.context.env.monotonic_ms() >= until_ms {
                let message = format!("waited {} ms for {what}", until_ms - since_ms);
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            self.shared.context.env.sleep(LOOK);
        }
        Ok(())
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            thread.join();
        }
        self.shared.liveness.end();
        for thread in self.beside.drain(..) {
            thread.join();
        }
    }
}

/// Starts the thread that sends the heartbeats of an application's members.
fn keep_alive(shared: &Arc<Shared>) -> Result<Thread> {
    let env = shared.context.env.clone();
    let shared = shared.clone();
    let body = move || {
        while shared
            .liveness
            .pause_beating(shared.context.settings.session_timeout_ms)
        {
            for worker in shared.liveness.beat(shared.context.env.monotonic_ms()) {
                shared.status.expelled(&worker);
            }
        }
    };
    env.spawn("marea-liveness", Box::new(body))
}

/// Starts the thread that checks whether the input topics have changed.
fn watch_inputs(shared: &Arc<Shared>) -> Result<Thread> {
    let env = shared.context.env.clone();
    let shared = shared.clone();
    env.spawn("marea-watch", Box::new(move || watch(&shared)))
}

/// An application that is dropped is stopped; it commits what it has, but a failure is not reported.
impl Drop for Application {
    fn drop(&mut self) {
        self.shared.context.stop_soon();
        self.join();
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("application", &self.handle().about().application)
            .finish_non_exhaustive()
    }
}
