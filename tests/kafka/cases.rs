//! Cases that only Kafka has.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use marea::ErrorKind;
use marea::base::{SystemEnv, TopicPartition};
use marea::log::{
    BatchBuilder, Commit, CommittedOffset, Isolation, KafkaLog, Log, TopicSpec, Writer,
};
use marea::prelude::LogClients;
use marea::runtime::Settings;

use crate::broker::Broker;
use crate::crash::{application, id_of, prepared, settings};
use crate::inputs;
use crate::patience::{self, LONG};

pub type Case = fn(&Broker);
/// A case that starts brokers of its own.
pub type OwnCase = fn();

pub const CASES: &[(&str, Case)] = &[
    (
        "a_broker_out_of_reach_is_named_within_seconds",
        a_broker_out_of_reach_is_named_within_seconds,
    ),
    (
        "commits_of_few_and_of_many_records_are_taken_one_after_the_other",
        commits_of_few_and_of_many_records_are_taken_one_after_the_other,
    ),
    (
        "a_topic_that_is_made_anew_while_it_is_read_is_noticed",
        a_topic_that_is_made_anew_while_it_is_read_is_noticed,
    ),
    ("lag_reaches_0", lag_reaches_0),
    (
        "four_idle_workers_have_few_threads",
        four_idle_workers_have_few_threads,
    ),
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
    // A request may take half a minute, the clients themselves try for longer.
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    for part in ["127.0.0.1:1", "Connection refused"] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
}

pub fn commit(writer: &mut dyn Writer, partitions: &[u32], records: usize) {
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
    patience::commit(writer, commit);
}

/// Whether the new topic is shorter than the position or longer: no record of it is dropped silently.
fn a_topic_that_is_made_anew_while_it_is_read_is_noticed(broker: &Broker) {
    for records in [2, 200] {
        let log = broker.fresh_log();
        let create = |log: &dyn Log| log.create_topics(&[TopicSpec::new("t", 1)]);
        create(&*log).expect("created");
        let place = TopicPartition::new("t", 0);
        commit(&mut *log.writer("w", 1 << 20).expect("a writer"), &[0], 10);
        let mut reader = log.reader(1 << 20).expect("a reader");
        patience::assign(&mut *reader, &[(place.clone(), 0)]);
        let until = Instant::now() + LONG;
        while reader.position(&place).expect("assigned") < 10 {
            reader
                .poll(1 << 20, Duration::from_millis(100))
                .expect("readable");
            assert!(Instant::now() < until, "it reads");
        }
        // As another process would, which shares nothing with the reader.
        let other = broker.log();
        other.delete_topics(&["t".to_owned()]).expect("deleted");
        create(&*other).expect("created");
        commit(
            &mut *other.writer("other", 1 << 20).expect("a writer"),
            &[0],
            records,
        );
        let until = Instant::now() + LONG;
        let error = loop {
            match reader.poll(1 << 20, Duration::from_millis(100)) {
                Ok(_) => assert!(Instant::now() < until, "{records}: nothing is said"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.message().contains("recreated"), "{records}: {error}");
    }
}

/// The time of one commit is printed; `make compare` measures it.
fn commits_of_few_and_of_many_records_are_taken_one_after_the_other(broker: &Broker) {
    let log = broker.fresh_log();
    log.create_topics(&[TopicSpec::new("t", 4)])
        .expect("created");
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    commit(&mut *writer, &[0, 1, 2, 3], 1);
    for (count, records) in [(50, 1), (5, 10_000)] {
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
    }
    // The offsets read have gaps where the markers of transactions are; no record is missing.
    let read = log.records::<String, Vec<u8>>("t").expect("read");
    assert_eq!(read.len(), 4 * (1 + 50 + 5 * 10_000));
}

/// After the last record of a transaction comes its marker, which takes an offset.
fn lag_reaches_0(broker: &Broker) {
    let log = prepared(broker);
    let directory = tempfile::tempdir().expect("a directory");
    let builder = application(directory.path(), Arc::clone(&log));
    let mut running = builder.start().expect("started");
    let group = id_of(directory.path());
    let topics = log.topic_names().expect("names");
    let hop = topics.iter().find(|name| name.ends_with("-repartition"));
    let hop = hop.expect("a repartition topic").clone();
    let topics = ["readings".to_owned(), hop];
    let partitions = |topic: &String| [0, 1].map(|number| TopicPartition::new(&**topic, number));
    let inputs: Vec<_> = topics.iter().flat_map(partitions).collect();
    let until = Instant::now() + LONG;
    loop {
        let ends = log.end_offsets(&inputs, Isolation::ReadUncommitted);
        let ends = ends.expect("ends");
        let committed = log.committed(&group, &inputs).expect("offsets");
        let offset = |one: &Option<CommittedOffset>| one.as_ref().map_or(0, |one| one.offset);
        let committed: Vec<_> = committed.iter().map(offset).collect();
        if committed == ends && ends.iter().all(|end| *end > 0) {
            break;
        }
        assert!(Instant::now() < until, "{committed:?} of {ends:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    running.close(LONG).expect("closed");
}

/// The threads of this process, by the first letters of their names.
fn threads() -> BTreeMap<String, i64> {
    let mut threads = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task")
        .expect("threads")
        .flatten()
    {
        // It may have ended.
        if let Ok(name) = std::fs::read_to_string(task.path().join("comm")) {
            *threads.entry(name.trim().to_owned()).or_default() += 1;
        }
    }
    threads
}

/// Each client has threads for itself and for each connection, so there should be few clients: a reader, a writer
/// and a member for each worker, one for requests, one for the group's offsets, a spare reader.
fn four_idle_workers_have_few_threads(broker: &Broker) {
    const CLIENTS: i64 = 3 * 4 + 3;
    /// About four for each client; ours: the workers, those that read rows, those that restore, a writer's and a
    /// member's for each worker, and some that watch.
    const THREADS: i64 = 4 * CLIENTS + 26;
    let before = threads();
    let log = prepared(broker);
    let settings = Settings {
        workers: 4,
        ..settings()
    };
    let directory = tempfile::tempdir().expect("a directory");
    let start = |directory: &Path| {
        let builder = application(directory, Arc::clone(&log));
        let running = builder.settings(settings.clone()).start().expect("started");
        let until = Instant::now() + LONG;
        while running.snapshot().tasks.len() < 4 || running.snapshot().lag != Some(0) {
            assert!(Instant::now() < until, "it works");
            std::thread::sleep(Duration::from_millis(100));
        }
        running
    };
    let mut running = start(directory.path());
    running.close(LONG).expect("closed");
    // Without its rows, so that the restoring threads have had readers.
    for entry in std::fs::read_dir(directory.path()).expect("readable") {
        let path = entry.expect("an entry").path();
        std::fs::remove_dir_all(path).expect("deleted");
    }
    let mut running = start(directory.path());
    let until = Instant::now() + LONG;
    loop {
        let mut now = threads();
        for (name, count) in &before {
            *now.entry(name.clone()).or_default() -= count;
        }
        now.retain(|_, count| *count != 0);
        let clients = now.get("rdk:main").copied().unwrap_or(0);
        let all: i64 = now.values().sum();
        // Readers that restored are kept for a while.
        if clients <= CLIENTS && all <= THREADS {
            println!("    {clients} clients, {all} threads: {now:?}");
            break;
        }
        assert!(
            Instant::now() < until,
            "{clients} clients, {all} threads: {now:?}"
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    running.close(LONG).expect("closed");
}
