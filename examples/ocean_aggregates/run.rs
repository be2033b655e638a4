//! One run: feed, process, drain, write the results.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use marea::base::{Env, Error, ErrorKind, Result, SystemEnv};
use marea::log::{self, Budget, CommittedOffset, Log, OpenOptions};
use marea::runtime::{Application, ApplicationBuilder, Settings, State, StopSignal};
use marea::topology::Topology;
use ocean::feed::{self, Feeder, Opener, Source};
use ocean::generate::{self, Generator};
use ocean::lines::Lines;
use ocean::model::{Alert, Average};
use ocean::patience::wait_out;
use ocean::results::{finals, write_lines};
use ocean::topology::{self, ALERTS, APPLICATION, AVERAGES, DEAD_LETTERS, READINGS};

use crate::arguments::{Arguments, Outputs, Promise, Windows};
use crate::view::View;

/// Simulated readings per second, unless the user says otherwise.
const RATE: u64 = 1_000;
/// Partitions of the readings, unless the user says otherwise.
const PARTITIONS: u32 = 4;
/// How often the view is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// How long a shutdown may take.
const CLOSING: Duration = Duration::from_secs(30);

/// What every use of a data directory needs.
pub struct Setting {
    pub directory: PathBuf,
    pub windows: Windows,
    pub topology: Topology,
    pub log: Arc<dyn Log>,
    pub env: Arc<dyn Env>,
}

impl Setting {
    /// Opens the log in the data directory.
    pub fn open(arguments: &Arguments) -> Result<Self> {
        let env = SystemEnv::shared();
        let directory = arguments.data_dir();
        let windows = arguments.windows(&directory)?;
        // Built first: if it cannot be built, nothing is stored either.
        let topology = topology::build(topology::Options {
            window: windows.window(),
            grace: windows.grace(),
            ..topology::Options::default()
        })?;
        let budget = Budget::new((arguments.memory as usize) << 18);
        let mut options = OpenOptions::new(env.clone(), budget);
        options.fsync = arguments.fsync();
        let log = log::open(&arguments.log_url(&directory), &options)?;
        Ok(Self {
            directory,
            windows,
            topology,
            log,
            env,
        })
    }

    /// The application, not yet started.
    pub fn application(&self, arguments: &Arguments) -> ApplicationBuilder {
        let settings = Settings {
            workers: usize::from(arguments.workers),
            guarantee: arguments.guarantee(),
            commit_interval_ms: arguments.commit_interval_ms,
            // The budget of an embedded log is part of it.
            memory_bytes: (arguments.memory as usize) << 20,
            policies: topology::policies(),
            dead_letter_topic: Some(DEAD_LETTERS.to_owned()),
            accept_orphans: arguments.accept_orphans.clone(),
            // Simulated sensors continue a day after those of the previous run.
            timestamp_ahead_max_ms: match arguments.input {
                Some(_) => Settings::default().timestamp_ahead_max_ms,
                None => None,
            },
            ..Settings::default()
        };
        Application::builder(self.topology.clone(), APPLICATION)
            .log(self.log.clone())
            .env(self.env.clone())
            .state_directory(self.directory.join("state"))
            .settings(settings)
    }

    /// Partitions of the readings: as requested, or as in the directory's first run.
    fn partitions(&self, arguments: &Arguments) -> Result<u32> {
        let begun = self.log.topic(READINGS)?.map(|topic| topic.partitions);
        match (begun, arguments.partitions) {
            (Some(begun), Some(asked)) if begun != asked => Err(Error::invalid(format!(
                "{} was first used with --partitions {begun}; omit this, or choose another --data-dir",
                self.directory.display()
            ))),
            (begun, asked) => Ok(begun.or(asked).unwrap_or(PARTITIONS)),
        }
    }

    /// Opens the input now, so that errors in it are reported before any work is done, and once more if
    /// another instance has fed in the meantime.
    fn opener(&self, arguments: &Arguments) -> Result<Opener> {
        let (arguments, windows) = (arguments.clone(), self.windows);
        let env = self.env.clone();
        let open = move |committed: Option<&CommittedOffset>| -> Result<Box<dyn Source>> {
            if let Some(path) = &arguments.input {
                return Ok(Box::new(Lines::open(path, committed)?));
            }
            let per_second = arguments.rate.unwrap_or(RATE);
            let settings = generate::Settings {
                seed: arguments.seed,
                readings: per_second.saturating_mul(arguments.seconds),
                per_second,
                speed: 1,
                start_ms: env.wall_ms(),
                pause_ms: (windows.window_ms + windows.grace_ms + 1_000) as i64,
            };
            Ok(Box::new(Generator::new(settings, committed)?))
        };
        if arguments.kafka.is_some() {
            // The feeder's writer settles what a crash left in the middle of a commit; until then it is
            // unknown what is committed.
            drop(open(None)?);
            return Ok(Box::new(open));
        }
        let known = feed::committed(&*self.log)?;
        let mut first = Some(open(known.as_ref())?);
        Ok(Box::new(move |committed| match first.take() {
            Some(first) if known.as_ref() == committed => Ok(first),
            _ => open(committed),
        }))
    }
}

/// Feeds the input, runs the pipeline until it has all of it, and writes the results.
pub fn run(arguments: &Arguments) -> Result<()> {
    let stop = StopSignal::listen()?;
    let outputs = Outputs::check(arguments)?;
    let setting = Setting::open(arguments)?;
    let Setting { log, env, .. } = &setting;
    let ask = || setting.partitions(arguments);
    let partitions = wait_out(&**env, || stop.is_set(), "counting partitions", ask)?;
    let topics = topology::topics(partitions);
    let create = || log.create_topics(&topics);
    wait_out(&**env, || stop.is_set(), "creating topics", create)?;
    let open = setting.opener(arguments)?;
    let rate = match (&arguments.input, arguments.backlog) {
        (None, false) => Some(arguments.rate.unwrap_or(RATE)),
        (_, false) => arguments.rate,
        (_, true) => None,
    };
    let feeding = feed::Settings {
        member: arguments.member(&setting.directory, &**env)?,
        partitions,
        rate,
        latest_ms: topology::LATEST_MS,
    };
    let asking = "reading the results so far";
    let start_view = || View::start(log, env.clone(), arguments);
    let mut view = wait_out(&**env, || stop.is_set(), asking, start_view)?;
    // The log was available when it was opened: what it does not answer now it will answer later.
    let start = || setting.application(arguments).start();
    let start_pipeline = || wait_out(&**env, || stop.is_set(), "starting the pipeline", start);
    let start_feeder = || Feeder::start(log.clone(), env.clone(), open, feeding);
    let (feeder, mut application) = if arguments.backlog {
        let feeder = start_feeder()?;
        while !feeder.progress().ended && !stop.is_set() {
            env.sleep(FRAME);
        }
        view.line("the whole input has been appended; starting the pipeline")?;
        (feeder, start_pipeline()?)
    } else {
        // The pipeline first: errors it finds are reported before anything is fed.
        let application = start_pipeline()?;
        (start_feeder()?, application)
    };
    arguments.remember(&setting.directory, setting.windows)?;
    let outcome = follow(&application, &feeder, &mut view, &stop, env);
    feeder.stop();
    let feeder_progress = feeder.progress();
    let fed = feeder.finish();
    // A feeder with nothing left to do need not be waited for.
    let closed = match outcome {
        Ok(true) => application.leave(CLOSING),
        _ => application.close(CLOSING),
    };
    let finished = outcome.and_then(|finished| closed.map(|()| finished));
    let last = application.snapshot();
    view.end(&last, &feeder_progress)?;
    // The pipeline's error is more informative than the feeder's, which may be a consequence of it.
    let finished = finished?;
    let fed = fed?;
    if !finished {
        view.line("stopped by a signal; the same command continues from here")?;
        return Ok(());
    }
    let repeats = matches!(arguments.guarantee, Promise::AtLeastOnce);
    // Everything is committed: it only remains to be read, however long the log takes.
    let (averages, alerts, topics) = wait_out(
        &**env,
        || stop.is_set(),
        "reading the results",
        || {
            let averages: Vec<Average> = finals(&**log, AVERAGES, repeats)?;
            let alerts: Vec<Alert> = finals(&**log, ALERTS, repeats)?;
            view.summary(&fed, &last, averages.len(), alerts.len())?;
            Ok((averages, alerts, log.topic_names()?))
        },
    )?;
    let internal = topics.iter().filter(|name| name.ends_with("-repartition"));
    for name in std::iter::once(&READINGS.to_owned()).chain(internal) {
        let ask = || log.topic(name);
        let found = wait_out(&**env, || stop.is_set(), "counting partitions", ask)?;
        let partitions = found.map_or(0, |spec| spec.partitions);
        view.line(&format!("    {name}: {partitions} partitions"))?;
    }
    if let Some(path) = &outputs.averages {
        write_lines(path, &averages)?;
        view.line(&format!("    final averages: {}", path.display()))?;
    }
    if let Some(path) = &outputs.alerts {
        write_lines(path, &alerts)?;
        view.line(&format!("    alerts: {}", path.display()))?;
    }
    view.next(arguments, &setting.directory)
}

/// Draws until everything is done, which returns `true`, or a signal arrives.
fn follow(
    application: &Application,
    feeder: &Feeder,
    view: &mut View,
    stop: &StopSignal,
    env: &Arc<dyn Env>,
) -> Result<bool> {
    let mut resumed = false;
    loop {
        let snapshot = application.snapshot();
        if !resumed && snapshot.state != State::Starting {
            view.resumed(&snapshot)?;
            resumed = true;
        }
        view.draw(&snapshot, &feeder.progress())?;
        if application.wait(Duration::ZERO)? {
            return Err(Error::internal("the pipeline stopped unexpectedly"));
        }
        if stop.is_set() {
            return Ok(false);
        }
        if !feeder.progress().ended {
            env.sleep(FRAME);
            continue;
        }
        if feeder.has_failed() {
            // The shutdown or the next run processes and commits what it fed; time must not be drained,
            // because the rest of the input is still to come.
            return Ok(true);
        }
        match application.drain(FRAME) {
            Ok(()) => return Ok(true),
            // Not yet; `wait` detects a worker that failed.
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Err(error) => return Err(error),
        }
    }
}
