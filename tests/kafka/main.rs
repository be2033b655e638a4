//! The Kafka backend on a real broker: `cargo test --release --test kafka`.
//!
//! Starts a broker with `scripts/kafka`, on loopback and in a temporary directory, and stops it at the
//! end. `MAREA_KAFKA=HOST:PORT` names one that runs already: the tests delete all its topics, so it must
//! have none, or `MAREA_KAFKA_DELETE_TOPICS` must say that nobody needs them. Where there is no Java the tests are skipped, and that is said.

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
mod raw;
mod refusals;
mod renamed;
mod rolling;
mod security;
mod soak;
mod staging;
mod tasks;
mod twins;
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

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use broker::Broker;
use marea::log::conformance::CASES;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
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
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word));
    let broker = match Broker::start() {
        Ok(broker) => broker,
        Err(why) => {
            eprintln!("\nSKIPPED: the tests on a real Kafka did not run: {why}\n");
            // Where the tests must run, being skipped is a failure.
            let required = std::env::var_os("MAREA_KAFKA_REQUIRED").is_some();
            return ExitCode::from(u8::from(required));
        }
    };
    let (mut passed, mut failed) = (0, Vec::new());
    let mut run = |name: String, case: &dyn Fn()| {
        if !is_wanted(&name) {
            return;
        }
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(case));
        let elapsed_ms = started.elapsed().as_millis();
        match outcome {
            Ok(()) => {
                println!("test {name} ... ok ({elapsed_ms} ms)");
                passed += 1;
            }
            Err(_) => {
                println!("test {name} ... FAILED ({elapsed_ms} ms)");
                failed.push(name);
            }
        }
    };
    for (name, case) in CASES {
        run(format!("conformance::{name}"), &|| {
            case(&|_| broker.fresh_log())
        });
    }
    let own = [
        cases::CASES,
        refusals::CASES,
        raw::CASES,
        crash::CASES,
        foreign::CASES,
        faults::CASES,
        brokers::CASES,
        networks::CASES,
        deleted::CASES,
        tasks::CASES,
        twins::CASES,
        renamed::CASES,
        rolling::CASES,
        staging::CASES,
        soak::CASES,
        interop::CASES,
        authorisation::CASES,
        security::CASES,
        ocean::CASES,
    ];
    for (name, case) in own.into_iter().flatten() {
        run((*name).to_owned(), &|| case(&broker));
    }
    for (name, case) in typed_clients::CASES {
        run(format!("typed_clients::{name}"), &|| {
            case(broker.fresh_log())
        });
    }
    println!(
        "\n{passed} passed; {} failed: {}",
        failed.len(),
        failed.join(", ")
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}
