//! Topics that records name, and partitions that a function chooses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marea::base::{SystemEnv, TopicPartition};
use marea::dsl::{Produced, Repartitioned, StreamBuilder};
use marea::log::{BatchBuilder, Commit, Isolation, Log, MemoryLog, TopicSpec};
use marea::runtime::{Application, Settings, State, StateBackend};
use marea::task::{DropReason, ErrorPolicies, Policy};

const DEADLINE: Duration = Duration::from_secs(60);

fn end(log: &dyn Log, topic: &str, partition: u32) -> i64 {
    let place = TopicPartition::new(topic, partition);
    log.end_offset(&place, Isolation::ReadCommitted)
        .expect("an end")
}

fn ends(log: &dyn Log, topic: &str, partitions: u32) -> Vec<i64> {
    (0..partitions)
        .map(|partition| end(log, topic, partition))
        .collect()
}

#[test]
fn records_go_to_the_topics_and_partitions_that_functions_choose() {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(SystemEnv::shared()));
    let topics = [("in", 2), ("x", 4), ("y", 1), ("dynamic-instances", 1)];
    let topics = topics.map(|(name, partitions)| TopicSpec::new(name, partitions));
    log.create_topics(&topics).expect("topics");
    let builder = StreamBuilder::new();
    let by_number = |value: &i64, partitions: u32| *value as u32 % partitions;
    let spread = Repartitioned::<String, i64>::named("spread")
        .partitions(3)
        .partitioner(move |_, value, partitions| by_number(value, partitions));
    builder
        .stream::<String, i64>("in")
        .repartition(spread)
        .to_dynamic_with(
            |topic, _, _| topic.clone(),
            Produced::own().partitioner(move |topic: &String, value, partitions| {
                match topic.as_str() {
                    "y" => *value as u32 / 100,
                    _ => by_number(value, partitions),
                }
            }),
        );
    let mut application = Application::builder(builder.build().expect("valid"), "dynamic")
        .log(log.clone())
        .settings(Settings {
            state_backend: StateBackend::Memory,
            policies: ErrorPolicies::all(Policy::Skip),
            ..Settings::default()
        })
        .start()
        .expect("started");

    let mut records = BatchBuilder::default();
    for (topic, value) in [
        ("x", 0_i64),
        ("x", 1),
        ("x", 5),
        ("x", 7),
        ("y", 3),
        ("y", 400),                        // No such partition.
        ("z", 6),                          // No such topic.
        ("dynamic-spread-repartition", 9), // Its own.
        ("dynamic-instances", 10),         // As well.
    ] {
        let value = value.to_be_bytes();
        records.push(Some(topic.as_bytes()), Some(&value), 0, &[]);
    }
    let batch = records.seal().expect("records");
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    writer
        .submit(Commit {
            appends: vec![(TopicPartition::new("in", 1), batch)],
            group: None,
        })
        .expect("submitted");
    assert!(writer.poll(DEADLINE).expect("written").is_some());

    let since = Instant::now();
    let rests = || {
        let snapshot = application.snapshot();
        assert_ne!(snapshot.state, State::Failed, "{:?}", snapshot.error);
        let written: i64 = ends(&*log, "x", 4).iter().sum();
        written == 4 && end(&*log, "y", 0) == 1 && snapshot.drops.of(DropReason::Skipped) == 4
    };
    while !rests() {
        assert!(since.elapsed() < DEADLINE, "{:#?}", application.snapshot());
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(ends(&*log, "x", 4), [1, 2, 0, 1]);
    assert_eq!(end(&*log, "dynamic-instances", 0), 0);
    // By number: 0 and 3, 6, 9; 1 and 7 and 400, 10; 5.
    let spread = ends(&*log, "dynamic-spread-repartition", 3);
    assert_eq!(spread, [4, 4, 1]);
    application.close(DEADLINE).expect("closes");
}
