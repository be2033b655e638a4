//! A log that cannot be reached for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marea::base::{ErrorKind, TopicPartition};
use marea::log::CommittedOffset;
use marea::runtime::{Application, Settings, State, StateBackend};

use crate::faulty::{Fault, FaultyLog};
use crate::pipeline::{append, create_topics, expected, finals, memory_log, readings, topology};

const DEADLINE: Duration = Duration::from_secs(60);

fn start(faulty: &Arc<FaultyLog>, commit_retry_ms: u64) -> Application {
    start_with(
        faulty,
        Settings {
            commit_retry_ms,
            commit_interval_ms: 3,
            session_timeout_ms: 500,
            ..Settings::default()
        },
    )
}

fn start_with(faulty: &Arc<FaultyLog>, settings: Settings) -> Application {
    Application::builder(topology(), "outage")
        .log(faulty.clone())
        .settings(Settings {
            workers: 2,
            records_per_step: 20,
            state_backend: StateBackend::Memory,
            ..settings
        })
        .start()
        .expect("started")
}

fn until(what: &str, done: impl Fn() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < DEADLINE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_outage_is_waited_out_and_the_state_says_so() {
    let readings = readings(20_000);
    let log = memory_log();
    create_topics(&*log, 4);
    let faulty = Arc::new(FaultyLog::new(log.clone(), Fault::None));
    let mut running = start(&faulty, Settings::default().commit_retry_ms);
    for outage in 0..3 {
        // In the middle of the work, wherever that is.
        append(&*log, &readings[outage * 5_000..][..5_000], 4, 500);
        faulty.set_down(true);
        until("the state to say so", || {
            let workers = running.snapshot().workers;
            workers.len() == 2
                && workers.iter().all(|worker| {
                    let outage = worker.outage.as_ref();
                    outage.is_some_and(|outage| {
                        outage.for_ms >= 300 && outage.reason.contains("made by the test")
                    })
                })
        });
        assert_ne!(running.snapshot().state, State::Failed, "outage {outage}");
        faulty.set_down(false);
        until("the end of it", || {
            let workers = running.snapshot().workers;
            workers.iter().all(|worker| worker.outage.is_none())
        });
    }
    append(&*log, &readings[15_000..], 4, 500);
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    assert!(finals(&*log) == expected(&readings), "each reading once");
}

#[test]
fn a_setting_ends_the_wait() {
    let log = memory_log();
    create_topics(&*log, 4);
    append(&*log, &readings(100), 4, 50);
    let faulty = Arc::new(FaultyLog::new(log.clone(), Fault::None));
    let running = start(&faulty, 200);
    until("a commit", || running.snapshot().commits > 0);
    faulty.set_down(true);
    let error = loop {
        match running.wait(DEADLINE) {
            Ok(ended) => assert!(!ended, "it did not fail"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("restart"), "{error}");
    assert_eq!(running.snapshot().state, State::Failed);
}

/// A shutdown has a deadline of its own: what is not committed by then is done again after the next start.
#[test]
fn a_shutdown_does_not_wait_for_ever() {
    let readings = readings(2_000);
    let log = memory_log();
    create_topics(&*log, 4);
    append(&*log, &readings, 4, 500);
    let faulty = Arc::new(FaultyLog::new(log.clone(), Fault::None));
    let mut running = start_with(
        &faulty,
        Settings {
            commit_interval_ms: 600_000,
            session_timeout_ms: 500,
            ..Settings::default()
        },
    );
    until("records", || running.snapshot().records > 0);
    faulty.set_down(true);
    let error = running
        .close(Duration::from_millis(300))
        .expect_err("the log is away");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    drop(running);
    faulty.set_down(false);
    let mut running = start(&faulty, u64::MAX);
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    assert!(finals(&*log) == expected(&readings), "each reading once");
}

/// A commit that fails, whole or in parts, is retried smaller and smaller until it succeeds.
#[test]
fn a_commit_too_large_for_what_leads_to_the_log_is_halved() {
    let readings = readings(20_000);
    let log = memory_log();
    create_topics(&*log, 4);
    append(&*log, &readings, 4, 500);
    let bytes = 40_000;
    let faulty = Arc::new(FaultyLog::new(log.clone(), Fault::TooLarge { bytes }));
    let settings = Settings {
        commit_interval_ms: 5_000,
        commit_spacing_ms: Some(5_000),
        ..Settings::default()
    };
    let mut running = start_with(&faulty, settings);
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    assert!(faulty.faults() > 2, "{} were too large", faulty.faults());
    assert!(finals(&*log) == expected(&readings), "each reading once");
}

/// Outputs sent ahead hold up their readers, so their commit comes in time, whatever the interval is.
#[test]
fn what_went_ahead_is_committed_in_time() {
    let readings = readings(2_000);
    let log = memory_log();
    create_topics(&*log, 4);
    append(&*log, &readings, 4, 500);
    let faulty = Arc::new(FaultyLog::new(log.clone(), Fault::None));
    let settings = Settings {
        commit_interval_ms: 3_600_000,
        commit_spacing_ms: Some(3_600_000),
        ..Settings::default()
    };
    let mut running = start_with(&faulty, settings);
    let inputs = [0, 1, 2, 3].map(|partition| TopicPartition::new("readings", partition));
    until("progress", || {
        let offsets = log.committed("outage", &inputs).expect("offsets");
        let offset = |one: &Option<CommittedOffset>| one.as_ref().map_or(0, |one| one.offset);
        offsets.iter().map(offset).sum::<i64>() > 0
    });
    running.close(DEADLINE).expect("closed");
    drop(running);
    // With an hour between two commits a drain would take hours.
    let mut running = start(&faulty, Settings::default().commit_retry_ms);
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    assert!(finals(&*log) == expected(&readings), "each reading once");
}
