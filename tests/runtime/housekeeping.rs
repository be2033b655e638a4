//! Topics that would grow without bound, in a running application: each stays small, and results and state are the
//! same as without maintenance.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use marea::base::{SystemEnv, TopicPartition};
use marea::disk::Budget;
use marea::log::embedded::{EmbeddedLog, Fsync, Settings as LogSettings};
use marea::log::{Isolation, Log, TopicSpec};
use marea::runtime::{Application, ApplicationBuilder, Settings};

use super::pipeline::{append, create_topics, expected, finals, readings, topology};

const PARTITIONS: u32 = 2;
const DEADLINE: Duration = Duration::from_secs(60);

/// Per topic: the number of offsets so far, and of records that can still be read.
fn sizes(log: &dyn Log) -> BTreeMap<String, (i64, i64)> {
    let mut sizes = BTreeMap::new();
    for name in log.topic_names().expect("topics") {
        let partitions = log
            .topic(&name)
            .expect("a topic")
            .expect("it is there")
            .partitions;
        let (mut given, mut kept) = (0, 0);
        for partition in 0..partitions {
            let place = TopicPartition::new(name.as_str(), partition);
            let end = log
                .end_offset(&place, Isolation::ReadCommitted)
                .expect("an end");
            let start = log.start_offset(&place).expect("a start");
            given += end;
            let mut reader = log.reader(1 << 20).expect("a reader");
            reader.assign(&[(place.clone(), start)]).expect("assigned");
            while reader
                .position(&place)
                .is_some_and(|position| position < end)
            {
                for fetched in reader
                    .poll(1 << 20, Duration::from_millis(50))
                    .expect("batches")
                {
                    kept += i64::from(fetched.batch.record_count());
                }
            }
        }
        sizes.insert(name, (given, kept));
    }
    sizes
}

/// Whether all readings are committed as read.
pub fn is_read(log: &dyn Log) -> bool {
    let places: Vec<_> = (0..PARTITIONS)
        .map(|n| TopicPartition::new("readings", n))
        .collect();
    let committed = log.committed("test", &places).expect("offsets");
    places.iter().zip(committed).all(|(place, committed)| {
        let end = log
            .end_offset(place, Isolation::ReadCommitted)
            .expect("an end");
        end == 0 || committed.is_some_and(|committed| committed.offset == end)
    })
}

fn until(what: &str, done: impl Fn() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < DEADLINE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn open(directory: &Path, quota_bytes: Option<u64>) -> Arc<EmbeddedLog> {
    let settings = LogSettings {
        fsync: Fsync::Never,
        housekeeping_interval_ms: 20,
        quota_bytes,
        ..LogSettings::new(directory.join("log"), Budget::new(32 << 20))
    };
    Arc::new(EmbeddedLog::open(settings, SystemEnv::shared()).expect("opens"))
}

fn builder(directory: &Path, log: &Arc<dyn Log>) -> ApplicationBuilder {
    Application::builder(topology(), "test")
        .log(log.clone())
        .state_directory(directory.join("state"))
        .settings(Settings {
            workers: 2,
            commit_interval_ms: 2,
            records_per_step: 50,
            purge_interval_ms: 0,
            ..Settings::default()
        })
}

#[test]
fn internal_topics_and_inputs_with_a_retention_stay_small() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let log: Arc<dyn Log> = open(directory, None);
    let mut input = TopicSpec::new("readings", PARTITIONS);
    input.retention_bytes = Some(20_000);
    log.create_topics(&[input, TopicSpec::new("finals", 1)])
        .expect("topics");
    // An hour and a half: segments of a window store are at least a minute long.
    let mut readings = readings(20_000);
    for (number, reading) in readings.iter_mut().enumerate() {
        reading.3 += number as i64 * 270;
    }
    let mut running = builder(directory, &log).start().expect("started");
    for chunk in readings.chunks(500) {
        append(&*log, chunk, PARTITIONS, 100);
        // Retention waits for nobody: what is not read in time is gone, as with a broker.
        while !is_read(&*log) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    running.drain(DEADLINE).expect("drained");
    // Records that were read are purged by the workers; what else there is to remove, by the log alone.
    until("the workers to purge", || {
        let (given, kept) = sizes(&*log)["test-by-ocean-repartition"];
        kept * 4 < given
    });
    running.close(DEADLINE).expect("closed");
    drop(running);
    drop(log);
    // Readers that keep up see the latest batches as they were appended; after reopening they are gone.
    let log: Arc<dyn Log> = open(directory, None);
    for (topic, at_least) in [
        ("readings", 20_000),
        ("test-by-ocean-repartition", 20_000),
        ("test-sums-changelog", 1_000),
        ("test-final-store-task-changelog", 400),
        ("test-readings-task-changelog", 200),
    ] {
        until(topic, || {
            let (given, kept) = sizes(&*log)[topic];
            assert!(given >= at_least, "{topic}: {given} records");
            kept * 4 < given
        });
    }
    // Each row of this one is deleted when its window closes, and tombstones are kept for a day.
    let (given, kept) = sizes(&*log)["test-final-store-changelog"];
    assert!(kept < given, "{kept} of {given}");
    assert!(finals(&*log) == expected(&readings), "other results");
    let replay = builder(directory, &log).replay(|_| ()).expect("replayed");
    assert!(
        replay.is_equal(),
        "{:?} rebuilt as {:?}",
        replay.before,
        replay.after
    );
}

#[test]
fn a_quota_that_consumed_records_fill_is_freed() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let readings = readings(20_000);
    let log = open(directory, None);
    create_topics(&*log, PARTITIONS);
    append(&*log, &readings, PARTITIONS, 100);
    let input_bytes = log.stats().bytes_stored;
    drop(log);
    // Re-keyed, the readings take the same space again.
    let log = open(directory, Some(input_bytes + input_bytes / 2));
    let settings = Settings {
        commit_interval_ms: 2,
        records_per_step: 50,
        // Not purged by time.
        purge_interval_ms: u64::MAX,
        ..Settings::default()
    };
    let shared: Arc<dyn Log> = log.clone();
    let mut running = builder(directory, &shared)
        .settings(settings)
        .start()
        .expect("started");
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    assert!(finals(&*log) == expected(&readings), "other results");
}
