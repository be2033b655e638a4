//! Draining more than once, in one run and over several: each window has one final result, of all its input.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use marea::base::{Error, ErrorKind};
use marea::log::Log;
use marea::runtime::{Application, Hooks, Point, Settings, State};

use super::pipeline::{
    GRACE_MS, Reading, WINDOW_MS, append, create_topics, expected, finals, memory_log, readings,
    topology,
};

const PARTITIONS: u32 = 3;
const DEADLINE: Duration = Duration::from_secs(60);

fn start(log: &Arc<dyn Log>, directory: &Path, workers: usize) -> Application {
    Application::builder(topology(), "test")
        .log(log.clone())
        .state_directory(directory)
        .settings(Settings {
            workers,
            commit_interval_ms: 20,
            ..Settings::default()
        })
        .start()
        .expect("started")
}

/// Readings of a day, in windows that belong to no other day.
fn day(number: i64) -> Vec<Reading> {
    let mut readings = readings(3_000);
    let length_ms = 9_000 + WINDOW_MS + GRACE_MS;
    let start_ms = number * (length_ms / WINDOW_MS + 1) * WINDOW_MS;
    readings
        .iter_mut()
        .for_each(|reading| reading.3 += start_ms);
    readings
}

#[test]
fn a_batch_a_day_gives_each_window_once() {
    for workers in [1, 3] {
        let log = memory_log();
        create_topics(&*log, PARTITIONS);
        let directory = tempfile::tempdir().expect("a directory");
        let mut sums = BTreeMap::new();
        for number in 0..6 {
            append(&*log, &day(number), PARTITIONS, 200);
            sums.extend(expected(&day(number)));
            // The drain is requested before any task is open.
            let mut running = start(&log, directory.path(), workers);
            running.drain(DEADLINE).expect("drained");
            // Everything is committed by now, not only when it closes.
            assert!(finals(&*log) == sums, "day {number}, {workers} workers");
            running.close(DEADLINE).expect("closed");
        }
    }
}

#[test]
fn a_run_can_be_drained_again() {
    let log = memory_log();
    create_topics(&*log, PARTITIONS);
    let directory = tempfile::tempdir().expect("a directory");
    let mut running = start(&log, directory.path(), 2);
    let mut sums = BTreeMap::new();
    for number in 0..6 {
        append(&*log, &day(number), PARTITIONS, 200);
        sums.extend(expected(&day(number)));
        running.drain(DEADLINE).expect("drained");
        assert!(finals(&*log) == sums, "day {number}");
    }
    running.close(DEADLINE).expect("closed");
}

/// Panics at the first commit.
#[derive(Debug, Default)]
struct Panics(AtomicBool);

impl Hooks for Panics {
    fn reached(&self, point: Point) {
        if point == Point::Asked && !self.0.swap(true, Ordering::SeqCst) {
            panic!("a hook panics");
        }
    }
}

#[test]
fn a_worker_that_panics_fails_the_application() {
    let log = memory_log();
    create_topics(&*log, PARTITIONS);
    append(&*log, &readings(1_000), PARTITIONS, 100);
    let directory = tempfile::tempdir().expect("a directory");
    let mut running = Application::builder(topology(), "test")
        .log(log)
        .state_directory(directory.path())
        .hooks(Arc::new(Panics::default()))
        .settings(Settings {
            workers: 2,
            ..Settings::default()
        })
        .start()
        .expect("started");
    let is_the_panic = |error: &Error| {
        error.kind() == ErrorKind::Internal && error.message().contains("a hook panics")
    };
    let error = running.drain(DEADLINE).expect_err("it failed");
    assert!(is_the_panic(&error), "{error}");
    assert_eq!(running.snapshot().state, State::Failed);
    let error = running.close(Duration::MAX).expect_err("it has failed");
    assert!(is_the_panic(&error), "{error}");
}

/// Two instances share the tasks, join at different times and leave at different times.
#[test]
fn an_instance_that_has_drained_has_all_results_of_the_others() {
    for (round, apart_ms) in [0, 5, 30, 80].into_iter().enumerate() {
        let log = memory_log();
        create_topics(&*log, PARTITIONS);
        let directories = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let mut sums = BTreeMap::new();
        for number in 0..4 {
            append(&*log, &day(number), PARTITIONS, 200);
            sums.extend(expected(&day(number)));
            let (log, sums) = (&log, &sums);
            std::thread::scope(|scope| {
                for (place, directory) in directories.iter().enumerate() {
                    scope.spawn(move || {
                        std::thread::sleep(Duration::from_millis(apart_ms * place as u64));
                        let mut running = start(log, directory.path(), 1 + round % 2);
                        running.drain(DEADLINE).expect("drained");
                        assert!(finals(&**log) == *sums, "day {number}, instance {place}");
                        running.close(DEADLINE).expect("closed");
                    });
                }
            });
        }
    }
}
