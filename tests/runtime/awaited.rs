//! `Application::run` under tokio: ends on a signal or a failure, and starts no runtime of its own.

use std::process::Command;
use std::time::{Duration, Instant};

use marea::ErrorKind;
use marea::prelude::*;
use marea::runtime::{State, StateBackend};

use crate::counting::DEADLINE;

/// Copies `in` to `out`, and fails on an empty value.
fn application() -> (std::sync::Arc<dyn Log>, Application) {
    let builder = StreamBuilder::new();
    builder
        .stream::<String, String>("in")
        .map_values(|_, value: String| {
            assert!(!value.is_empty(), "an empty value");
            value
        })
        .to("out");
    let log = marea::open("memory:").expect("a log");
    let topics = ["in", "out"].map(|name| TopicSpec::new(name, 1));
    log.create_topics(&topics).expect("created");
    let settings = Settings {
        state_backend: StateBackend::Memory,
        ..Settings::default()
    };
    let application = Application::builder(builder.build().expect("a topology"), "copy")
        .log(log.clone())
        .settings(settings)
        .start()
        .expect("started");
    (log, application)
}

fn send(log: &std::sync::Arc<dyn Log>, value: &str) {
    let mut producer = log.producer::<String, String>("in").expect("a producer");
    producer
        .send("k".to_owned(), value.to_owned())
        .expect("sent");
}

/// In a process of its own: the signal ends every `run` of a process, and a second one ends the process.
#[test]
fn run_ends_with_a_signal_and_all_is_committed() {
    let output = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "awaited::child", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("the child runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    let passed = output.status.success() && said.contains("1 passed");
    assert!(passed, "{}\n{said}\n{complained}", output.status);
}

/// Set for the child process.
const CHILD: &str = "MAREA_TEST_SIGNAL";

/// Not a test of its own: run by the child process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let (log, application) = application();
    send(&log, "before");
    let since = Instant::now();
    let mut running = std::pin::pin!(application.run());
    // Once polled, it listens.
    assert!(futures::poll!(&mut running).is_pending());
    while log
        .records::<String, String>("out")
        .expect("read")
        .is_empty()
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(futures::poll!(&mut running).is_pending());
        assert!(since.elapsed() < DEADLINE, "waited for the record");
    }
    signal_hook::low_level::raise(signal_hook::consts::SIGTERM).expect("raised");
    let ended = tokio::time::timeout(DEADLINE, running).await;
    ended.expect("in time").expect("a signal is no failure");
    assert_eq!(application.snapshot().state, State::Stopped);
    let place = marea::base::TopicPartition::new("in", 0);
    let committed = log.committed("copy", &[place]).expect("committed");
    assert_eq!(committed[0].as_ref().expect("progress").offset, 1);
}

#[tokio::test]
async fn run_ends_with_a_failure_and_returns_it() {
    let (log, application) = application();
    send(&log, "");
    let error = application.run().await.expect_err("a closure panicked");
    assert_eq!(error.kind(), ErrorKind::User, "{error}");
    assert!(error.to_string().contains("an empty value"), "{error}");
    assert_eq!(application.snapshot().state, State::Failed);
}

#[test]
fn run_without_a_runtime_says_what_to_do() {
    let (_, mut application) = application();
    let error = futures::executor::block_on(application.run()).expect_err("there is no runtime");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("run_until"), "{error}");
    application
        .close(Duration::from_secs(60))
        .expect("still running");
}

/// Without a directory too: an id that works in memory works on a disk and on a broker.
#[test]
fn an_application_without_a_directory_has_a_legal_id_too() {
    for id in ["", "my app", "a/b"] {
        let builder = StreamBuilder::new();
        builder.stream::<String, String>("in").to("out");
        let error = Application::builder(builder.build().expect("a topology"), id)
            .log(marea::open("memory:").expect("a log"))
            .settings(Settings::in_memory())
            .start()
            .expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("cannot name"), "{error}");
    }
}
