//! Several inputs of one task: none starves, and the next record is the one with the smallest timestamp, however
//! much of each is fetched.

use std::sync::Arc;
use std::time::Duration;

use marea::base::TopicPartition;
use marea::codec::Utf8;
use marea::dsl::{Consumed, Produced, StreamBuilder};
use marea::log::{BatchBuilder, Commit, Isolation, Log, TopicSpec, Writer};
use marea::runtime::{Application, Settings, StateBackend};

use crate::committing::commit;

const DEADLINE: Duration = Duration::from_secs(60);

fn application(log: &Arc<dyn Log>, settings: Settings) -> Application {
    let builder = StreamBuilder::new();
    builder
        .streams_with(["a", "b"], Consumed::with(Utf8, Utf8))
        .to_with("out", Produced::with(Utf8, Utf8));
    Application::builder(builder.build().expect("a topology"), "merges")
        .log(log.clone())
        .settings(Settings {
            state_backend: StateBackend::Memory,
            ..settings
        })
        .start()
        .expect("started")
}

fn create_topics(log: &dyn Log) {
    let topics = ["a", "b", "out"].map(|name| TopicSpec::new(name, 1));
    log.create_topics(&topics).expect("created");
}

/// Appends to both inputs in one commit: every other millisecond to one of them.
fn append(writer: &mut dyn Writer, times_ms: std::ops::Range<i64>, value: &str) {
    let mut builders = [BatchBuilder::default(), BatchBuilder::default()];
    for time_ms in times_ms {
        builders[(time_ms % 2) as usize].push(Some(b"k"), Some(value.as_bytes()), time_ms, &[]);
    }
    let batches = ["a", "b"].into_iter().zip(&mut builders);
    let appends = batches
        .filter_map(|(topic, builder)| Some((TopicPartition::new(topic, 0), builder.seal()?)));
    let whole = Commit {
        appends: appends.collect(),
        group: None,
    };
    commit(writer, whole);
}

fn times_out(log: &dyn Log) -> Vec<i64> {
    let place = TopicPartition::new("out", 0);
    let end = log
        .end_offset(&place, Isolation::ReadCommitted)
        .expect("an end");
    let mut reader = log.reader(1 << 20).expect("a reader");
    reader.assign(&[(place.clone(), 0)]).expect("assigned");
    let mut times_ms = Vec::new();
    while reader.position(&place).expect("assigned") < end {
        for fetched in reader.poll(1 << 20, DEADLINE).expect("batches") {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record().expect("intact") {
                times_ms.push(record.timestamp_ms);
            }
        }
    }
    times_ms
}

#[test]
fn a_backlog_larger_than_the_memory_starves_no_input() {
    starves_no_input(super::pipeline::memory_log());
}

pub fn starves_no_input(log: Arc<dyn Log>) {
    create_topics(&*log);
    let value = "x".repeat(1_000);
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    for chunk in 0..20 {
        append(&mut *writer, chunk * 1_000..(chunk + 1) * 1_000, &value);
    }
    // A megabyte of fetched records, and ten times as much in each input.
    let settings = Settings {
        memory_bytes: 8 << 20,
        ..Settings::default()
    };
    let mut running = application(&log, settings);
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    assert_eq!(times_out(&*log), (0..20_000).collect::<Vec<_>>());
}

#[test]
fn inputs_wait_for_each_other_after_the_first_catch_up_too() {
    wait_for_each_other(super::pipeline::memory_log());
}

pub fn wait_for_each_other(log: Arc<dyn Log>) {
    create_topics(&*log);
    let settings = Settings {
        records_per_step: 10,
        commit_interval_ms: 1,
        ..Settings::default()
    };
    let mut running = application(&log, settings);
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    for chunk in 0..200 {
        append(&mut *writer, chunk * 100..(chunk + 1) * 100, "x");
        if chunk % 20 == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    assert_eq!(times_out(&*log), (0..20_000).collect::<Vec<_>>());
}
