//! The parts of an application, before it runs.

use std::path::PathBuf;
use std::sync::Arc;

use super::about::About;
use super::change::TopologyChange;
use super::comparing::{compared, lay_out};
use super::context::Context;
use super::hooks::{Hooks, NoHooks};
use super::settings::{Settings, StateBackend};
use super::shared::Shared;
use super::shutdown::Shutdown;
use crate::base::{Env, Error, Result, SystemEnv};
use crate::disk::Budget;
use crate::log::Log;
use crate::state::{StateDirectory, check_application};
use crate::topology::Topology;

/// Collects the parts of an application.
pub struct ApplicationBuilder {
    topology: Topology,
    id: String,
    log: Option<Arc<dyn Log>>,
    state_directory: Option<PathBuf>,
    settings: Settings,
    env: Arc<dyn Env>,
    hooks: Arc<dyn Hooks>,
}

impl ApplicationBuilder {
    pub(super) fn new(topology: Topology, id: String) -> Self {
        Self {
            topology,
            id,
            log: None,
            state_directory: None,
            settings: Settings::default(),
            env: SystemEnv::shared(),
            hooks: Arc::new(NoHooks),
        }
    }

    /// The log to run on.
    #[must_use]
    pub fn log(mut self, log: Arc<dyn Log>) -> Self {
        self.log = Some(log);
        self
    }

    /// Where state is kept, in a subdirectory for this application.
    #[must_use]
    pub fn state_directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_directory = Some(path.into());
        self
    }

    /// The settings.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Clock, randomness and threads; the system's by default.
    #[must_use]
    pub fn env(mut self, env: Arc<dyn Env>) -> Self {
        self.env = env;
        self
    }

    /// Hooks into the commit, for tests.
    #[must_use]
    pub fn hooks(mut self, hooks: Arc<dyn Hooks>) -> Self {
        self.hooks = hooks;
        self
    }

    /// What a start on this log would keep, add, move, leave behind and refuse. Creates nothing and stops nothing:
    /// the application may be running.
    ///
    /// ```
    /// use marea::prelude::*;
    ///
    /// let builder = StreamBuilder::new();
    /// let words = builder.stream::<String, String>("words");
    /// words.group_by_key("by-word").count("counts").to_stream().to("totals");
    ///
    /// let log = marea::open("memory:")?;
    /// log.create_topics(&[TopicSpec::new("words", 1), TopicSpec::new("totals", 1)])?;
    /// let change = Application::builder(builder.build()?, "counting").log(log).compare()?;
    /// assert_eq!(change.adds[0].name, "counts");
    /// println!("{change}");
    /// # Ok::<(), marea::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if input or output topics are missing or do not fit; `Corrupt` for a record that cannot be read;
    /// those of the log. What the application itself would refuse is in [`TopologyChange::check`].
    pub fn compare(&self) -> Result<TopologyChange> {
        let log = self.log.as_deref().ok_or_else(no_log)?;
        compared(&self.topology, &self.id, log, &self.settings)
    }

    /// Checks the parts and compares the topology with the log, then creates the internal topics. Starts nothing.
    pub(super) fn prepare(self) -> Result<Shared> {
        let log = self.log.ok_or_else(no_log)?;
        if self.settings.workers == 0 {
            return Err(Error::invalid("an application needs at least one worker"));
        }
        if self.settings.state_backend == StateBackend::RocksDb && !cfg!(feature = "rocksdb") {
            return Err(Error::invalid(
                "this build does not support state in RocksDB; build marea with the feature `rocksdb`, or \
                 set the backend to memory",
            ));
        }
        let directory = match (&self.state_directory, self.settings.state_backend) {
            (Some(path), _) => Some(StateDirectory::open(path, &self.id, &*self.env)?),
            (None, StateBackend::Memory) => check_application(&self.id).map(|()| None)?,
            (None, StateBackend::RocksDb) => {
                return Err(Error::invalid(
                    "state in RocksDB needs a directory; set `state_directory`, or the backend to memory",
                ));
            }
        };
        let memory_bytes = self.settings.memory_bytes;
        let settings = self.settings.beside(log.memory_bytes());
        let instance = directory.as_ref().map(StateDirectory::instance);
        let (layout, change) = lay_out(&self.topology, &self.id, &*log, &settings, instance)?;
        let databases = layout.databases(settings.state_backend);
        let about = About {
            guarantee: settings.guarantee,
            workers: settings.workers,
            tasks: layout.specs.len(),
            memory_bytes,
            dead_letter_topic: settings.dead_letter_topic.clone(),
            change,
            ..About::of(&self.topology, &self.id)
        };
        let context = Context {
            layout,
            log,
            directory,
            budget: Budget::new(settings.disk_bytes()).for_databases(databases),
            env: self.env,
            hooks: self.hooks,
            shutdown: Shutdown::default(),
            settings,
        };
        Ok(Shared::new(context, about))
    }
}

fn no_log() -> Error {
    Error::invalid("an application needs a log; set it with `log`")
}
