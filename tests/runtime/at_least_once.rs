//! At least once: outputs need not wait for the state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marea::base::TopicPartition;
use marea::codec::{I64, Utf8};
use marea::dsl::{Consumed, Produced, StreamBuilder};
use marea::log::{BatchesBuilder, Commit, Isolation, Log, Records, TopicSpec};
use marea::runtime::{Application, Guarantee, Settings, StateBackend};

use crate::pipeline::memory_log;

const DEADLINE: Duration = Duration::from_secs(60);
const RECORDS: i64 = 20_000;

fn at(topic: &str) -> TopicPartition {
    TopicPartition::new(topic, 0)
}

fn filled() -> Arc<dyn Log> {
    let log = memory_log();
    log.create_topics(&[TopicSpec::new("in", 1), TopicSpec::new("out", 1)])
        .expect("created");
    let mut builder = BatchesBuilder::default();
    let value = "v".repeat(400);
    for number in 0..RECORDS {
        let key = number.to_be_bytes();
        builder.push(Some(&key), Some(value.as_bytes()), number, &[]);
    }
    let appends = builder.seal().into_iter().map(|batch| (at("in"), batch));
    let commit = Commit {
        appends: appends.collect(),
        group: None,
    };
    let mut writer = log.writer("feeder").expect("a writer");
    writer.submit(commit).expect("submitted");
    writer.poll(DEADLINE).expect("committed").expect("in time");
    log
}

/// Memory fills long before a commit is due: what fills it goes out, and progress waits for its time.
#[test]
fn outputs_that_fill_memory_are_committed_before_the_state() {
    let log = filled();
    let builder = StreamBuilder::new();
    let stream = builder.stream_with("in", Consumed::with(I64, Utf8));
    stream.to_with("out", Produced::with(I64, Utf8));
    let topology = builder.build().expect("a topology");
    let settings = Settings {
        guarantee: Guarantee::AtLeastOnce,
        commit_interval_ms: 3_600_000,
        commit_spacing_ms: Some(3_600_000),
        memory_bytes: 8 << 20,
        state_backend: StateBackend::Memory,
        ..Settings::default()
    };
    let builder = Application::builder(topology, "app").log(Arc::clone(&log));
    let mut running = builder.settings(settings).start().expect("started");
    let out = || {
        let end = log.end_offset(&at("out"), Isolation::ReadCommitted);
        end.expect("an end")
    };
    let since = Instant::now();
    // But for what is less than memory has room for.
    while out() < RECORDS - 4_000 {
        assert!(since.elapsed() < DEADLINE, "{}", out());
        std::thread::sleep(Duration::from_millis(5));
    }
    let progress = log.committed("app", &[at("in")]).expect("offsets");
    assert_eq!(progress, [None], "the commit is not due");
    // Closing waits for no record that was not taken yet; draining does.
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    assert_eq!(out(), RECORDS);
    let progress = log.committed("app", &[at("in")]).expect("offsets");
    let offset = progress[0].as_ref().map(|committed| committed.offset);
    assert_eq!(offset, Some(RECORDS));
}
