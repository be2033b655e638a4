//! Records larger than their topic accepts are detected where they are made, and follow the policy of encoding; an
//! application that would be refused at each commit would never make progress.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marea::base::{SystemEnv, TopicPartition};
use marea::codec::{I64, Utf8, WindowedCodec};
use marea::dsl::{
    Consumed, Grouped, Materialized, Produced, StreamBuilder, Suppressed, TimeWindows,
};
use marea::log::{BatchBuilder, Cleanup, Commit, Isolation, Log, MemoryLog, TopicSpec};
use marea::runtime::{Application, Settings, State, StateBackend};
use marea::task::{DropReason, ErrorPolicies, Policy};
use marea::topology::Topology;

const LIMIT: usize = 1_000;
const WINDOW: Duration = Duration::from_millis(100);
const DEADLINE: Duration = Duration::from_secs(60);

/// A log whose topic `small` accepts only little; only its creator knows.
fn log_with(small: &str, partitions: u32, cleanup: Cleanup) -> Arc<dyn Log> {
    let log = MemoryLog::new(SystemEnv::shared());
    let mut spec = TopicSpec::new(small, partitions).with_cleanup(cleanup);
    spec.max_record_bytes = LIMIT;
    let topics = [
        TopicSpec::new("in", partitions),
        TopicSpec::new("out", 1),
        TopicSpec::new("dead", 1),
        spec,
    ];
    log.create_topics(&topics).expect("topics");
    Arc::new(log)
}

fn put(log: &dyn Log, partition: u32, rows: &[(&str, String, i64)]) {
    let mut builder = BatchBuilder::default();
    for (key, value, timestamp_ms) in rows {
        builder.push(
            Some(key.as_bytes()),
            Some(value.as_bytes()),
            *timestamp_ms,
            &[],
        );
    }
    let batch = builder.seal().expect("records");
    let commit = Commit {
        appends: vec![(TopicPartition::new("in", partition), batch)],
        group: None,
    };
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    writer.submit(commit).expect("submitted");
    assert!(writer.poll(DEADLINE).expect("written").is_some());
}

fn start(log: &Arc<dyn Log>, topology: Topology, policy: Policy) -> Application {
    Application::builder(topology, "limits")
        .log(log.clone())
        .settings(Settings {
            state_backend: StateBackend::Memory,
            policies: ErrorPolicies::all(policy),
            dead_letter_topic: Some("dead".to_owned()),
            commit_interval_ms: 10,
            ..Settings::default()
        })
        .start()
        .expect("started")
}

/// Waits until this many records are on a topic; fails if the application does.
fn wait_for(running: &Application, log: &dyn Log, topic: &str, records: i64) {
    let since = Instant::now();
    let place = TopicPartition::new(topic, 0);
    loop {
        let end = log.end_offset(&place, Isolation::ReadCommitted);
        if end.expect("an end") >= records {
            return;
        }
        let snapshot = running.snapshot();
        assert_ne!(snapshot.state, State::Failed, "{:?}", snapshot.error);
        assert!(since.elapsed() < DEADLINE, "{snapshot:#?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until the application reports exactly this many drops.
fn wait_for_drops(running: &Application, reason: DropReason, count: u64) {
    let since = Instant::now();
    while running.snapshot().drops.of(reason) < count {
        assert!(since.elapsed() < DEADLINE, "{:#?}", running.snapshot());
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(running.snapshot().drops.of(reason), count);
}

/// The headers of the dead letters, as text.
fn letters(log: &dyn Log) -> Vec<String> {
    let place = TopicPartition::new("dead", 0);
    let end = log.end_offset(&place, Isolation::ReadCommitted);
    let end = end.expect("an end");
    let mut reader = log.reader(1 << 20).expect("a reader");
    reader.assign(&[(place.clone(), 0)]).expect("assigned");
    let mut found = Vec::new();
    while reader.position(&place).is_some_and(|at| at < end) {
        for fetched in reader.poll(1 << 20, WINDOW).expect("batches") {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record().expect("intact") {
                found.push(format!("{:?}", said(&record.headers().expect("headers"))));
            }
        }
    }
    found
}

fn said(headers: &marea::base::Headers) -> Vec<String> {
    let text = |header: &marea::base::Header| {
        let value = header.value.clone().unwrap_or_default();
        format!("{}={}", header.key, String::from_utf8_lossy(&value))
    };
    headers.as_slice().iter().map(text).collect()
}

/// Concatenates all values of a key.
fn growing_rows() -> Topology {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, Utf8))
        .group_by_key(Grouped::with("by", Utf8, Utf8))
        .aggregate(
            String::new,
            |_, value: String, row: String| row + &value,
            Materialized::with("rows", Utf8),
        )
        .to_stream()
        .present()
        .map_values(|_, row: String| row.len() as i64)
        .to_with("out", Produced::with(Utf8, I64));
    builder.build().expect("a topology")
}

#[test]
fn a_row_above_its_changelogs_limit_follows_the_policy() {
    for policy in [Policy::Skip, Policy::DeadLetter] {
        let log = log_with("limits-rows-changelog", 1, Cleanup::Compact);
        let piece = "x".repeat(300);
        for n in 0..6 {
            let rows = [("big", piece.clone(), n), ("small", "s".to_owned(), n)];
            put(&*log, 0, &rows);
        }
        // Three pieces fit, with the key; each of the other three is refused. Everything small arrives.
        let running = start(&log, growing_rows(), policy);
        wait_for(&running, &*log, "out", 3 + 6);
        put(&*log, 0, &[("small", "last".to_owned(), 9)]);
        wait_for(&running, &*log, "out", 3 + 6 + 1);
        if policy == Policy::Skip {
            wait_for_drops(&running, DropReason::Skipped, 3);
        } else {
            wait_for_drops(&running, DropReason::DeadLetter, 3);
            let letters = letters(&*log);
            assert_eq!(letters.len(), 3);
            for part in ["stage=encode", "store rows", "1203 bytes", "1000"] {
                assert!(letters[0].contains(part), "{part:?} in {}", letters[0]);
            }
        }
        assert_eq!(running.snapshot().state, State::Running);
    }
}

#[test]
fn failing_names_the_record_and_the_store() {
    let log = log_with("limits-rows-changelog", 1, Cleanup::Compact);
    put(&*log, 0, &[("k", "s".to_owned(), 1)]);
    put(&*log, 0, &[("k", "x".repeat(2_000), 2)]);
    let running = start(&log, growing_rows(), Policy::Fail);
    let since = Instant::now();
    while running.snapshot().state != State::Failed {
        assert!(since.elapsed() < DEADLINE, "it fails");
        std::thread::sleep(Duration::from_millis(2));
    }
    let error = running.snapshot().error.expect("an error").to_string();
    for part in ["in-0 at offset 1", "encode", "store rows", "2002 bytes"] {
        assert!(error.contains(part), "{part:?} in {error}");
    }
}

/// A row that fits exactly is accepted: the limit is that of the record, without the timestamp that precedes rows,
/// and with what follows the key of a window.
#[test]
fn the_limit_is_that_of_the_changelogs_records_to_the_byte() {
    let windows = || {
        let builder = StreamBuilder::new();
        builder
            .stream_with("in", Consumed::with(Utf8, Utf8))
            .group_by_key(Grouped::with("by", Utf8, Utf8))
            .windowed_by(TimeWindows::of(WINDOW))
            .aggregate(
                String::new,
                |_, value: String, _| value,
                Materialized::with("rows", Utf8),
            )
            .to_stream()
            .present()
            .map_values(|_, row: String| row.len() as i64)
            .to_with("out", Produced::with(WindowedCodec::new(Utf8, 100), I64));
        builder.build().expect("a topology")
    };
    for (topology, cleanup, around) in [
        (growing_rows(), Cleanup::Compact, 0),
        (windows(), Cleanup::CompactDelete, 12),
    ] {
        let log = log_with("limits-rows-changelog", 1, cleanup);
        let fits = LIMIT - around - 1;
        let rows = [
            ("a", "x".repeat(fits), 1),
            ("b", "x".repeat(fits + 1), 2),
            ("c", "s".to_owned(), 3),
        ];
        put(&*log, 0, &rows);
        let running = start(&log, topology, Policy::Skip);
        wait_for(&running, &*log, "out", 2);
        wait_for_drops(&running, DropReason::Skipped, 1);
        assert_eq!(running.snapshot().state, State::Running);
    }
}

/// A row held for a window that closes is limited too.
#[test]
fn so_does_a_row_that_suppress_holds() {
    let log = log_with("limits-final-store-changelog", 1, Cleanup::Compact);
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, Utf8))
        .group_by_key(Grouped::with("by", Utf8, Utf8))
        .windowed_by(TimeWindows::of(WINDOW))
        .aggregate(
            String::new,
            |_, value: String, row: String| row + &value,
            Materialized::with("rows", Utf8),
        )
        .suppress(Suppressed::until_window_closes_with("final", Utf8))
        .to_stream()
        .present()
        .map_values(|_, row: String| row.len() as i64)
        .to_with("out", Produced::with(WindowedCodec::new(Utf8, 100), I64));
    let piece = "x".repeat(400);
    let rows = [
        ("big", piece.clone(), 1),
        ("big", piece.clone(), 2),
        ("big", piece, 3),
        ("small", "s".to_owned(), 4),
        ("later", "s".to_owned(), 500),
    ];
    put(&*log, 0, &rows);
    let topology = builder.build().expect("a topology");
    let running = start(&log, topology, Policy::Skip);
    wait_for(&running, &*log, "out", 2);
    wait_for_drops(&running, DropReason::Skipped, 1);
    assert_eq!(running.snapshot().state, State::Running);
}

/// The limits of repartition topics are read at start too, and the clock that is sent along is counted.
#[test]
fn a_record_that_is_too_large_with_its_clock_follows_the_policy() {
    let log = log_with("limits-by-repartition", 2, Cleanup::Delete);
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, Utf8))
        .group_by(Grouped::with("by", Utf8, Utf8), |_, value: &String| {
            value[..1].to_owned()
        })
        .count("counts")
        .to_stream()
        .present()
        .to_with("out", Produced::with(Utf8, I64));
    // Key and value fit; with the header of the clock they do not.
    for partition in 0..2 {
        let rows = [
            ("k", "x".repeat(LIMIT - 2), 1),
            ("k", "y".repeat(LIMIT + 1), 2),
            ("k", "z".to_owned(), 3),
        ];
        put(&*log, partition, &rows);
    }
    let topology = builder.build().expect("a topology");
    let running = start(&log, topology, Policy::Skip);
    wait_for(&running, &*log, "out", 2);
    wait_for_drops(&running, DropReason::Skipped, 4);
    assert_eq!(running.snapshot().state, State::Running);
}

/// A dead letter is larger than its record: a topic that does not accept it is named, before the commit.
#[test]
fn a_dead_letter_above_its_topics_limit_is_named() {
    let log = log_with("dead-small", 1, Cleanup::Delete);
    put(&*log, 0, &[("k", "x".repeat(LIMIT - 50), 1)]);
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, Utf8))
        .map_values(|_, value: String| {
            assert!(value.is_empty(), "not empty");
            value
        })
        .to_with("out", Produced::with(Utf8, Utf8));
    let topology = builder.build().expect("a topology");
    let running = Application::builder(topology, "limits")
        .log(log.clone())
        .settings(Settings {
            state_backend: StateBackend::Memory,
            policies: ErrorPolicies::all(Policy::DeadLetter),
            dead_letter_topic: Some("dead-small".to_owned()),
            ..Settings::default()
        })
        .start()
        .expect("started");
    let since = Instant::now();
    while running.snapshot().state != State::Failed {
        assert!(since.elapsed() < DEADLINE, "it fails");
        std::thread::sleep(Duration::from_millis(2));
    }
    let error = running.snapshot().error.expect("an error").to_string();
    for part in ["in-0 at offset 0", "dead letter", "dead-small", "raise"] {
        assert!(error.contains(part), "{part:?} in {error}");
    }
}

/// An id or a name that a broker or a file system would refuse is refused at the start, before anything is created.
#[test]
fn an_id_that_is_too_long_is_refused_with_the_name_that_it_would_make() {
    let compared = |id: &str, store: &str| {
        let log = log_with("other", 1, Cleanup::Delete);
        let directory = tempfile::tempdir().expect("a directory");
        let builder = StreamBuilder::new();
        builder
            .stream_with("in", Consumed::with(Utf8, Utf8))
            .group_by_key(Grouped::with("by", Utf8, Utf8))
            .count(Materialized::with(store, I64));
        let started = Application::builder(builder.build().expect("a topology"), id)
            .log(log.clone())
            .state_directory(directory.path())
            .settings(Settings::in_memory())
            .start();
        let topics = log.topic_names().expect("names");
        let own = topics.iter().filter(|name| name.starts_with(id)).count();
        (started.map(drop), own)
    };
    // The longest of its topics is that of the times and timers of the store's task.
    let rest = "--task-changelog".len();
    let (store, id) = ("s".repeat(200), "a".repeat(249 - 200 - rest));
    let (started, own) = compared(&id, &store);
    started.expect("started");
    assert!(own >= 2, "{own} topics");
    let (refused, own) = compared(&format!("{id}a"), &store);
    let error = refused.expect_err("one character too many");
    assert_eq!(error.kind(), marea::ErrorKind::Invalid);
    for part in [
        "250 characters",
        "-task-changelog",
        "shorten the application id",
    ] {
        assert!(error.to_string().contains(part), "{part:?} in {error}");
    }
    assert_eq!(own, 0, "nothing was created");
    let (refused, _) = compared(&"a".repeat(201), "s");
    let error = refused.expect_err("too long for a directory");
    assert!(error.to_string().contains("at most 200"), "{error}");
}
