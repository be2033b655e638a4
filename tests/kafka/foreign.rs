//! Joins by a foreign key on a real broker.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use marea::log::Log;
use marea::runtime::{Application, ApplicationBuilder};

use crate::broker::Broker;
use crate::cases::Case;
use crate::crash::{id_of, settings, start_child};
use crate::orders::{ORDERS, check, expected, fill, input, last, topology};

pub const CASES: &[(&str, Case)] = &[(
    "foreign::ten_kills_leave_each_row_joined",
    ten_kills_leave_each_row_joined,
)];

/// The plan of a child process that runs the join.
pub const PLAN: &str = "foreign";

const DEADLINE: Duration = Duration::from_secs(120);
const KILLS: usize = 10;

/// The join of [`topology`] with two workers.
pub fn application(directory: &Path, log: Arc<dyn Log>) -> ApplicationBuilder {
    Application::builder(topology().expect("a topology"), id_of(directory))
        .log(log)
        .state_directory(directory)
        .settings(settings())
}

fn ten_kills_leave_each_row_joined(broker: &Broker) {
    let log = broker.fresh_log();
    let input = input(ORDERS);
    fill(&*log, &input);
    let directory = tempfile::tempdir().expect("a directory");
    let points = ["before_commit", "asked", "committed", "applied"];
    for kill in 0..KILLS {
        let point = points[kill % points.len()];
        let plan = format!("{point}|{PLAN}");
        let mut child = start_child(broker, directory.path(), &plan, 1 + kill as u32 % 3);
        let status = child.wait().expect("the child ends");
        assert!(!status.success(), "it came to the end before kill {kill}");
    }
    let mut running = application(directory.path(), Arc::clone(&log))
        .start()
        .expect("started");
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    drop(running);
    for (topic, expected) in ["known", "all"].into_iter().zip(expected(&input)) {
        check(topic, &last(&*log, topic), &expected);
    }
    let replay = application(directory.path(), log).replay(|_| ());
    assert!(replay.expect("replayed").is_equal(), "other rows");
}
