//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use marea::base::{Error, Result};
use marea::log::embedded::Fsync;
use marea::runtime::Guarantee;

/// Turns raw ocean readings into averages and alerts per ocean, exactly once, without a broker.
///
/// Without --input, sensors of five oceans are made up: run it, and look. A data directory remembers
/// what it was fed with; started again after a crash, the same command goes on where it stopped.
#[derive(Clone, Debug, Parser)]
#[command(version, name = "ocean_aggregates")]
pub struct Arguments {
    /// Read readings from this file of JSON lines, gzipped or not, each line exactly once.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Readings a second [default: 1000 made up, a file as fast as it goes].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// How long readings are made up.
    #[arg(long, default_value = "12", value_name = "SECONDS")]
    pub seconds: u64,
    /// Length of a window, for example 1d, 6h, 2s [default: 1d for a file, 2s made up].
    #[arg(long, value_parser = humantime::parse_duration)]
    pub window: Option<Duration>,
    /// How late a reading may be, by the time of readings [default: 12h for a file, 1s made up].
    #[arg(long, value_parser = humantime::parse_duration)]
    pub grace: Option<Duration>,
    /// Write the final averages here, as JSON lines by window and ocean.
    #[arg(long, value_name = "FILE")]
    pub averages_out: Option<PathBuf>,
    /// Write the alerts here, as JSON lines by window and ocean.
    #[arg(long, value_name = "FILE")]
    pub alerts_out: Option<PathBuf>,
    /// Where log and state are kept [default: data/ocean-file for a file, data/ocean made up].
    #[arg(long, value_name = "DIRECTORY")]
    pub data_dir: Option<PathBuf>,
    /// Worker threads.
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// Partitions of the topic of readings, and of the topics behind it.
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub partitions: u32,
    /// What a crash may leave behind.
    #[arg(long, default_value = "exactly-once")]
    pub guarantee: Promise,
    /// Longest time between two commits.
    #[arg(long, default_value = "100", value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub commit_interval_ms: u64,
    /// When commits reach the disk: each before it is answered, or when the system likes (a crash of
    /// the process loses nothing, one of the machine may).
    #[arg(long, default_value = "every-commit")]
    pub fsync: Sync,
    /// Memory for everything, in MiB.
    #[arg(long, default_value = "256", value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..))]
    pub memory: u32,
    /// Append all input before the pipeline starts.
    #[arg(long)]
    pub backlog: bool,
    /// Sum up the state, drop it, rebuild it from the changelogs, sum it up again and compare.
    #[arg(long, conflicts_with_all = ["input", "backlog"])]
    pub replay: bool,
    /// Seed of the readings that are made up.
    #[arg(long, default_value = "1")]
    pub seed: u64,
    /// Plain lines, also on a terminal.
    #[arg(long)]
    pub plain: bool,
}

/// See [`Guarantee`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Promise {
    /// As if nothing had happened.
    ExactlyOnce,
    /// State as if nothing had happened; results may come again.
    AtLeastOnce,
}

/// See [`Fsync`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Sync {
    /// Before a commit is answered.
    EveryCommit,
    /// When the operating system likes.
    Never,
}

impl Arguments {
    /// Length of a window and its grace.
    pub fn windows(&self) -> (Duration, Duration) {
        let (window, grace) = match self.is_file() {
            true => (Duration::from_secs(86_400), Duration::from_secs(43_200)),
            false => (Duration::from_secs(2), Duration::from_secs(1)),
        };
        (self.window.unwrap_or(window), self.grace.unwrap_or(grace))
    }

    /// The directory of log and state.
    ///
    /// # Errors
    /// `Invalid` for a replay of a directory that was not named.
    pub fn data_dir(&self) -> Result<PathBuf> {
        let named = self.data_dir.clone();
        if self.replay {
            let directory = named.unwrap_or_else(|| "data/ocean".into());
            if !directory.join("log").exists() {
                return Err(Error::invalid(format!(
                    "{} holds no log to replay; name the --data-dir of an earlier run",
                    directory.display()
                )));
            }
            return Ok(directory);
        }
        let default = if self.is_file() {
            "data/ocean-file"
        } else {
            "data/ocean"
        };
        Ok(named.unwrap_or_else(|| default.into()))
    }

    /// The engine's word for the promise.
    pub fn guarantee(&self) -> Guarantee {
        match self.guarantee {
            Promise::ExactlyOnce => Guarantee::ExactlyOnce,
            Promise::AtLeastOnce => Guarantee::AtLeastOnce,
        }
    }

    /// The engine's word for the policy.
    pub fn fsync(&self) -> Fsync {
        match self.fsync {
            Sync::EveryCommit => Fsync::EveryCommit,
            Sync::Never => Fsync::Never,
        }
    }

    fn is_file(&self) -> bool {
        self.input.is_some()
    }
}
