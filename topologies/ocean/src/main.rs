//! The ocean pipeline as a service, and sensors that post to it.
//!
//! ```text
//! cargo run --release -p ocean                           the service on loopback, its log in ./ocean-data
//! cargo run --release -p ocean -- sensors --rate 1000    sensors that post to it
//! ```
//!
//! The exit code is 0 when a signal stopped it, 2 when it cannot run as requested, and 1 when it failed.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use marea::base::{ErrorKind, Result};
use ocean::sensors::{self, Sensors};
use ocean::service;
use ocean::service::settings::Given;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// The spans of the pipeline, among all that can be logged.
const SPANS: &str = "marea::spans=debug";

/// Turns readings of ocean sensors, posted over HTTP, into averages and alerts per ocean, exactly once.
///
/// Each setting can be given as a flag, in the environment, or in a TOML file under the same name: flags
/// override the environment, and the environment overrides the file.
#[derive(Debug, Parser)]
#[command(version, name = "ocean", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// A settings file
    #[arg(long, env = "OCEAN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print what this release would keep, add and leave behind on the log, and do nothing else. The exit code is
    /// 2 if it would refuse to start
    #[arg(long)]
    compare: bool,
    #[command(flatten)]
    given: Given,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Post readings of simulated sensors to a service, and report how fast it acknowledges them
    Sensors(Sensors),
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ocean: {error}");
            match error.kind() {
                ErrorKind::Invalid => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    if let Some(Command::Sensors(asked)) = &arguments.command {
        write_logs(false);
        return sensors::run(asked);
    }
    let file = arguments.config.as_deref().map(Given::read).transpose()?;
    let settings = arguments.given.or(file.unwrap_or_default()).settings()?;
    write_logs(settings.spans);
    match arguments.compare {
        true => service::compare(&settings),
        false => service::run(&settings),
    }
}

/// Writes events to standard error: warnings, or what `RUST_LOG` says; and each span of the pipeline when it closes,
/// if they are wanted.
fn write_logs(spans: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    let (filter, events) = match (spans, SPANS.parse()) {
        (true, Ok(directive)) => (filter.add_directive(directive), FmtSpan::CLOSE),
        _ => (filter, FmtSpan::NONE),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(events)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
