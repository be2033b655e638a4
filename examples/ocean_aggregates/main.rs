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
//! It ends with 0 when all is done or a signal stopped it, with 2 when it cannot be done as asked, with
//! 1 when something failed: then the same command goes on where it stopped.

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
    // What went wrong is said once, at the end; RUST_LOG=warn or info tells the way there.
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
