//! The ocean pipeline, on a log embedded in this process: no broker, exactly once.
//!
//! ```text
//! cargo run --release --example ocean_aggregates            sensors made up, a live view
//! cargo run --release --example ocean_aggregates -- --input topologies/ocean/data/ocean-readings.jsonl.gz \
//!     --averages-out averages.jsonl --alerts-out alerts.jsonl
//! cargo run --release --example ocean_aggregates -- --replay
//! cargo run --release --example ocean_aggregates -- --repair        where the log is refused as damaged
//! ```
//!
//! The exit code is 0 when everything is done or a signal stopped it, 2 when it cannot run as requested,
//! and 1 when something failed: the same command then continues where it stopped.

mod arguments;
mod repair;
mod replay;
mod run;
mod view;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use marea::base::ErrorKind;

use arguments::Arguments;

fn main() -> ExitCode {
    // Errors are printed once, at the end; RUST_LOG=warn or info shows how they came about.
    let log = tracing_subscriber::EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(log.unwrap_or_else(|_| "off".into()))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let outcome = match (arguments.repair, arguments.replay) {
        (true, _) => repair::repair(&arguments),
        (false, true) => replay::replay(&arguments),
        (false, false) => run::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ocean_aggregates: {error}");
            match error.kind() {
                ErrorKind::Invalid => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
