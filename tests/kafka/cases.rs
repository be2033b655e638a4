//! Cases of Kafka's own.

use std::time::{Duration, Instant};

use marea::ErrorKind;
use marea::base::{SystemEnv, TopicPartition};
use marea::log::{BatchBuilder, Commit, KafkaLog, TopicSpec, Writer};

use crate::broker::Broker;
use crate::inputs;

pub type Case = fn(&Broker);

pub const CASES: &[(&str, Case)] = &[
    (
        "a_broker_out_of_reach_is_named_within_seconds",
        a_broker_out_of_reach_is_named_within_seconds,
    ),
    ("commits_are_quick", commits_are_quick),
    ("a_backlog_starves_no_input", |broker| {
        inputs::starves_no_input(broker.fresh_log());
    }),
    ("inputs_wait_for_each_other", |broker| {
        inputs::wait_for_each_other(broker.fresh_log());
    }),
];

fn a_broker_out_of_reach_is_named_within_seconds(_: &Broker) {
    let started = Instant::now();
    let error =
        KafkaLog::connect("kafka://127.0.0.1:1", SystemEnv::shared()).expect_err("nobody is there");
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("127.0.0.1:1"), "{error}");
}

fn commit(writer: &mut dyn Writer, partitions: &[u32], records: usize) {
    let batch = |partition: &u32| {
        let mut builder = BatchBuilder::default();
        for _ in 0..records {
            builder.push(Some(b"key"), Some(&[7; 100]), 1, &[]);
        }
        (
            TopicPartition::new("t", *partition),
            builder.seal().expect("records"),
        )
    };
    let commit = Commit {
        appends: partitions.iter().map(batch).collect(),
        group: None,
    };
    writer.submit(commit).expect("submitted");
    let receipt = writer.poll(Duration::from_secs(20)).expect("committed");
    assert!(receipt.is_some());
}

/// A commit is a few round trips, and nothing in between waits for a clock.
fn commits_are_quick(broker: &Broker) {
    let log = broker.fresh_log();
    log.create_topics(&[TopicSpec::new("t", 4)])
        .expect("created");
    let mut writer = log.writer("w").expect("a writer");
    commit(&mut *writer, &[0, 1, 2, 3], 1);
    for (count, records) in [(50, 1), (5, 50_000)] {
        let mut times: Vec<u128> = (0..count)
            .map(|_| {
                let started = Instant::now();
                commit(&mut *writer, &[0, 1, 2, 3], records);
                started.elapsed().as_micros()
            })
            .collect();
        times.sort_unstable();
        println!(
            "    commit of 4 x {records}: median {} us, worst {} us",
            times[count / 2],
            times[count - 1]
        );
        assert!(
            times[count / 2] < 100_000 + records as u128 * 40,
            "{times:?}"
        );
    }
}
