//! Three brokers, any of which may die: what was written stays, and the application continues.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use marea::ErrorKind;
use marea::base::TopicPartition;
use marea::log::Reader;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::broker::Broker;
use crate::cases::{OwnCase, commit};
use crate::patience::assign;
use crate::process::{Place, finish, readings, undisturbed};

pub const CASES: &[(&str, OwnCase)] = &[
    (
        "each_of_three_brokers_dies_in_turn",
        each_of_three_brokers_dies_in_turn,
    ),
    (
        "what_an_unclean_election_cuts_off_is_told",
        what_an_unclean_election_cuts_off_is_told,
    ),
];

/// Readings per second: all of them take about 50 s.
const RATE: &str = "500";
/// How long the application runs before a broker dies.
const CALM: Duration = Duration::from_secs(3);
/// How long a broker is down: the cluster has had to find new leaders and coordinators.
const AWAY: Duration = Duration::from_secs(9);

/// Leaders and coordinators of groups and transactions move with each death; the results do not change.
fn each_of_three_brokers_dies_in_turn() {
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

const DEADLINE: Duration = Duration::from_secs(90);

/// Polls until the reader has reached the position; returns the error, if there is one.
fn read_to(reader: &mut dyn Reader, place: &TopicPartition, position: i64) -> marea::Result<()> {
    let until = Instant::now() + DEADLINE;
    while reader.position(place).expect("assigned") < position {
        reader.poll(1 << 20, Duration::from_millis(200))?;
        let stands = reader.position(place);
        assert!(Instant::now() < until, "{stands:?} of {position}");
    }
    Ok(())
}

/// The only replica that has all records dies, and one that lags behind becomes the leader: records that were read
/// and no longer exist are reported as an error, whatever replaces them.
fn what_an_unclean_election_cuts_off_is_told() {
    let cluster = Broker::cluster(3, "").expect("three brokers");
    let mut config = ClientConfig::new();
    let address = cluster.url.trim_start_matches("kafka://");
    config.set("bootstrap.servers", address);
    let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
    let topic = NewTopic::new("t", 1, TopicReplication::Variable(&[&[1, 2]]))
        .set("unclean.leader.election.enable", "true")
        .set("min.insync.replicas", "1");
    let created = block_on(admin.create_topics(&[topic], &AdminOptions::new()));
    created.expect("an answer")[0].as_ref().expect("created");
    let log = cluster.log();
    let place = TopicPartition::new("t", 0);
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    commit(&mut *writer, &[0], 10);
    let mut reader = log.reader(1 << 20).expect("a reader");
    assign(&mut *reader, &[(place.clone(), 0)]);
    read_to(&mut *reader, &place, 10).expect("readable");
    cluster.tell("kill", 2);
    for _ in 0..3 {
        commit(&mut *writer, &[0], 10);
    }
    read_to(&mut *reader, &place, 40).expect("readable");
    cluster.tell("kill", 1);
    cluster.tell("restart", 2);
    let error = read_to(&mut *reader, &place, i64::MAX).expect_err("30 records are gone");
    println!("    {error}");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}
