//! The driver itself: pipes a record, runs the task, commits, and feeds internal topics back.

#[cfg(feature = "rocksdb")]
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::globals::Globals;
use super::memory_topics::MemoryTopics;
use crate::base::{Error, Offset, Result, TaskId, TopicPartition};
#[cfg(feature = "rocksdb")]
use crate::disk::Budget;
use crate::log::{Batch, BatchBuilder};
#[cfg(feature = "rocksdb")]
use crate::state::RocksBackend;
use crate::state::{self, Identity, MemoryBackend, TaskState};
use crate::task::{Drops, DynamicTopics, ErrorPolicies, StepLimits, Task};
use crate::topology::Topology;

#[cfg(feature = "rocksdb")]
const BUDGET_BYTES: usize = 16 << 20;

/// Each driver has its own log, so rows that another driver left in a directory are useless to it.
fn next_incarnation() -> u128 {
    static DRIVERS: AtomicU64 = AtomicU64::new(1);
    let driver = DRIVERS.fetch_add(1, Ordering::Relaxed);
    u128::from(std::process::id()) << 64 | u128::from(driver)
}

/// Where a driver keeps committed rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DriverBackend {
    /// In memory; they are lost with the driver.
    #[default]
    Memory,
    /// In a RocksDB database in this directory, as in a service. Existing rows are dropped: each driver
    /// starts with an empty log.
    #[cfg(feature = "rocksdb")]
    RocksDb(PathBuf),
}

/// Settings of a [`Driver`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct DriverBuilder {
    topology: Topology,
    application: String,
    backend: DriverBackend,
    policies: ErrorPolicies,
    dead_letters: Option<String>,
    cache_bytes: Option<usize>,
}

impl DriverBuilder {
    /// Sets the application's name, the prefix of internal topics; `driver` by default.
    pub fn application(mut self, name: impl Into<String>) -> Self {
        self.application = name.into();
        self
    }

    /// Chooses where committed rows live; in memory by default.
    pub fn backend(mut self, backend: DriverBackend) -> Self {
        self.backend = backend;
        self
    }

    /// Sets what happens to records that cannot be handled; by default piping them fails.
    pub fn policies(mut self, policies: ErrorPolicies) -> Self {
        self.policies = policies;
        self
    }

    /// Names the dead-letter topic.
    pub fn dead_letters(mut self, topic: impl Into<String>) -> Self {
        self.dead_letters = Some(topic.into());
        self
    }

    /// Sets how many bytes of committed rows are cached; 0 reads each row from the backend.
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = Some(bytes);
        self
    }

    /// Wires the topology as one task.
    ///
    /// # Errors
    /// `Invalid` if a policy sends dead letters but no topic is named, or if the directory belongs to
    /// something else; else those of the backend.
    pub fn build(self) -> Result<Driver> {
        if self.policies.sends_dead_letters() && self.dead_letters.is_none() {
            return Err(Error::invalid(
                "a policy sends dead letters, but no topic is set for them; call `dead_letters`",
            ));
        }
        let dead_letters = self.dead_letters.as_deref();
        let mut spec = self
            .topology
            .single_task_spec(&self.application, dead_letters);
        let backend: Box<dyn state::Backend> = match &self.backend {
            DriverBackend::Memory => Box::new(MemoryBackend::new()),
            #[cfg(feature = "rocksdb")]
            DriverBackend::RocksDb(path) => {
                let budget = Budget::new(BUDGET_BYTES);
                Box::new(RocksBackend::open(path, &spec.stores, &budget)?)
            }
        };
        let id = TaskId::new(self.application.as_str(), 0);
        let identity = Identity {
            application: self.application.clone(),
            log_incarnation: next_incarnation(),
        };
        let state = TaskState::open(&id, &spec.stores, backend, &identity)?;
        let globals = Globals::of(&self.topology, &identity, self.policies)?;
        spec.globals = globals.stores.clone();
        if let Some(bytes) = self.cache_bytes {
            state.set_cache_bytes(bytes);
        }
        let task = Task::new(id, Arc::new(spec), state, self.policies)?;
        let mut driver = Driver {
            task,
            topology: self.topology,
            identity,
            topics: MemoryTopics::default(),
            builder: BatchBuilder::default(),
            globals,
            wall_ms: 0,
        };
        driver.tell_ends()?;
        driver.task.begin(0)?;
        if driver.task.state.has_new_times() {
            driver.commit()?;
        }
        Ok(driver)
    }
}

/// Runs a topology in a test: the real task over in-memory topics of one partition, with a clock that
/// advances only when the test advances it. The whole topology is one task.
///
/// ```
/// use marea::prelude::*;
///
/// let builder = StreamBuilder::new();
/// builder
///     .stream::<String, String>("readings")
///     .group_by_key("by-sensor")
///     .count("counts")
///     .to_stream()
///     .to("counts-out");
///
/// let mut driver = Driver::new(builder.build()?)?;
/// let readings = driver.input_topic::<String, String>("readings");
/// let counts = driver.output_topic::<String, Option<i64>>("counts-out");
/// readings.pipe(&mut driver, Record::new("buoy-7".to_owned(), "12.5".to_owned(), 1_000))?;
/// readings.pipe(&mut driver, Record::new("buoy-7".to_owned(), "12.7".to_owned(), 2_000))?;
///
/// let values: Vec<_> = counts.read(&mut driver)?.into_iter().map(|record| record.value).collect();
/// assert_eq!(values, [Some(1), Some(2)]);
/// let rows = driver.key_value_rows("counts", String::codec(), i64::codec())?;
/// assert_eq!(rows, [("buoy-7".to_owned(), 2, Some(2_000))]);
/// # Ok::<(), marea::Error>(())
/// ```
pub struct Driver {
    pub(super) task: Task,
    pub(super) topology: Topology,
    pub(super) identity: Identity,
    pub(super) topics: MemoryTopics,
    builder: BatchBuilder,
    pub(super) globals: Globals,
    pub(super) wall_ms: i64,
}

impl Driver {
    /// Starts building a driver for a topology.
    pub fn builder(topology: Topology) -> DriverBuilder {
        DriverBuilder {
            topology,
            application: "driver".to_owned(),
            backend: DriverBackend::default(),
            policies: ErrorPolicies::default(),
            dead_letters: None,
            cache_bytes: None,
        }
    }

    /// A driver for a topology with the defaults: state in memory, errors reported where they occur.
    ///
    /// # Errors
    /// As [`DriverBuilder::build`].
    pub fn new(topology: Topology) -> Result<Self> {
        Self::builder(topology).build()
    }

    /// Appends a batch of encoded records to a topic that the topology reads and processes them, and
    /// everything that follows from them, to the end; each record is committed separately. An
    /// [`InputTopic`](super::InputTopic) does this for typed records.
    ///
    /// # Errors
    /// `Invalid` if the topology does not read the topic. An error of a record whose policy is to fail:
    /// the record is then skipped, everything it did since the last commit is undone, and the driver
    /// remains usable.
    pub fn pipe_batch(&mut self, topic: &str, batch: Batch) -> Result<()> {
        if self.globals.reads(topic) {
            let fetched = self.topics.append(&topic.into(), batch);
            return self.globals.fill(&fetched, self.wall_ms);
        }
        let inputs = &self.task.spec().inputs;
        let Some(input) = inputs.iter().find(|input| &*input.topic == topic) else {
            let names: Vec<_> = inputs.iter().map(|input| &*input.topic).collect();
            return Err(Error::invalid(format!(
                "the topology does not read topic {topic}; it reads {}",
                names.join(", ")
            )));
        };
        let topic = input.topic.clone();
        self.deliver(&topic, batch)?;
        self.run_to_the_end()
    }

    /// Advances the wall clock by the whole duration, then fires the timers that are due by then, each
    /// once, commits, and processes what follows.
    ///
    /// # Errors
    /// An error of a timer whose policy is to fail: what it did is undone, it stays due, and the driver
    /// remains usable.
    pub fn advance_wall_clock(&mut self, by: Duration) -> Result<()> {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.wall_ms = self.wall_ms.saturating_add(by_ms);
        match self.task.fire_wall_timers(self.wall_ms) {
            Ok(()) => self.commit()?,
            Err(error) => return Err(self.abort(error)?),
        }
        self.run_to_the_end()
    }

    /// The wall clock, in milliseconds since the driver was made.
    pub fn wall_ms(&self) -> i64 {
        self.wall_ms
    }

    /// The largest timestamp taken from any input, in milliseconds.
    pub fn stream_time_ms(&self) -> i64 {
        self.task.stream_time_ms()
    }

    /// Records dropped so far, by reason.
    pub fn drops(&self) -> Drops {
        let mut drops = *self.task.drops();
        if let Some(globals) = self.globals.drops() {
            drops.add(globals);
        }
        drops
    }

    fn deliver(&mut self, topic: &Arc<str>, batch: Batch) -> Result<()> {
        let fetched = self.topics.append(topic, batch);
        let end = self.topics.end(topic);
        self.task.inputs.add(&fetched)?;
        self.task.inputs.set_end(&fetched.partition, end, 0)
    }

    /// Processes what is in the queues and everything that follows from it.
    pub(super) fn run_to_the_end(&mut self) -> Result<()> {
        loop {
            match self.task.process(StepLimits::records(1), self.wall_ms) {
                Ok(progress) if progress.records == 0 => return Ok(()),
                Ok(_) => self.commit()?,
                Err(error) => return Err(self.abort(error)?),
            }
        }
    }

    /// Returns to the last commit and skips what is in the queues.
    pub(super) fn abort(&mut self, error: Error) -> Result<Error> {
        self.task.abort()?;
        self.tell_ends()?;
        self.task.begin(self.wall_ms)?;
        Ok(error)
    }

    /// Refuses to read a topic that the topology never writes: its name is probably misspelt.
    pub(super) fn check_written(&self, topic: &str) -> Result<()> {
        let spec = self.task.spec();
        let written = spec.outputs.iter().any(|output| &*output.topic == topic)
            || !matches!(spec.dynamic, DynamicTopics::None)
            || self.topics.end(topic) > 0
            || (0..=spec.stores.len()).any(|store| &*self.changelog_topic(store) == topic);
        if written {
            return Ok(());
        }
        let names: Vec<_> = spec.outputs.iter().map(|output| &*output.topic).collect();
        Err(Error::invalid(format!(
            "the topology does not write topic {topic}; it writes {}",
            names.join(", ")
        )))
    }

    /// Commits as the runtime does: effects and changelogs to the topics, then rows to the backend.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.task.before_commit()?;
        let written = self.task.effects().take();
        self.task.state.seal()?;
        let mut ends: Vec<Option<Offset>> = Vec::new();
        for store in 0..=self.task.state.specs().len() {
            self.task.state.changelog(store, &mut self.builder)?;
            ends.push(self.builder.seal().map(|batch| {
                let topic = self.changelog_topic(store);
                self.topics.append(&topic, batch);
                self.topics.end(&topic)
            }));
        }
        self.task.state.applied(&ends)?;
        for (place, batch) in written {
            let inputs = &self.task.spec().inputs;
            if inputs.iter().any(|input| input.topic == place.topic) {
                self.deliver(&place.topic, batch)?;
            } else {
                self.topics.append(&place.topic, batch);
            }
        }
        Ok(())
    }

    /// The changelog of a store; that of the task comes last.
    pub(super) fn changelog_topic(&self, store: usize) -> Arc<str> {
        let application = &self.identity.application;
        match self.task.state.specs().get(store) {
            Some(spec) => spec.changelog_topic(application).into(),
            None => format!("{application}-task-changelog").into(),
        }
    }

    /// Moves every input to the end of its topic, so that an empty one is not waited for.
    fn tell_ends(&mut self) -> Result<()> {
        let spec = self.task.spec().clone();
        for input in &spec.inputs {
            let place = TopicPartition::new(input.topic.clone(), input.partition);
            let end = self.topics.end(&input.topic);
            self.task.inputs.seek(&place, end)?;
            self.task.inputs.set_end(&place, end, end)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("application", &self.identity.application)
            .finish_non_exhaustive()
    }
}
