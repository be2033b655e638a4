//! The memory number is a limit: whatever a topology does, the process stays below it, plus 64 MiB, plus twice its
//! largest record.
//!
//! Each case runs in a process of its own, which counts what its allocator hands out and asks the system for its
//! peak resident memory. Without arguments the cases run at 64 MiB; `--all` runs them at 256 and 1,024 MiB too
//! (`cargo test --release --test memory -- --all`), and prints the numbers in
//! `docs/adr/0014-one-memory-number.md`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    unsafe_code,
    reason = "a test fails by panicking, its clock is the real one, and an allocator is unsafe"
)]

#[path = "memory/allocator.rs"]
mod allocator;
#[path = "memory/cases.rs"]
mod cases;
#[path = "memory/feed.rs"]
mod feed;

use std::process::{Command, ExitCode};

/// What a child runs: its number of MiB, the log and the case.
const CHILD: &str = "MAREA_MEMORY_CHILD";
const MIB: usize = 1 << 20;
/// What the process may use in addition to the number: code, stacks, what allocators and RocksDB keep.
const BESIDE_MIB: usize = 64;

fn main() -> ExitCode {
    if let Ok(what) = std::env::var(CHILD) {
        let words: Vec<&str> = what.split(' ').collect();
        let number = words[0].parse().expect("a number of MiB");
        cases::run(number, words[1], words[2]);
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let all = arguments.iter().any(|argument| argument == "--all");
    let filter: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let sizes: &[usize] = if all { &[64, 256, 1_024] } else { &[64] };
    let mut failed = 0;
    for size in sizes {
        for log in ["memory", "embedded"] {
            for case in cases::NAMES {
                let name = format!("{size} {log} {case}");
                if filter.iter().any(|word| !name.contains(word.as_str())) {
                    continue;
                }
                if !stays_below(*size, &name) {
                    failed += 1;
                }
            }
        }
    }
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Runs a case in a process of its own and compares.
fn stays_below(size: usize, name: &str) -> bool {
    let program = std::env::current_exe().expect("the path of this test");
    let child = Command::new(program)
        .env(CHILD, name)
        // As a service should be started: each arena keeps what it once had.
        .env("MALLOC_ARENA_MAX", "2")
        .output()
        .expect("the child starts");
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    let number = |key: &str| -> Option<usize> {
        let line = said.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().parse().ok()
    };
    let found = || {
        Some((
            number("heap ")?,
            number("resident ")?,
            number("log ")?,
            number("record ")?,
            number("records ")?,
        ))
    };
    let Some((heap, resident, log, record, records)) = found() else {
        let wrong = String::from_utf8_lossy(&child.stderr);
        println!("memory {name} ... FAILED: {}\n{said}{wrong}", child.status);
        return false;
    };
    let bound = (size + BESIDE_MIB) * MIB + 2 * record + log;
    let good = child.status.success() && resident <= bound && heap <= bound;
    println!(
        "memory {name} ... {}: {records} records, peak of the heap {} MiB, resident {} MiB, of these the \
         log in memory {} MiB; bound {} MiB",
        if good { "ok" } else { "FAILED" },
        heap / MIB,
        resident / MIB,
        log / MIB,
        bound / MIB,
    );
    good
}
