//! Joins by a foreign key over several tasks: nothing is lost, duplicated or stale, whichever process dies and at
//! any speed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use marea::dsl::{StreamBuilder, Suppressed, TimeWindows};
use marea::log::Log;
use marea::runtime::{Application, ApplicationBuilder, Settings, StateBackend};
use marea::task::DropReason;
use marea::testing::{Compare, Invariance};

use crate::counting::wait;
use crate::crash::{abort_at, open_log};
use crate::orders::{ORDERS, check, customer, expected, fill, input, last, topology};

const DEADLINE: Duration = Duration::from_secs(120);
const KILLS: usize = 10;

fn application(directory: &Path, log: Arc<dyn Log>) -> ApplicationBuilder {
    Application::builder(topology().expect("a topology"), "test")
        .log(log)
        .state_directory(directory.join("state"))
        .settings(Settings {
            workers: 2,
            commit_interval_ms: 3,
            records_per_step: 50,
            memory_bytes: 64 << 20,
            ..Settings::default()
        })
}

fn run_to_the_end(directory: &Path) {
    let mut running = application(directory, open_log(directory)).start();
    let running = running.as_mut().expect("started");
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
}

/// Not a test of its own: run by the child processes.
#[test]
fn child() {
    let Ok(plan) = std::env::var("MAREA_TEST_FOREIGN") else {
        return;
    };
    let parts: Vec<&str> = plan.split('|').collect();
    let [directory, point, nth] = parts[..] else {
        panic!("{plan}")
    };
    let hooks = abort_at(point, nth.parse().expect("a number"), 0);
    let directory = Path::new(directory);
    let builder = application(directory, open_log(directory)).hooks(hooks);
    let mut running = builder.start().expect("started");
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
}

/// Runs the child; `true` if it crashed, `false` if it reached the end first.
fn crashes(directory: &Path, point: &str, nth: usize) -> bool {
    let plan = format!("{}|{point}|{nth}", directory.display());
    let status = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "foreign::child", "--nocapture"])
        .env("MAREA_TEST_FOREIGN", plan)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the child runs");
    !status.success()
}

#[test]
fn ten_kills_leave_each_row_joined_as_an_undisturbed_run_does() {
    let input = input(ORDERS);
    let calm = tempfile::tempdir().expect("a directory");
    fill(&*open_log(calm.path()), &input);
    run_to_the_end(calm.path());
    let killed = tempfile::tempdir().expect("a directory");
    fill(&*open_log(killed.path()), &input);
    let points = ["before_commit", "asked", "committed", "applied"];
    for kill in 0..KILLS {
        let point = points[kill % points.len()];
        let crashed = crashes(killed.path(), point, 1 + kill % 3);
        assert!(crashed, "it came to the end before kill {kill} ({point})");
    }
    run_to_the_end(killed.path());

    let (calm_log, log) = (open_log(calm.path()), open_log(killed.path()));
    for (topic, expected) in ["known", "all"].into_iter().zip(expected(&input)) {
        assert!(expected.len() > 300, "{topic}: {}", expected.len());
        let undisturbed = last(&*calm_log, topic);
        check(&format!("{topic}, undisturbed"), &undisturbed, &expected);
        let after_kills = last(&*log, topic);
        check(
            &format!("{topic}, after the kills"),
            &after_kills,
            &undisturbed,
        );
    }
    let replay = application(killed.path(), log).replay(|_| ());
    let replay = replay.expect("replayed");
    assert!(
        replay.is_equal(),
        "{:?} rebuilt as {:?}",
        replay.before,
        replay.after
    );
}

/// The left join has a result for every order; the final one does not depend on which side was faster.
#[test]
fn results_do_not_depend_on_pace() {
    let invariance = Invariance {
        batch_sizes: vec![7],
        commit_intervals_ms: vec![2],
        restarts: vec![0, 2],
        // Both inputs must be partitioned over all of their partitions.
        empty_partitions: vec![0],
        idle_timeout_ms: None,
        ..Invariance::default()
    };
    let joined = || {
        let builder = StreamBuilder::new();
        let orders = builder.table::<String, String>("orders", "orders-rows");
        let customers = builder.table::<String, String>("customers", "customers-rows");
        let key = |_: &String, order: &String| customer(order);
        orders
            .left_join_foreign(
                customers,
                key,
                |_, order, name| format!("{order}+{name:?}"),
                "all",
            )
            .to_stream()
            .to("all");
        builder.build()
    };
    let outputs = [("all", Compare::LastOfEachKey)];
    let outcome = invariance.check(joined, &input(400), &outputs);
    outcome.expect("the same rows");
}

/// Windows behind the join close while it runs, and no result is late there.
#[test]
fn time_behind_a_join_waits_for_answers_on_their_way() {
    let builder = StreamBuilder::new();
    let orders = builder.table::<String, String>("orders", "orders-rows");
    let customers = builder.table::<String, String>("customers", "customers-rows");
    orders
        .left_join_foreign(
            customers,
            |_, order| customer(order),
            |_, order, _| order.clone(),
            "all",
        )
        .to_stream()
        .group_by("by-order", |key, _| key.clone())
        .windowed_by(TimeWindows::of(Duration::from_millis(500)))
        .count("counts")
        .suppress(Suppressed::until_window_closes("final"))
        .to_stream()
        .present()
        .map(|window, count| (window.key, count))
        .to("known");
    let directory = tempfile::tempdir().expect("a directory");
    fill(&*open_log(directory.path()), &input(ORDERS));
    let log = open_log(directory.path());
    let mut running = Application::builder(builder.build().expect("a topology"), "test")
        .log(log.clone())
        .settings(Settings {
            workers: 2,
            commit_interval_ms: 5,
            records_per_step: 50,
            idle_timeout_ms: None,
            state_backend: StateBackend::Memory,
            ..Settings::default()
        })
        .start()
        .expect("started");
    wait("windows to close before the end", || {
        !last(&*log, "known").is_empty()
    });
    running.drain(DEADLINE).expect("drained");
    let drops = running.snapshot().drops;
    assert_eq!(drops.of(DropReason::Late), 0, "{drops:?}");
    running.close(DEADLINE).expect("closed");
}
