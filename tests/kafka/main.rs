//! The Kafka backend on a real broker: `cargo test --release --test kafka`.
//!
//! Starts a broker with `scripts/kafka`, on loopback and in a temporary directory, and stops it at the end.
//! `MAREA_KAFKA=HOST:PORT` names one that is already running: the tests delete all its topics, so it must have
//! none, or `MAREA_KAFKA_DELETE_TOPICS` must confirm that they may be deleted. Without Java the tests are skipped,
//! and say so.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and its clock is the real one"
)]

mod authorisation;
mod broker;
mod brokers;
mod cases;
mod clients;
mod crash;
mod faults;
mod foreign;
mod interop;
mod deleted;
mod networks;
mod ocean;
#[path = "../ocean/process.rs"]
#[allow(dead_code, reason = "shared with the tests of the example")]
mod process;
mod proxy;
#[cfg(feature = "admin")]
mod queries;
mod raw;
mod refusals;
mod orphans;
mod patience;
mod renamed;
mod rolling;
mod security;
mod soak;
mod staging;
mod tasks;
mod twins;
#[cfg(feature = "admin")]
#[path = "../admin/client.rs"]
#[allow(dead_code, reason = "shared with the tests of the monitoring")]
mod client;
#[cfg(feature = "admin")]
#[path = "../admin/counting.rs"]
#[allow(dead_code, reason = "shared with the tests of the monitoring")]
mod served;
#[path = "../support/committing.rs"]
mod committing;
#[path = "../runtime/inputs.rs"]
#[allow(dead_code, reason = "shared with the tests of the runtime")]
mod inputs;
#[path = "../runtime/counting.rs"]
#[allow(dead_code, reason = "shared with the tests of the runtime")]
mod counting;
#[path = "../runtime/renaming.rs"]
#[allow(dead_code, reason = "shared with the tests of the runtime")]
mod renaming;
#[path = "../runtime/orders.rs"]
#[allow(dead_code, reason = "shared with the tests of the runtime")]
mod orders;
#[path = "../runtime/typed_clients.rs"]
#[allow(dead_code, reason = "shared with the tests of the runtime")]
mod typed_clients;
#[path = "../runtime/pipeline.rs"]
#[allow(dead_code, reason = "shared with the tests of the runtime")]
mod pipeline;

use std::os::unix::process::CommandExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use broker::Broker;
use cases::{Case, OwnCase};
use marea::log::conformance::CASES;

/// Set for the process that runs the cases with brokers of their own, in parallel with those on the common broker:
/// both kinds wait for brokers most of the time. Its value is the directory of the common broker.
const OWN: &str = "MAREA_KAFKA_OWN_CASES";

/// How much longer than the first process the second may take.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// And how long to stop its brokers.
const STOPPING: Duration = Duration::from_secs(60);

const COMMON_CASES: [&[(&str, Case)]; 16] = [
    cases::CASES,
    refusals::CASES,
    raw::CASES,
    crash::CASES,
    foreign::CASES,
    faults::CASES,
    deleted::CASES,
    tasks::CASES,
    twins::CASES,
    renamed::CASES,
    orphans::CASES,
    rolling::CASES,
    staging::CASES,
    interop::CASES,
    ocean::CASES,
    QUERIES,
];
/// Queries over HTTP, with the feature that they need.
#[cfg(feature = "admin")]
const QUERIES: &[(&str, Case)] = queries::CASES;
#[cfg(not(feature = "admin"))]
const QUERIES: &[(&str, Case)] = &[];
const OWN_CASES: [&[(&str, OwnCase)]; 8] = [
    faults::OWN_CASES,
    brokers::CASES,
    networks::CASES,
    deleted::OWN_CASES,
    staging::OWN_CASES,
    soak::CASES,
    authorisation::CASES,
    security::CASES,
];

fn main() -> ExitCode {
    if std::env::args().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
    }
    if let Ok(plan) = std::env::var(crash::CHILD) {
        crash::child(&plan);
        return ExitCode::SUCCESS;
    }
    if let Ok(plan) = std::env::var(soak::CHILD) {
        soak::child(&plan);
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == "--soak") {
        return soak::run(&arguments);
    }
    let mut results = Results::wanted(&arguments);
    if let Some(common) = std::env::var_os(OWN) {
        end_with_the_first(common.into());
        for (name, case) in OWN_CASES.into_iter().flatten() {
            results.run(name, case);
        }
        return results.said();
    }
    let broker = match Broker::start() {
        Ok(broker) => broker,
        Err(why) => {
            eprintln!("\nSKIPPED: the tests on a real Kafka did not run: {why}\n");
            // Where the tests must run, skipping them is a failure.
            let required = std::env::var_os("MAREA_KAFKA_REQUIRED").is_some();
            return ExitCode::from(u8::from(required));
        }
    };
    let beside = own_cases(&broker, &results, &arguments);
    for (name, case) in CASES {
        results.run(&format!("conformance::{name}"), || {
            case(&|_| broker.fresh_log())
        });
    }
    for (name, case) in COMMON_CASES.into_iter().flatten() {
        results.run(name, || case(&broker));
    }
    for (name, case) in typed_clients::CASES {
        results.run(&format!("typed_clients::{name}"), || {
            case(broker.fresh_log())
        });
    }
    if let Some(child) = beside
        && let Err(why) = ended(child)
    {
        let why = format!("cases with brokers of their own, {why}");
        results.failed.push(why);
    }
    results.said()
}

/// Waits for the second process.
fn ended(mut child: Child) -> Result<(), &'static str> {
    let mut until = Instant::now() + PATIENCE;
    let mut is_told = false;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(None) => std::thread::sleep(Duration::from_millis(100)),
            _ if is_told => return Err("which have not ended in time"),
            _ => return Err("see above"),
        }
        if Instant::now() < until {
            continue;
        }
        if is_told {
            drop(child.kill());
        }
        // It stops its brokers before it ends.
        drop(child.stdin.take());
        is_told = true;
        until = Instant::now() + STOPPING;
    }
}

/// Ends this process, with its brokers and what else it started, once the one that started it is gone, and the common broker.
fn end_with_the_first(common: PathBuf) {
    std::thread::spawn(move || {
        drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        broker::stop_all(common);
        let group = format!("-{}", std::process::id());
        drop(Command::new("kill").args(["-KILL", "--", &group]).status());
        std::process::exit(1);
    });
}

/// Starts the cases that have brokers of their own, if any is selected. They write to this process's output.
fn own_cases(broker: &Broker, results: &Results, arguments: &[String]) -> Option<Child> {
    let mut names = OWN_CASES.into_iter().flatten().map(|(name, _)| name);
    if !names.any(|name| results.is_wanted(name)) {
        return None;
    }
    let Some(common) = broker.directory() else {
        println!("not done: cases that start brokers of their own, since the broker is not ours");
        return None;
    };
    let program = std::env::current_exe().expect("this program");
    let mut second = Command::new(program);
    // The end of its input says that this process is gone, and its group is what it leaves then.
    second.stdin(Stdio::piped()).process_group(0);
    let child = second.args(arguments).env(OWN, common).spawn();
    Some(child.expect("started"))
}

/// The results of the selected cases.
struct Results {
    /// Parts of names; without any, all are selected.
    words: Vec<String>,
    passed: u32,
    failed: Vec<String>,
}

impl Results {
    fn wanted(arguments: &[String]) -> Self {
        let words = arguments.iter().filter(|word| !word.starts_with('-'));
        Self {
            words: words.cloned().collect(),
            passed: 0,
            failed: Vec::new(),
        }
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word))
    }

    fn run(&mut self, name: &str, case: impl FnOnce()) {
        if !self.is_wanted(name) {
            return;
        }
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(case));
        let elapsed_ms = started.elapsed().as_millis();
        match outcome {
            Ok(()) => {
                println!("test {name} ... ok ({elapsed_ms} ms)");
                self.passed += 1;
            }
            Err(_) => {
                println!("test {name} ... FAILED ({elapsed_ms} ms)");
                self.failed.push(name.to_owned());
            }
        }
    }

    fn said(&self) -> ExitCode {
        println!(
            "\n{} passed; {} failed: {}",
            self.passed,
            self.failed.len(),
            self.failed.join(", ")
        );
        ExitCode::from(u8::from(!self.failed.is_empty()))
    }
}
