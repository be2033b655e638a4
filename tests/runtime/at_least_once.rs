//! At least once: outputs do not have to wait for the state.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use marea::base::TopicPartition;
use marea::codec::{Codec, I64, Utf8};
use marea::dsl::{Consumed, Grouped, Produced, StreamBuilder};
use marea::log::{BatchesBuilder, Commit, Isolation, Log, Records, TopicSpec};
use marea::runtime::{Application, ApplicationBuilder, Guarantee, Settings, StateBackend};
use marea::topology::Topology;

use crate::crash::{abort_at, open_log};
use crate::faulty::{Fault, FaultyLog};
use crate::pipeline::memory_log;

const DEADLINE: Duration = Duration::from_secs(60);
const RECORDS: i64 = 20_000;
const KEYS: i64 = 100;

fn at(topic: &str) -> TopicPartition {
    TopicPartition::new(topic, 0)
}

/// `in` has records of 400 bytes.
fn fill(log: &dyn Log) {
    let topics = ["in", "out", "totals"].map(|name| TopicSpec::new(name, 1));
    log.create_topics(&topics).expect("created");
    let mut builder = BatchesBuilder::default();
    let value = "v".repeat(400);
    for number in 0..RECORDS {
        let key = (number % KEYS).to_be_bytes();
        builder.push(Some(&key), Some(value.as_bytes()), number, &[]);
    }
    let appends = builder.seal().into_iter().map(|batch| (at("in"), batch));
    let commit = Commit {
        appends: appends.collect(),
        group: None,
    };
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    writer.submit(commit).expect("submitted");
    writer.poll(DEADLINE).expect("committed").expect("in time");
}

/// Copies `in` to `out`, and counts its keys.
fn copied_and_counted() -> Topology {
    let builder = StreamBuilder::new();
    let stream = builder.stream_with("in", Consumed::with(I64, Utf8));
    stream.clone().to_with("out", Produced::with(I64, Utf8));
    let totals = stream
        .group_by_key(Grouped::with("by", I64, Utf8))
        .count("counts")
        .to_stream()
        .present();
    totals.to_with("totals", Produced::with(I64, I64));
    builder.build().expect("a topology")
}

fn end_of(log: &dyn Log, topic: &str) -> i64 {
    let end = log.end_offset(&at(topic), Isolation::ReadCommitted);
    end.expect("an end")
}

fn progress(log: &dyn Log) -> Option<i64> {
    let progress = log.committed("app", &[at("in")]).expect("offsets");
    progress[0].as_ref().map(|committed| committed.offset)
}

/// The last total of each key.
fn totals(log: &dyn Log) -> BTreeMap<i64, i64> {
    let totals = at("totals");
    let mut reader = log.reader(1 << 20).expect("a reader");
    reader.assign(&[(totals.clone(), 0)]).expect("assigned");
    let end = end_of(log, "totals");
    let mut last = BTreeMap::new();
    while reader.position(&totals) < Some(end) {
        for fetched in reader.poll(1 << 20, DEADLINE).expect("records") {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record().expect("intact") {
                let key = I64.decode(record.key).expect("a key");
                last.insert(key, I64.decode(record.value).expect("a total"));
            }
        }
    }
    last
}

/// Each record counts once.
fn exact() -> BTreeMap<i64, i64> {
    (0..KEYS).map(|key| (key, RECORDS / KEYS)).collect()
}

/// Copies `in` to `out` with memory that fills long before a commit is due, until nearly everything is out.
fn copied(log: &Arc<dyn Log>, guarantee: Guarantee) -> Application {
    fill(&**log);
    let builder = StreamBuilder::new();
    let stream = builder.stream_with("in", Consumed::with(I64, Utf8));
    stream.to_with("out", Produced::with(I64, Utf8));
    let topology = builder.build().expect("a topology");
    let settings = Settings {
        guarantee,
        commit_interval_ms: 3_600_000,
        commit_spacing_ms: Some(3_600_000),
        memory_bytes: 8 << 20,
        state_backend: StateBackend::Memory,
        ..Settings::default()
    };
    let builder = Application::builder(topology, "app").log(Arc::clone(log));
    let running = builder.settings(settings).start().expect("started");
    let since = Instant::now();
    // Except for what still fits into memory.
    while end_of(&**log, "out") < RECORDS - 4_000 {
        assert!(since.elapsed() < DEADLINE, "{}", end_of(&**log, "out"));
        std::thread::sleep(Duration::from_millis(5));
    }
    running
}

/// Outputs that fill memory are committed, and progress waits for its time.
#[test]
fn outputs_that_fill_memory_are_committed_before_the_state() {
    let log = memory_log();
    let mut running = copied(&log, Guarantee::AtLeastOnce);
    assert_eq!(progress(&*log), None, "the commit is not due");
    // Closing does not wait for records that were not read yet; draining does.
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    assert_eq!(end_of(&*log, "out"), RECORDS);
    assert_eq!(progress(&*log), Some(RECORDS));
}

#[test]
fn exactly_once_outputs_wait_for_the_state() {
    let log = memory_log();
    let running = copied(&log, Guarantee::ExactlyOnce);
    // One record produces one output: the outputs are those of the records that were read. A commit in the
    // meantime does not change that.
    let out = end_of(&*log, "out");
    assert!(progress(&*log) >= Some(out), "{out}");
    drop(running);
    assert_eq!(progress(&*log), Some(end_of(&*log, "out")));
}

/// While memory has room, and with outputs sent ahead of their commit, a worker commits as with exactly once:
/// outputs, changelogs and offsets in one request to the log.
#[test]
fn a_commit_is_one_question_to_the_log() {
    let log = memory_log();
    fill(&*log);
    let faulty = Arc::new(FaultyLog::new(Arc::clone(&log), Fault::None));
    let settings = Settings {
        guarantee: Guarantee::AtLeastOnce,
        commit_interval_ms: 3,
        records_per_step: 50,
        state_backend: StateBackend::Memory,
        ..Settings::default()
    };
    let builder = Application::builder(copied_and_counted(), "app").log(faulty.clone());
    let mut running = builder.settings(settings).start().expect("started");
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    assert!(faulty.commits() > 1, "{}", faulty.commits());
    assert_eq!(faulty.commits_without_progress(), 0);
    assert_eq!(end_of(&*log, "out"), RECORDS);
    assert_eq!(progress(&*log), Some(RECORDS));
    assert_eq!(totals(&*log), exact());
}

/// On the embedded log, with little memory and one commit per hour: outputs go first, again and again.
fn application(directory: &Path, log: Arc<dyn Log>) -> ApplicationBuilder {
    Application::builder(copied_and_counted(), "app")
        .log(log)
        .state_directory(directory.join("state"))
        .settings(Settings {
            guarantee: Guarantee::AtLeastOnce,
            commit_interval_ms: 3_600_000,
            commit_spacing_ms: Some(3_600_000),
            memory_bytes: 20 << 20,
            ..Settings::default()
        })
}

/// Not a test of its own: run by the child process.
#[test]
fn child() {
    let Ok(plan) = std::env::var("MAREA_TEST_AT_LEAST_ONCE") else {
        return;
    };
    let (nth, directory) = plan.split_once('|').expect("a plan");
    let hooks = abort_at("committed", nth.parse().expect("a number"), 0);
    let directory = Path::new(directory);
    let builder = application(directory, open_log(directory)).hooks(hooks);
    let running = builder.start().expect("started");
    running.drain(DEADLINE).expect("drained");
}

/// Whether the process dies when outputs are committed for the nth time.
fn dies(directory: &Path, nth: u32) -> bool {
    let status = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "at_least_once::child", "--nocapture"])
        .env(
            "MAREA_TEST_AT_LEAST_ONCE",
            format!("{nth}|{}", directory.display()),
        )
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    !status.expect("the child runs").success()
}

/// The process dies where outputs are committed, but neither the state made with them nor the progress. The
/// records are processed again; nothing is lost, and nothing counts twice.
#[test]
fn a_crash_between_outputs_and_offsets_loses_nothing_and_counts_nothing_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    fill(&*open_log(directory));
    for nth in [2, 4] {
        assert!(dies(directory, nth), "{nth}");
        let log = open_log(directory);
        assert!(end_of(&*log, "out") > 0, "outputs went first");
        assert_eq!(progress(&*log), None, "and progress did not");
    }
    let log = open_log(directory);
    let before = end_of(&*log, "out");
    let mut running = application(directory, Arc::clone(&log))
        .start()
        .expect("started");
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
    drop(running);
    assert_eq!(end_of(&*log, "out"), before + RECORDS, "all of them came");
    assert_eq!(progress(&*log), Some(RECORDS));
    assert_eq!(totals(&*log), exact());
    let replay = application(directory, log).replay(|_| ());
    let replay = replay.expect("replayed");
    assert!(
        replay.is_equal(),
        "{:?} rebuilt as {:?}",
        replay.before,
        replay.after
    );
}
