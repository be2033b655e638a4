//! A process that may have few files open: it uses what the system gives, and if that is not enough it says so at
//! once.
//!
//! The limit applies to the process, so each case runs in a child process (this test binary, started again).

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use marea::ErrorKind;
use marea::base::SystemEnv;
use marea::codec::{I64, Utf8};
use marea::disk::Budget;
use marea::dsl::{Consumed, Grouped, Produced, StreamBuilder};
use marea::log::{OpenOptions, TopicSpec};
use marea::runtime::{Application, State};

const DEADLINE: Duration = Duration::from_secs(60);

/// Not a test of its own: run by the child processes. Starts an application of this many tasks and prints the
/// outcome.
#[test]
fn child() {
    let Ok(tasks) = std::env::var("MAREA_TEST_OPEN_FILES") else {
        return;
    };
    let tasks: u32 = tasks.parse().expect("a number");
    let place = tempfile::tempdir().expect("a directory");
    let options = OpenOptions::new(SystemEnv::shared(), Budget::new(16 << 20));
    let url = format!("embedded:{}", place.path().join("log").display());
    let log = marea::log::open(&url, &options).expect("the log opens");
    let topics = [TopicSpec::new("in", tasks), TopicSpec::new("out", 1)];
    log.create_topics(&topics).expect("topics");
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .group_by_key(Grouped::with("by", Utf8, I64))
        .count("counts")
        .to_stream()
        .present()
        .to_with("out", Produced::with(Utf8, I64));
    let running = Application::builder(builder.build().expect("a topology"), "files")
        .log(log)
        .state_directory(place.path().join("state"))
        .start()
        .expect("started");
    let since = Instant::now();
    let error = loop {
        if let Err(error) = running.wait(Duration::from_millis(20)) {
            break error;
        }
        if running.snapshot().state == State::Running {
            let open = running.snapshot().tasks.len();
            println!("RUNNING {open}");
            return;
        }
        assert!(since.elapsed() < DEADLINE, "{:?}", running.snapshot());
    };
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    println!("FAILED after {} s: {error}", since.elapsed().as_secs());
}

/// Runs the child under a limit that the shell sets with `ulimit` and these flags.
fn run(flags: &str, limit: u32, tasks: u32) -> String {
    let script = format!("ulimit {flags} -n {limit} && exec \"$0\" \"$@\"");
    let Output { stdout, stderr, .. } = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().expect("this binary"))
        .args(["--exact", "open_files::child", "--nocapture"])
        .env("MAREA_TEST_OPEN_FILES", tasks.to_string())
        .output()
        .expect("the child runs");
    let said = String::from_utf8_lossy(&stdout).into_owned();
    let line = said.lines().find_map(|line| {
        line.find("RUNNING")
            .or(line.find("FAILED"))
            .map(|at| &line[at..])
    });
    line.unwrap_or_else(|| panic!("{said}\n{}", String::from_utf8_lossy(&stderr)))
        .to_owned()
}

#[test]
fn a_soft_limit_that_is_too_low_is_raised() {
    assert_eq!(run("-S", 128, 40), "RUNNING 40");
}

#[test]
fn a_hard_limit_that_is_too_low_is_named_with_the_need_and_the_cure() {
    let said = run("", 128, 40);
    for part in ["FAILED", "may open 128", "40 databases", "LimitNOFILE"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
