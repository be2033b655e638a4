//! Two that should not be in one group: another topology, and a second process with the same name.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use marea::ErrorKind;
use marea::base::{TaskId, TopicPartition};
use marea::log::{JoinRequest, Log, Membership, TaskPlan};

use crate::broker::Broker;
use crate::cases::Case;
use crate::crash::{application, prepared};
use crate::patience::LONG;
use crate::tasks::{POLL_MS, SESSION_MS};

pub const CASES: &[(&str, Case)] = &[
    (
        "two_topologies_that_join_at_once_are_told",
        two_topologies_that_join_at_once_are_told,
    ),
    (
        "a_copied_state_directory_is_named",
        a_copied_state_directory_is_named,
    ),
];

fn join(log: &dyn Log, member: &str, tasks: &[&str]) -> marea::Result<Box<dyn Membership>> {
    let plan = |name: &&str| TaskPlan {
        task: TaskId::new(*name, 0),
        inputs: vec![TopicPartition::new("t", 0)],
    };
    log.join(JoinRequest {
        group: "g".into(),
        member: member.into(),
        tasks: tasks.iter().map(plan).collect(),
        session_timeout_ms: SESSION_MS,
        max_poll_interval_ms: POLL_MS,
    })
}

/// How long the other one goes on: it may be told as well, and nothing else.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// Neither sees the other before it joins.
fn two_topologies_that_join_at_once_are_told(broker: &Broker) {
    broker.fresh_log();
    let logs = [broker.log(), broker.log()];
    let members = [("old-0", ["a", "b"]), ("new-0", ["0", "a"])];
    let is_told = AtomicBool::new(false);
    let outcomes: Vec<marea::Result<()>> = std::thread::scope(|scope| {
        let one = |(log, (name, tasks)): (&Arc<dyn Log>, (&'static str, [&'static str; 2]))| {
            let (log, is_told) = (Arc::clone(log), &is_told);
            scope.spawn(move || -> marea::Result<()> {
                let tell = |_: &marea::Error| is_told.store(true, Ordering::SeqCst);
                let mut member = join(&*log, name, &tasks).inspect_err(tell)?;
                let (mut is_over, mut until) = (false, Instant::now() + LONG);
                let mut had: Vec<TaskId> = Vec::new();
                while Instant::now() < until {
                    if !is_over && is_told.load(Ordering::SeqCst) {
                        (is_over, until) = (true, Instant::now() + AFTERWARDS);
                    }
                    if let Some(given) = member.poll().inspect_err(tell)? {
                        had.retain(|task| !given.tasks.contains(task));
                        member.release(&had)?;
                        had = given.tasks;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                member.leave();
                Ok(())
            })
        };
        let threads: Vec<_> = logs.iter().zip(members).map(one).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    let refused: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(!refused.is_empty(), "both go on in one group");
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.message().contains("run the same topology"), "{error}");
    }
}

/// The name of the instance is in the directory, so a copy has the same name.
fn a_copied_state_directory_is_named(broker: &Broker) {
    let log = prepared(broker);
    let (first, second) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let mut running = application(first.path(), Arc::clone(&log))
        .start()
        .expect("started");
    running.close(LONG).expect("closed");
    drop(running);
    let copied = Command::new("cp")
        .arg("-r")
        .arg(format!("{}/.", first.path().display()))
        .arg(second.path())
        .status();
    assert!(copied.expect("cp runs").success());
    // The same application: it is named after the first directory.
    let start = |directory: &std::path::Path| {
        application(first.path(), broker.log())
            .state_directory(directory)
            .start()
            .expect("started")
    };
    let twins = [start(first.path()), start(second.path())];
    let until = Instant::now() + LONG;
    let error = loop {
        let failed = twins
            .iter()
            .find_map(|twin| twin.wait(Duration::ZERO).err());
        match failed {
            Some(error) => break error,
            None => assert!(Instant::now() < until, "both go on"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert!(error.message().contains("copied"), "{error}");
    println!("    {error}");
}
