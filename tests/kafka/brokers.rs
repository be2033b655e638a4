//! Three brokers, of which any may die: what was written stays, and the application goes on.

use std::time::Duration;

use crate::broker::Broker;
use crate::cases::Case;
use crate::process::{Place, finish, readings, undisturbed};

pub const CASES: &[(&str, Case)] = &[(
    "each_of_three_brokers_dies_in_turn",
    each_of_three_brokers_dies_in_turn,
)];

/// Readings a second: all of them take about 50 s.
const RATE: &str = "500";
/// How long the application works before a broker dies.
const CALM: Duration = Duration::from_secs(3);
/// How long a broker is away: the cluster has had to find new leaders and coordinators.
const AWAY: Duration = Duration::from_secs(9);

/// Leaders, coordinators of groups and of transactions move with each death; the results do not change.
fn each_of_three_brokers_dies_in_turn(broker: &Broker) {
    if broker.directory().is_none() {
        println!("    not done: a cluster of three is started where the one broker is");
        return;
    }
    let expected = undisturbed();
    let cluster = Broker::cluster(3, "").expect("three brokers");
    let place = Place::new();
    let mut command = place.on_file(&readings(), &["--rate", RATE, "--partitions", "4"]);
    command
        .arg("--kafka")
        .arg(cluster.url.trim_start_matches("kafka://"));
    let child = command.spawn().expect("starts");
    let ended = std::thread::spawn(move || finish(child));
    for number in 1..=3 {
        std::thread::sleep(CALM);
        cluster.tell("kill", number);
        std::thread::sleep(AWAY);
        cluster.tell("restart", number);
    }
    let ended = ended.join().expect("no panic").well();
    assert!(
        ended
            .out
            .contains("26,310 readings, 0 dead letters, 0 late"),
        "{ended:#?}"
    );
    assert!(place.results() == expected, "other results");
}
