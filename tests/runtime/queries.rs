//! Reads of stores by other threads, while their tasks are running.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use marea::ErrorKind;
use marea::base::TopicPartition;
use marea::prelude::*;

const DEADLINE: Duration = Duration::from_secs(60);
const PARTITIONS: u32 = 3;

/// Counts words, in all, by the minute and by session.
fn topology() -> Topology {
    let builder = StreamBuilder::new();
    let words = builder.stream::<String, i64>("words");
    words
        .clone()
        .group_by_key("for-sums")
        .aggregate(|| 0, |_, value, sum: i64| sum + value, "sums")
        .to_stream()
        .present()
        .to("out");
    words
        .clone()
        .group_by_key("for-minutes")
        .windowed_by(TimeWindows::of(Duration::from_secs(60)).grace(Duration::from_secs(60)))
        .count("minutes");
    words
        .group_by_key("for-visits")
        .windowed_by(SessionWindows::with_gap(Duration::from_secs(10)))
        .count("visits");
    builder.build().expect("a topology")
}

fn log() -> Arc<dyn Log> {
    let log = marea::open("memory:").expect("a log");
    log.create_topics(&[
        TopicSpec::new("words", PARTITIONS),
        TopicSpec::new("out", PARTITIONS),
    ])
    .expect("topics");
    log
}

fn start(log: &Arc<dyn Log>, backend: StateBackend) -> (Application, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = Settings {
        state_backend: backend,
        workers: 2,
        ..Settings::default()
    };
    let application = Application::builder(topology(), "queried")
        .log(log.clone())
        .state_directory(directory.path())
        .settings(settings)
        .start()
        .expect("starts");
    (application, directory)
}

/// Sends records and returns the positions after them.
fn send(log: &Arc<dyn Log>, records: &[(&str, i64, i64)]) -> Vec<(TopicPartition, i64)> {
    let mut producer = log.producer::<String, i64>("words").expect("a producer");
    let mut ends = BTreeMap::new();
    for (key, value, timestamp_ms) in records {
        let record = Record::new((*key).to_owned(), *value, *timestamp_ms);
        let sent = producer.send_record(&record).expect("sent");
        ends.insert(sent.partition, sent.offset + 1);
    }
    ends.into_iter().collect()
}

/// A view of all tasks that has these positions; tasks may still be opening.
fn view_at(queries: &Queries, positions: &[(TopicPartition, i64)]) -> View {
    let begun = Instant::now();
    loop {
        let view = queries.view_at(positions, DEADLINE).expect("a view");
        if view.is_complete("sums").expect("a store") {
            return view;
        }
        assert!(begun.elapsed() < DEADLINE, "not all tasks were opened");
    }
}

fn on_each_backend(case: impl Fn(StateBackend)) {
    case(StateBackend::Memory);
    case(StateBackend::RocksDb);
}

#[test]
fn who_sent_a_record_reads_what_became_of_it() {
    on_each_backend(|backend| {
        let log = log();
        let (mut application, _directory) = start(&log, backend);
        let queries = application.queries();
        let ends = send(&log, &[("a", 1, 1_000), ("b", 5, 2_000), ("a", 2, 61_000)]);
        let view = view_at(&queries, &ends);

        let sums = view.key_value::<String, i64>("sums").expect("a store");
        let row = sums.get(&"a".to_owned()).expect("read").expect("a row");
        assert_eq!((row.value, row.timestamp_ms), (3, Some(61_000)));
        assert_eq!(sums.get(&"c".to_owned()).expect("read"), None);
        let all: BTreeMap<String, i64> = sums
            .all()
            .expect("rows")
            .map(|row| row.map(|(key, row)| (key, row.value)).expect("decodes"))
            .collect();
        assert_eq!(
            all,
            BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 5)])
        );
        let from_b = sums.range("b".to_owned()..).expect("rows");
        assert_eq!(from_b.count(), 1);
        let with_a = sums.prefix("a").expect("rows");
        assert_eq!(with_a.count(), 1);

        let minutes = view.windows::<String, i64>("minutes").expect("a store");
        let of_a: Vec<_> = minutes
            .fetch(&"a".to_owned(), 0..=120_000)
            .expect("rows")
            .map(|row| row.expect("decodes"))
            .map(|(window, row)| (window.start_ms, window.end_ms, row.value))
            .collect();
        assert_eq!(of_a, [(0, 60_000, 1), (60_000, 120_000, 1)]);
        assert_eq!(minutes.fetch_all(0..=0).expect("rows").count(), 2);
        let first = minutes.get(&"a".to_owned(), 0).expect("read");
        assert_eq!(first.map(|row| row.value), Some(1));

        let visits = view.sessions::<String, i64>("visits").expect("a store");
        let of_a: Vec<_> = visits
            .fetch(&"a".to_owned())
            .expect("rows")
            .map(|row| row.expect("decodes").0.start_ms)
            .collect();
        assert_eq!(of_a, [61_000], "the first is past what the store keeps");
        drop((sums, minutes, visits));
        drop(view);
        application.close(DEADLINE).expect("closed");
    });
}

#[test]
fn a_view_stays_as_it_was_while_its_tasks_go_on() {
    on_each_backend(|backend| {
        let log = log();
        let (mut application, _directory) = start(&log, backend);
        let queries = application.queries();
        let first = view_at(&queries, &send(&log, &[("a", 1, 1_000)]));
        let key = "a".to_owned();
        let value = |view: &View| {
            let sums = view.key_value::<String, i64>("sums").expect("a store");
            let row = sums.get(&key).expect("read");
            row.map(|row| row.value)
        };
        // One that was read before, and one that is read for the first time afterwards.
        let untouched = view_at(&queries, &[]);
        assert_eq!(value(&first), Some(1));
        let second = view_at(&queries, &send(&log, &[("a", 10, 2_000)]));
        assert_eq!(value(&second), Some(11));
        assert_eq!(value(&first), Some(1));
        assert_eq!(value(&untouched), Some(1));
        drop((first, untouched, second));
        application.close(DEADLINE).expect("closed");
    });
}

#[test]
fn a_view_of_one_task_has_its_rows_alone_and_looks_for_all_keys_there() {
    on_each_backend(|backend| {
        let log = log();
        let (mut application, _directory) = start(&log, backend);
        let queries = application.queries();
        let keys: Vec<String> = (0..12).map(|number| format!("key-{number}")).collect();
        let records: Vec<_> = keys.iter().map(|key| (key.as_str(), 1, 1_000)).collect();
        let whole = view_at(&queries, &send(&log, &records));
        let count = |view: &View| {
            let sums = view.key_value::<String, i64>("sums").expect("a store");
            let found = keys
                .iter()
                .filter(|key| sums.get(key).expect("read").is_some());
            let (found, all) = (found.count(), sums.all().expect("rows").count());
            assert_eq!(found, all, "what is listed is found");
            all
        };
        assert_eq!(count(&whole), keys.len());
        let tasks = queries.tasks();
        assert_eq!(tasks.len(), PARTITIONS as usize);
        let mut found = 0;
        for task in &tasks {
            let view = queries.view_of(task).expect("it is open");
            assert_eq!(Some(view.positions()), queries.positions_of(task));
            let places = view.positions();
            assert!(
                places
                    .iter()
                    .all(|(place, _)| place.partition == task.partition)
            );
            let rows = count(&view);
            assert!(rows > 0 && rows < keys.len(), "{rows} rows in {task}");
            found += rows;
        }
        assert_eq!(found, keys.len());
        let other = marea::base::TaskId::new("sums", PARTITIONS);
        let error = queries.view_of(&other).expect_err("there is none");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!(queries.positions_of(&other), None);
        drop(whole);
        application.close(DEADLINE).expect("closed");
    });
}

#[test]
fn readers_beside_busy_workers_see_whole_commits_only() {
    on_each_backend(|backend| {
        let log = log();
        let (mut application, _directory) = start(&log, backend);
        let queries = application.queries();
        let mut ends = view_at(&queries, &send(&log, &[("a", 0, 0)])).positions();
        let stopped = Arc::new(AtomicBool::new(false));
        let reads = Arc::new(AtomicU64::new(0));
        let reader = std::thread::spawn({
            let (queries, stopped, reads) = (queries.clone(), stopped.clone(), reads.clone());
            move || {
                let mut last = 0;
                while !stopped.load(Ordering::Acquire) {
                    let view = queries.view().expect("a view");
                    let sums = view.key_value::<String, i64>("sums").expect("a store");
                    let row = sums.get(&"a".to_owned()).expect("read").expect("a row");
                    assert!(row.value >= last, "{} after {last}", row.value);
                    // Each record adds one, and its timestamp says which one it is: the row is of one moment.
                    assert_eq!(Some(row.value), row.timestamp_ms);
                    last = row.value;
                    reads.fetch_add(1, Ordering::AcqRel);
                }
            }
        });
        let mut producer = log.producer::<String, i64>("words").expect("a producer");
        // However late its thread gets a processor.
        let wait_for_a_read = || {
            let (since, before) = (Instant::now(), reads.load(Ordering::Acquire));
            while reads.load(Ordering::Acquire) == before {
                assert!(!reader.is_finished(), "the reader found something wrong");
                assert!(since.elapsed() < DEADLINE, "waited for a read");
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        for part in 0..20 {
            // Between the parts the workers are busy.
            wait_for_a_read();
            let records = (part * 500 + 1..=part * 500 + 500)
                .map(|number| Record::new("a".to_owned(), 1, number));
            producer.send_all(records).expect("sent");
        }
        let place = TopicPartition::new("words", {
            let view = queries.view().expect("a view");
            let mut places = view.positions().into_iter();
            let place = places.find(|(_, position)| *position > 0).expect("one");
            place.0.partition
        });
        ends.retain(|(partition, _)| *partition == place);
        ends[0].1 = 10_001;
        let view = view_at(&queries, &ends);
        let sums = view.key_value::<String, i64>("sums").expect("a store");
        let sum = sums.get(&"a".to_owned()).expect("read").expect("a row");
        assert_eq!(sum.value, 10_000);
        stopped.store(true, Ordering::Release);
        reader.join().expect("the reader found nothing wrong");
        drop(sums);
        drop(view);
        application.close(DEADLINE).expect("closed");
    });
}

#[test]
fn what_cannot_be_read_says_why() {
    let log = log();
    let (mut application, _directory) = start(&log, StateBackend::RocksDb);
    let queries = application.queries();
    let view = view_at(&queries, &send(&log, &[("a", 1, 1_000)]));
    let unknown = view.key_value::<String, i64>("sum").expect_err("none");
    assert_eq!(unknown.kind(), ErrorKind::Invalid);
    assert!(
        unknown.message().contains("\"minutes\", \"sums\""),
        "{unknown}"
    );
    let other = view.key_value::<String, String>("sums").expect_err("sums");
    assert_eq!(other.kind(), ErrorKind::Invalid, "{other}");
    let kind = view.key_value::<String, i64>("minutes").expect("its types");
    let kind = kind.get(&"a".to_owned()).expect_err("no key-value store");
    assert!(kind.message().contains("window store"), "{kind}");
    let late = queries
        .view_at(
            &[(TopicPartition::new("words", 0), 1_000)],
            Duration::from_millis(5),
        )
        .expect_err("nobody sent it");
    assert_eq!(late.kind(), ErrorKind::Unavailable);
    assert!(
        late.message().contains("words-0 has not been read up to"),
        "{late}"
    );
    drop(view);

    application.close(DEADLINE).expect("closed");
    // Its tasks are gone, and so are their rows, though not from the disk.
    let view = queries.view().expect("a view");
    assert!(!view.is_complete("sums").expect("a store"));
    let gone = view.key_value::<String, i64>("sums").expect("its types");
    let gone = gone.get(&"a".to_owned()).expect_err("no task is here");
    assert_eq!(gone.kind(), ErrorKind::Unavailable, "{gone}");
}
