//! A store with a smaller name renames its sub-topology, and so its tasks and their changelogs: times and timers
//! move along, so that the results are as if nothing had been renamed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};

use marea::log::Log;
use marea::runtime::{ApplicationBuilder, Guarantee, Hooks, Point, Settings, StateBackend};

use crate::counting::{DEADLINE, wait};
use crate::crash::{abort_at, open_log};
use crate::pipeline::memory_log;
use crate::renaming::{
    ID, Rows, Shape, builder, feed_second, results, rows, run_first, run_second, times, undisturbed,
};

fn record(log: &dyn Log) -> Rows {
    rows(log, &format!("{ID}-topology"))
}

fn on_disk(log: &Arc<dyn Log>, shape: Shape, directory: &Path) -> ApplicationBuilder {
    builder(log, shape)
        .settings(Settings {
            commit_interval_ms: 5,
            memory_bytes: 64 << 20,
            ..Settings::default()
        })
        .state_directory(directory.join("state"))
}

/// Starts the renamed topology, without input, until its times have moved.
fn run_renamed(log: &Arc<dyn Log>, builder: ApplicationBuilder) {
    let mut renamed = builder.start().expect("started");
    let added = (0, "store added".to_owned());
    wait("the record", || record(&**log).contains_key(&added));
    renamed.leave(DEADLINE).expect("left");
}

#[test]
fn times_and_timers_go_along_when_a_store_renames_the_sub_topology() {
    let (expected, drops) = undisturbed();
    for guarantee in [Guarantee::ExactlyOnce, Guarantee::AtLeastOnce] {
        let log = memory_log();
        let builder = |shape| {
            let settings = Settings {
                guarantee,
                commit_interval_ms: 5,
                state_backend: StateBackend::Memory,
                ..Settings::default()
            };
            builder(&log, shape).settings(settings)
        };
        run_first(&log, builder(Shape::Before));
        let before = [times(&*log, "in"), times(&*log, "counts")];
        assert!(before[0].iter().any(|name| name.starts_with("timer/")));
        assert!(before[1].iter().any(|name| name.starts_with("origin/")));
        run_renamed(&log, builder(Shape::After));
        // Nothing is in two places, and nothing was left behind.
        for ((old, new), before) in [("in", "added"), ("counts", "also")]
            .into_iter()
            .zip(&before)
        {
            assert_eq!(times(&*log, old), BTreeSet::new(), "{old}");
            let now = times(&*log, new);
            let gone: Vec<_> = before.difference(&now).collect();
            assert!(gone.is_empty(), "{new}: {gone:?}");
        }
        assert_eq!(
            run_second(&log, builder(Shape::After)),
            drops,
            "{guarantee:?}"
        );
        assert!(results(&*log) == expected, "{guarantee:?}");
    }
}

#[test]
fn they_go_back_when_the_store_is_taken_out_again() {
    let (expected, drops) = undisturbed();
    let log = memory_log();
    run_first(&log, builder(&log, Shape::Before));
    run_renamed(&log, builder(&log, Shape::After));
    assert_eq!(times(&*log, "in"), BTreeSet::new(), "they moved");
    assert_eq!(run_second(&log, builder(&log, Shape::Before)), drops);
    assert!(results(&*log) == expected);
}

#[test]
fn an_application_without_a_record_goes_on_and_gets_one() {
    let (expected, drops) = undisturbed();
    let log = memory_log();
    run_first(&log, builder(&log, Shape::Before));
    let first = record(&*log);
    assert!(
        first.contains_key(&(0, "node alarms".to_owned())),
        "{first:?}"
    );
    // As for an application from before there were records.
    log.delete_topics(&[format!("{ID}-topology")])
        .expect("deleted");
    assert_eq!(run_second(&log, builder(&log, Shape::Before)), drops);
    assert!(results(&*log) == expected);
    assert_eq!(record(&*log), first);
}

/// Nobody writes the record of times before two are about to.
#[derive(Debug, Default)]
struct Meeting(AtomicU32);

impl Hooks for Meeting {
    fn reached(&self, point: Point) {
        if point == Point::BeforeMove {
            self.0.fetch_add(1, Ordering::SeqCst);
            wait("another one", || self.0.load(Ordering::SeqCst) >= 2);
        }
    }
}

#[test]
fn one_of_several_instances_moves_them_once() {
    const INSTANCES: usize = 3;
    let (expected, _) = undisturbed();
    let log = memory_log();
    run_first(&log, builder(&log, Shape::Before));
    feed_second(&*log);
    let barrier = Barrier::new(INSTANCES);
    let meeting = Arc::new(Meeting::default());
    std::thread::scope(|scope| {
        for _ in 0..INSTANCES {
            scope.spawn(|| {
                barrier.wait();
                let running = builder(&log, Shape::After).hooks(meeting.clone()).start();
                let mut running = running.expect("started");
                running.drain(DEADLINE).expect("drained");
                // None continues before all have arrived.
                barrier.wait();
                running.close(DEADLINE).expect("closed");
            });
        }
    });
    assert!(results(&*log) == expected);
    for ((_, of), (_, times)) in record(&*log) {
        // Each topology that has run is noted once.
        let is_new =
            ["store added", "store also"].contains(&of.as_str()) || of.starts_with("topology ");
        assert_eq!(
            times,
            if is_new { 1 } else { 2 },
            "{of} was written so often"
        );
    }
}

/// Not a test of its own: an instance of the renamed topology, which dies along the way.
#[test]
fn child() {
    let Ok(plan) = std::env::var("MAREA_TEST_RENAMED") else {
        return;
    };
    let (point, directory) = plan.split_once('|').expect("a plan");
    let directory = Path::new(directory);
    let log = open_log(directory);
    let hooks = abort_at(point, 1, 0);
    let running = on_disk(&log, Shape::After, directory).hooks(hooks).start();
    let running = running.expect("started");
    running.wait(DEADLINE).expect("no failure");
}

#[test]
fn after_a_crash_on_the_way_they_have_moved_or_not() {
    let (expected, drops) = undisturbed();
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path();
    let log = open_log(place);
    run_first(&log, on_disk(&log, Shape::Before, place));
    let before = (record(&*log), times(&*log, "in"));
    drop(log);
    for point in ["before_move", "moved"] {
        let status = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "renamed::child", "--nocapture"])
            .env("MAREA_TEST_RENAMED", format!("{point}|{}", place.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("the child runs");
        assert!(!status.success(), "{point}: it was to die");
        let log = open_log(place);
        let now = (record(&*log), times(&*log, "in"));
        match point {
            "moved" => assert!(now.1.is_empty() && now.0 != before.0, "all of it"),
            _ => assert_eq!(now, before, "nothing of it"),
        }
    }
    let log = open_log(place);
    assert_eq!(run_second(&log, on_disk(&log, Shape::After, place)), drops);
    assert!(results(&*log) == expected);
    // The rows were taken over under the new names.
    let directories = std::fs::read_dir(place.join("state/renamed/tasks")).expect("there");
    let names = directories.map(|entry| entry.expect("read").file_name());
    let names: BTreeSet<_> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    assert!(
        names.contains("also_0") && !names.contains("counts_0"),
        "{names:?}"
    );
    let replay = on_disk(&log, Shape::After, place)
        .replay(|_| ())
        .expect("replayed");
    assert!(
        replay.is_equal(),
        "{:?} rebuilt as {:?}",
        replay.before,
        replay.after
    );
}
