//! Times move to the changelogs of renamed tasks on a real broker.

use std::sync::Barrier;

use crate::broker::Broker;
use crate::cases::Case;
use crate::counting::DEADLINE;
use crate::renaming::{
    ID, Shape, builder, feed_second, results, rows, run_first, times, undisturbed,
};

pub const CASES: &[(&str, Case)] = &[(
    "instances_of_a_renamed_topology_move_its_times_once",
    instances_of_a_renamed_topology_move_its_times_once,
)];

const INSTANCES: usize = 2;

fn instances_of_a_renamed_topology_move_its_times_once(broker: &Broker) {
    let (expected, _) = undisturbed();
    let log = broker.fresh_log();
    run_first(&log, builder(&log, Shape::Before));
    feed_second(&*log);
    let barrier = Barrier::new(INSTANCES);
    std::thread::scope(|scope| {
        for _ in 0..INSTANCES {
            scope.spawn(|| {
                // Each has its own connection, like a process.
                let log = broker.log();
                barrier.wait();
                let mut running = builder(&log, Shape::After).start().expect("started");
                running.drain(DEADLINE).expect("drained");
                // None continues before all have arrived.
                barrier.wait();
                running.leave(DEADLINE).expect("left");
            });
        }
    });
    assert!(results(&*log) == expected, "other results");
    assert!(times(&*log, "in").is_empty() && times(&*log, "counts").is_empty());
    for ((_, of), (_, times)) in rows(&*log, &format!("{ID}-topology")) {
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
