//! The command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use marea::base::{Env, Error, Result};
use marea::log::embedded::Fsync;
use marea::runtime::Guarantee;
use serde::{Deserialize, Serialize};

/// Turns raw ocean readings into averages and alerts per ocean, exactly once, without a broker.
///
/// Without --input, it simulates sensors in five oceans: just run it and watch. A data directory
/// remembers what it was fed with; if you run the same command again after a crash, it continues where it
/// stopped.
#[derive(Clone, Debug, Parser)]
#[command(version, name = "ocean_aggregates")]
pub struct Arguments {
    /// Read readings from this file of JSON lines, gzipped or not, each line exactly once.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Readings per second [default: 1000 when simulated, a file as fast as possible].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// How long to simulate readings.
    #[arg(long, default_value = "12", value_name = "SECONDS")]
    pub seconds: u64,
    /// Length of a window, for example 1d, 6h, 2s [default: 1d for a file, 2s when simulated].
    #[arg(long, value_parser = humantime::parse_duration)]
    pub window: Option<Duration>,
    /// How late a reading may be, measured by the readings' timestamps [default: 12h for a file, 1s when
    /// simulated].
    #[arg(long, value_parser = humantime::parse_duration)]
    pub grace: Option<Duration>,
    /// Write the final averages here, as JSON lines by window and ocean.
    #[arg(long, value_name = "FILE")]
    pub averages_out: Option<PathBuf>,
    /// Write the alerts here, as JSON lines by window and ocean.
    #[arg(long, value_name = "FILE")]
    pub alerts_out: Option<PathBuf>,
    /// Use a Kafka cluster as the log: its brokers, separated by commas. Several instances, each with
    /// a --data-dir of its own, share the work.
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,
    /// Where log and state are kept [default: data/ocean-file for a file, data/ocean when simulated; with
    /// --kafka data/ocean-kafka-file and data/ocean-kafka].
    #[arg(long, value_name = "DIRECTORY")]
    pub data_dir: Option<PathBuf>,
    /// Worker threads.
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// Partitions of the topic of readings, and of the topics behind it [default: 4, or as in the first
    /// run].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub partitions: Option<u32>,
    /// What may be lost or repeated after a crash.
    #[arg(long, default_value = "exactly-once")]
    pub guarantee: Promise,
    /// Longest time between two commits.
    #[arg(long, default_value = "100", value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub commit_interval_ms: u64,
    /// When commits are synced to disk: each before it is answered, or when the system decides (a crash
    /// of the process loses nothing, one of the machine may).
    #[arg(long, default_value = "every-commit")]
    pub fsync: Sync,
    /// Memory for caches, buffers and fetched records, in MiB; the process uses somewhat more.
    #[arg(long, default_value = "256", value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..))]
    pub memory: u32,
    /// Append all input before the pipeline starts.
    #[arg(long)]
    pub backlog: bool,
    /// Compute a checksum of the state, drop it, rebuild it from the changelogs, compute the checksum
    /// again and compare.
    #[arg(long)]
    pub replay: bool,
    /// Make a damaged log openable: keep what is left of it, report what is lost, and move the damaged
    /// files aside. State is rebuilt at the next start.
    #[arg(long, conflicts_with_all = ["replay", "kafka"])]
    pub repair: bool,
    /// What the pipeline may leave behind on the log: names of stores that an earlier version had and this one
    /// does not have. A start that would leave something behind names it.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub accept_orphans: Vec<String>,
    /// Seed of the simulated readings.
    #[arg(long, default_value = "1")]
    pub seed: u64,
    /// Print plain lines, even on a terminal.
    #[arg(long)]
    pub plain: bool,
}

/// See [`Guarantee`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Promise {
    /// As in a run without the crash.
    ExactlyOnce,
    /// State as in a run without the crash; results may be repeated.
    AtLeastOnce,
}

/// See [`Fsync`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Sync {
    /// Before a commit is answered.
    EveryCommit,
    /// When the operating system decides.
    Never,
}

/// The output files, checked before any work is done for them.
#[derive(Clone, Debug)]
pub struct Outputs {
    pub averages: Option<PathBuf>,
    pub alerts: Option<PathBuf>,
}

impl Outputs {
    /// Follows links, and checks whether the files can be written.
    ///
    /// # Errors
    /// `Invalid` if one cannot, or is the same as the other or the input.
    pub fn check(arguments: &Arguments) -> Result<Self> {
        let averages = output(arguments.averages_out.as_deref(), "--averages-out")?;
        let alerts = output(arguments.alerts_out.as_deref(), "--alerts-out")?;
        let input = arguments
            .input
            .as_ref()
            .and_then(|path| path.canonicalize().ok());
        let paths = [&averages, &alerts, &input];
        for (place, path) in paths.iter().enumerate() {
            // Both results may go to the same pipe or device.
            let same = path
                .as_ref()
                .filter(|path| path.is_file() || !path.exists());
            if let Some(path) = same.filter(|_| paths[..place].contains(path)) {
                return Err(Error::invalid(format!(
                    "{} is named twice among --input, --averages-out and --alerts-out",
                    path.display()
                )));
            }
        }
        Ok(Self { averages, alerts })
    }
}

fn output(path: Option<&Path>, flag: &str) -> Result<Option<PathBuf>> {
    let Some(path) = path else { return Ok(None) };
    let refuse = |why: &str| {
        let place = path.display();
        Err(Error::invalid(format!(
            "{flag} {place}: {why}; name a file that can be written"
        )))
    };
    if path.is_dir() {
        return refuse("it is a directory");
    }
    if let Ok(target) = path.canonicalize() {
        return Ok(Some(target));
    }
    let Some(name) = path.file_name() else {
        return refuse("it does not name a file");
    };
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    match parent.unwrap_or(Path::new(".")).canonicalize() {
        Ok(parent) => Ok(Some(parent.join(name))),
        Err(_) => refuse("its directory does not exist"),
    }
}

/// Writes a small file, so that a crash never leaves an incomplete one.
fn write_aside(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let aside = path.with_extension("new");
    fs::write(&aside, bytes)?;
    fs::rename(&aside, path)
}

/// Number of letters in a feeder's name.
const NAME_LEN: usize = 16;

/// Length of a window and its grace, as stored in a data directory: state made with one cannot be used
/// with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    pub window_ms: u64,
    pub grace_ms: u64,
}

impl Windows {
    /// Length of a window.
    pub fn window(self) -> Duration {
        Duration::from_millis(self.window_ms)
    }

    /// How late a reading may be.
    pub fn grace(self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

impl Arguments {
    /// The windows of a data directory: as requested, or else as in its first run, or else the defaults.
    ///
    /// # Errors
    /// `Invalid` if the directory was first used with other windows than those requested, or holds
    /// nothing to replay.
    pub fn windows(&self, directory: &Path) -> Result<Windows> {
        let path = directory.join("windows.json");
        let place = path.display();
        let begun: Option<Windows> = match fs::read(&path) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|cause| {
                Error::corrupt(format!(
                    "{place}: damaged; delete it, and pass --window and --grace"
                ))
                .with_source(cause)
            })?),
            // Not used yet; or unreadable, which opening the log reports better.
            Err(_) => None,
        };
        if self.replay && begun.is_none() {
            return Err(Error::invalid(format!(
                "{} holds nothing to replay; name the --data-dir of an earlier run",
                directory.display()
            )));
        }
        let default = begun.unwrap_or(match self.input {
            Some(_) => Windows {
                window_ms: 86_400_000,
                grace_ms: 43_200_000,
            },
            None => Windows {
                window_ms: 2_000,
                grace_ms: 1_000,
            },
        });
        let millis = |duration: Duration| duration.as_millis() as u64;
        let windows = Windows {
            window_ms: self.window.map_or(default.window_ms, millis),
            grace_ms: self.grace.map_or(default.grace_ms, millis),
        };
        if let Some(begun) = begun.filter(|begun| *begun != windows) {
            return Err(Error::invalid(format!(
                "{} was first used with --window {}ms --grace {}ms; omit these, or choose another \
                 --data-dir",
                directory.display(),
                begun.window_ms,
                begun.grace_ms,
            )));
        }
        Ok(windows)
    }

    /// The name of this instance's feeder: on Kafka random, and constant as long as the directory exists.
    ///
    /// # Errors
    /// `Invalid` if the directory cannot be written.
    pub fn member(&self, directory: &Path, env: &dyn Env) -> Result<String> {
        if self.kafka.is_none() {
            return Ok("feeder".to_owned());
        }
        let path = directory.join("feeder");
        let named = fs::read_to_string(&path).ok();
        if let Some(name) = named.filter(|name| name.len() == NAME_LEN) {
            return Ok(name);
        }
        let name = format!("{:016x}", env.random_u64());
        let written =
            fs::create_dir_all(directory).and_then(|()| write_aside(&path, name.as_bytes()));
        written.map(|()| name).map_err(|cause| {
            Error::invalid(format!("writing {}", path.display())).with_source(cause)
        })
    }

    /// Stores the windows in the directory.
    ///
    /// # Errors
    /// `Invalid` if it cannot be written.
    pub fn remember(&self, directory: &Path, windows: Windows) -> Result<()> {
        let path = directory.join("windows.json");
        if path.exists() {
            return Ok(());
        }
        let written = serde_json::to_vec(&windows)
            .map_err(std::io::Error::from)
            .and_then(|bytes| write_aside(&path, &bytes));
        written.map_err(|cause| {
            Error::invalid(format!("writing {}", path.display())).with_source(cause)
        })
    }

    /// The directory of log and state.
    pub fn data_dir(&self) -> PathBuf {
        let default = match (&self.input, &self.kafka) {
            (Some(_), None) => "data/ocean-file",
            (None, None) => "data/ocean",
            (Some(_), Some(_)) => "data/ocean-kafka-file",
            (None, Some(_)) => "data/ocean-kafka",
        };
        self.data_dir.clone().unwrap_or_else(|| default.into())
    }

    /// The address of the log: Kafka, or embedded in the data directory.
    pub fn log_url(&self, directory: &Path) -> String {
        match &self.kafka {
            Some(brokers) => format!("kafka://{brokers}"),
            None => format!("embedded:{}", directory.join("log").display()),
        }
    }

    /// The library's type for the guarantee.
    pub fn guarantee(&self) -> Guarantee {
        match self.guarantee {
            Promise::ExactlyOnce => Guarantee::ExactlyOnce,
            Promise::AtLeastOnce => Guarantee::AtLeastOnce,
        }
    }

    /// The library's type for the policy.
    pub fn fsync(&self) -> Fsync {
        match self.fsync {
            Sync::EveryCommit => Fsync::EveryCommit,
            Sync::Never => Fsync::Never,
        }
    }
}
