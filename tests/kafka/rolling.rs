//! Instances that leave and come back, as in a rolling restart, and one that leaves for good.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use marea::base::TaskId;
use marea::runtime::{Application, Settings};

use crate::broker::Broker;
use crate::cases::Case;
use crate::crash::{application, prepared, settings};

pub const CASES: &[(&str, Case)] = &[(
    "an_instance_that_closes_keeps_its_tasks_and_one_that_leaves_gives_them_away",
    an_instance_that_closes_keeps_its_tasks_and_one_that_leaves_gives_them_away,
)];

const DEADLINE: Duration = Duration::from_secs(120);
/// Longer than anything the test waits for: no session ends here.
const SESSION_MS: u64 = 600_000;
/// How long an instance is away, far longer than a rebalance takes.
const AWAY: Duration = Duration::from_secs(4);
/// Two sub-topologies of two partitions.
const TASKS: usize = 4;
/// Of each instance: half as many as there are tasks.
const WORKERS: usize = 2;

fn tasks_of(application: &Application) -> BTreeSet<TaskId> {
    let tasks = application.snapshot().tasks.into_iter();
    tasks.map(|task| task.task).collect()
}

/// Whether each of its workers has the same number of tasks. The workers are the members, and once all of them have
/// joined no task moves any more.
fn is_even(application: &Application) -> bool {
    let tasks = application.snapshot().tasks;
    let workers: BTreeSet<&String> = tasks.iter().map(|task| &task.worker).collect();
    tasks.len() == WORKERS && workers.len() == WORKERS
}

fn an_instance_that_closes_keeps_its_tasks_and_one_that_leaves_gives_them_away(broker: &Broker) {
    prepared(broker);
    let directories = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let start = |number: usize| {
        // One application, named after the first directory.
        let builder = application(directories[0].path(), broker.log());
        let builder = builder.state_directory(directories[number].path());
        let builder = builder.settings(Settings {
            workers: WORKERS,
            session_timeout_ms: SESSION_MS,
            ..settings()
        });
        builder.start().expect("started")
    };
    let (mut goes, mut stays) = (start(0), start(1));
    let until = Instant::now() + DEADLINE;
    while !is_even(&goes) || !is_even(&stays) {
        let found = (tasks_of(&goes), tasks_of(&stays));
        assert!(Instant::now() < until, "{found:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (gone, kept) = (tasks_of(&goes), tasks_of(&stays));
    goes.close(DEADLINE).expect("closed");
    drop(goes);
    let closed = Instant::now();
    while closed.elapsed() < AWAY {
        assert_eq!(tasks_of(&stays), kept);
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut goes = start(0);
    let until = Instant::now() + DEADLINE;
    while tasks_of(&goes) != gone {
        assert!(Instant::now() < until, "{:?} of {gone:?}", tasks_of(&goes));
        assert_eq!(tasks_of(&stays), kept);
        std::thread::sleep(Duration::from_millis(20));
    }
    let left = Instant::now();
    goes.leave(DEADLINE).expect("left");
    while tasks_of(&stays).len() < TASKS {
        assert!(left.elapsed() < DEADLINE, "{:?}", tasks_of(&stays));
        std::thread::sleep(Duration::from_millis(20));
    }
    stays.leave(DEADLINE).expect("left");
}
