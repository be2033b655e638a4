//! The same input gives the same final output, whoever does the work.

use std::time::Duration;

use crate::pipeline::{append, application, create_topics, expected, finals, memory_log, readings};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn a_backlog_gives_the_same_sums_with_any_partitions_and_workers() {
    let readings = readings(20_000);
    for (partitions, workers) in [(1, 1), (4, 1), (4, 2), (4, 4), (3, 2)] {
        let log = memory_log();
        create_topics(&*log, partitions);
        append(&*log, &readings, partitions, 1_000);
        let mut running = application(log.clone(), workers).start().expect("started");
        running.drain(DEADLINE).expect("drained");
        let snapshot = running.snapshot();
        running.close(DEADLINE).expect("closed");
        assert_eq!(
            snapshot.drops.peer_total(),
            0,
            "{partitions} partitions, {workers} workers"
        );
        assert!(
            finals(&*log) == expected(&readings),
            "{partitions} partitions, {workers} workers"
        );
    }
}
