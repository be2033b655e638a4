//! The real readings over the ocean topology, without a drain: everything that can close closes.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use flate2::read::GzDecoder;
use marea::base::{TopicPartition, partition_for_key};
use marea::log::{BatchBuilder, Commit, Log};
use marea::runtime::{Application, Settings, StateBackend};
use marea::task::DropReason;
use ocean::model::{Average, Reading};
use ocean::results::finals;
use ocean::topology::{AVERAGES, Options, READINGS, build, topics};

use crate::counting::{DEADLINE, SteppedEnv};
use crate::pipeline::memory_log;

fn lines(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("topologies/ocean/data")
        .join(name);
    let mut text = String::new();
    let mut file = GzDecoder::new(std::fs::File::open(path).expect("the data"));
    file.read_to_string(&mut text).expect("gzip");
    text
}

#[test]
fn all_windows_close_that_the_last_reading_closes() {
    const PARTITIONS: u32 = 7;
    let readings = lines("ocean-readings.jsonl.gz");
    let readings: Vec<(Reading, &str)> = readings
        .lines()
        .map(|line| (serde_json::from_str(line).expect("a reading"), line))
        .collect();
    let published = lines("ocean-daily-averages.jsonl.gz");
    let published = published
        .lines()
        .map(|line| serde_json::from_str(line).expect("an average"));
    let published: Vec<Average> = published.collect();
    let grace_ms = Options::default().grace.as_millis() as i64;
    let times = readings.iter().map(|(reading, _)| reading.timestamp_ms);
    let last_ms = times.max().expect("readings");
    let closes = |average: &&Average| average.window_end_ms + grace_ms <= last_ms;
    let expected: BTreeSet<(String, i64, i64)> = published.iter().filter(closes).map(key).collect();
    assert!(expected.len() > 400 && expected.len() < published.len());

    // One partition is silent from the beginning: no sensor's readings go to the last.
    let log = memory_log();
    log.create_topics(&topics(PARTITIONS + 1)).expect("topics");
    append(&*log, &readings, PARTITIONS);
    let env = SteppedEnv::shared();
    let running = Application::builder(build(Options::default()).expect("a topology"), "ocean")
        .log(log.clone())
        .env(env.clone())
        .settings(Settings {
            workers: 2,
            state_backend: StateBackend::Memory,
            ..Settings::default()
        })
        .start()
        .expect("started");
    env.pass_until("the windows to close", || {
        averages(&log).len() >= expected.len()
    });
    let found: BTreeSet<_> = averages(&log).iter().map(key).collect();
    assert_eq!(found, expected);
    let drops = running.snapshot().drops;
    assert_eq!(
        (
            drops.of(DropReason::Late),
            drops.of(DropReason::ClosedWhileIdle)
        ),
        (0, 0)
    );
    running.drain(DEADLINE).expect("drained");
    assert_eq!(averages(&log).len(), published.len());
}

fn key(average: &Average) -> (String, i64, i64) {
    (
        average.ocean.clone(),
        average.window_start_ms,
        average.count,
    )
}

fn averages(log: &Arc<dyn Log>) -> Vec<Average> {
    finals(&**log, AVERAGES, false).expect("averages")
}

fn append(log: &dyn Log, readings: &[(Reading, &str)], partitions: u32) {
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    for chunk in readings.chunks(500) {
        let mut builders: Vec<BatchBuilder> = Vec::new();
        builders.resize_with(partitions as usize, BatchBuilder::default);
        for (reading, line) in chunk {
            let sensor = reading.sensor.as_bytes();
            let builder = &mut builders[partition_for_key(sensor, partitions) as usize];
            builder.push(
                Some(sensor),
                Some(line.as_bytes()),
                reading.timestamp_ms,
                &[],
            );
        }
        let sealed = builders.iter_mut().enumerate();
        let sealed = sealed.filter_map(|(partition, builder)| {
            let place = TopicPartition::new(READINGS, partition as u32);
            Some((place, builder.seal()?))
        });
        let commit = Commit {
            appends: sealed.collect(),
            group: None,
        };
        writer.submit(commit).expect("submitted");
        assert!(writer.poll(DEADLINE).expect("committed").is_some());
    }
}
