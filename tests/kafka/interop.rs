//! Other clients of the same brokers: we read what they write, they read what we write, and each key has the same
//! partition for all; our internal topics contain what those of Kafka Streams do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use marea::base::{Env, Header, SystemEnv, TopicPartition, partition_for_key};
use marea::codec::Utf8;
use marea::dsl::{Consumed, Grouped, Materialized, Repartitioned, StreamBuilder, TimeWindows};
use marea::log::{BatchBuilder, Commit, Isolation, Log, TopicSpec};
use marea::runtime::{Application, Settings};
use marea::task::CLOCK_HEADER;

use crate::broker::Broker;
use crate::cases::Case;
use crate::clients::{Client, Line, a_shared_directory_is_made_once_and_whole};
use crate::patience::{self, LONG};

pub const CASES: &[(&str, Case)] = &[
    ("interop_the_java_client", |broker| match Client::java() {
        Ok(client) => both_ways(broker, &client),
        Err(why) => skip("the Java client", &why),
    }),
    (
        "interop_the_python_clients",
        |broker| match Client::python() {
            Ok(clients) => clients.iter().for_each(|client| both_ways(broker, client)),
            Err(why) => skip("the Python clients", &why),
        },
    ),
    ("interop_what_clients_need_is_made_once", |_| {
        a_shared_directory_is_made_once_and_whole();
    }),
    ("interop_kafka_streams", |broker| match Client::java() {
        Ok(client) => [1, 2].into_iter().for_each(|partitions| {
            the_same_topics_as_kafka_streams(broker, &client, partitions);
        }),
        Err(why) => skip("Kafka Streams", &why),
    }),
];

const PARTITIONS: u32 = 5;
/// All codecs of Kafka.
const CODECS: &[&str] = &["none", "gzip", "snappy", "lz4", "zstd"];

/// Prints that something is skipped; a failure where the tests must run.
fn skip(what: &str, why: &str) {
    eprintln!("\nSKIPPED: nothing was exchanged with {what}: {why}\n");
    let required = std::env::var_os("MAREA_CLIENTS_REQUIRED").is_some();
    assert!(!required, "{what} is required: {why}");
}

fn address(broker: &Broker) -> &str {
    broker.url.trim_start_matches("kafka://")
}

/// Every shape of record, distinguished by its timestamp. librdkafka takes 0 for "now", hence from 1 on.
fn records() -> Vec<Line> {
    let header = |name: &str, value: Option<&[u8]>| Header {
        key: name.into(),
        value: value.map(<[u8]>::to_vec),
    };
    let mut records = Vec::new();
    let mut add = |key: Option<&[u8]>, value: Option<&[u8]>, headers: Vec<Header>| {
        let number = records.len() as i64;
        let timestamp_ms = if number == 0 {
            1
        } else {
            1_700_000_000_000 + number
        };
        records.push(Line {
            partition: key.map_or(0, |key| partition_for_key(key, PARTITIONS)),
            timestamp_ms,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers,
        });
    };
    // Keys of each length modulo four, which the hash treats differently, and of bytes above 127.
    for length in 0..40 {
        let key: Vec<u8> = (0..length)
            .map(|at| (at * 37 + length * 11) as u8)
            .collect();
        add(
            Some(&key),
            Some(&b"compressible ".repeat(length)),
            Vec::new(),
        );
    }
    for number in 0..200 {
        let key = format!("sensor-{number}");
        add(Some(key.as_bytes()), Some(key.as_bytes()), Vec::new());
    }
    add(Some("Океан".as_bytes()), Some(&[0, 255, 128]), Vec::new());
    add(None, Some(b"no key"), Vec::new());
    add(Some(b"gone"), None, Vec::new());
    add(Some(b"empty"), Some(b""), Vec::new());
    let headers = vec![
        header("twice", Some(b"one")),
        header("null", None),
        header("twice", Some(b"two")),
        header("empty", Some(b"")),
        header("naïve", Some(&[0, 1, 254, 255])),
    ];
    add(Some(b"with headers"), Some(b"value"), headers.clone());
    add(Some(b"gone"), None, headers);
    records
}

fn sorted(mut records: Vec<Line>) -> Vec<Line> {
    records.sort_by_key(|record| record.timestamp_ms);
    records
}

/// Records without a key may be in any partition.
fn assert_equal(found: Vec<Line>, expected: &[Line], what: &str) {
    let found = sorted(found);
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let mut expected = expected.clone();
        if expected.key.is_none() {
            expected.partition = found.partition;
        }
        assert_eq!(*found, expected, "{what}");
    }
}

fn topic_partitions(topic: &str, partitions: u32) -> Vec<TopicPartition> {
    let numbers = 0..partitions;
    numbers
        .map(|number| TopicPartition::new(topic, number))
        .collect()
}

/// Everything that our reader finds in a topic, in order within partitions.
fn read(log: &dyn Log, topic: &str, partitions: u32) -> marea::Result<Vec<Line>> {
    let partitions = topic_partitions(topic, partitions);
    let ends = log.end_offsets(&partitions, Isolation::ReadCommitted)?;
    let mut reader = log.reader(1 << 20)?;
    let starts: Vec<_> = partitions.iter().map(|one| (one.clone(), 0)).collect();
    patience::assign(&mut *reader, &starts);
    let mut lines = Vec::new();
    let started = Instant::now();
    let at_end = |reader: &dyn marea::log::Reader| {
        let mut pairs = partitions.iter().zip(&ends);
        pairs.all(|(one, end)| reader.position(one) >= Some(*end))
    };
    while !at_end(&*reader) {
        assert!(started.elapsed() < LONG, "{topic} is not read to its end");
        for fetched in reader.poll(1 << 20, Duration::from_millis(100))? {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record()? {
                if record.offset < fetched.position {
                    continue;
                }
                lines.push(Line {
                    partition: fetched.partition.partition,
                    timestamp_ms: record.timestamp_ms,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    headers: record.headers()?.as_slice().to_vec(),
                });
            }
        }
    }
    Ok(lines)
}

/// Appends each record to its partition.
fn write(log: &dyn Log, topic: &str, records: &[Line]) {
    let mut builders: BTreeMap<u32, BatchBuilder> = BTreeMap::new();
    for record in records {
        builders.entry(record.partition).or_default().push(
            record.key.as_deref(),
            record.value.as_deref(),
            record.timestamp_ms,
            &record.headers,
        );
    }
    let sealed = builders.iter_mut().map(|(partition, builder)| {
        let batch = builder.seal().expect("records");
        (TopicPartition::new(topic, *partition), batch)
    });
    let commit = Commit {
        appends: sealed.collect(),
        group: None,
    };
    let mut writer = log
        .writer(&format!("writer-of-{topic}"), 1 << 20)
        .expect("a writer");
    patience::commit(&mut *writer, commit);
}

fn both_ways(broker: &Broker, client: &Client) {
    let log = broker.fresh_log();
    let records = records();
    let topics = CODECS.iter().map(|codec| format!("theirs-{codec}"));
    let specs = topics.chain(["ours".to_owned()]);
    let specs: Vec<_> = specs.map(|name| TopicSpec::new(name, PARTITIONS)).collect();
    log.create_topics(&specs).expect("created");

    let mut theirs = records.clone();
    if !client.writes_null_headers {
        let present = |header: &Header| header.value.is_some();
        let all = theirs.iter_mut();
        all.for_each(|record| record.headers.retain(present));
    }
    client.write(address(broker), "theirs", CODECS, &theirs);
    for codec in CODECS {
        let found = read(&*log, &format!("theirs-{codec}"), PARTITIONS).expect("read");
        assert_equal(found, &theirs, &format!("{}, {codec}", client.name));
    }
    write(&*log, "ours", &records);
    let found = client.read(address(broker), "ours", records.len());
    assert_equal(found, &records, &format!("ours by {}", client.name));
}

/// Readings of words: key, word, timestamp. Close to now, since brokers delete by the age of records.
fn words(now_ms: i64, partitions: u32) -> Vec<Line> {
    const WORDS: &[&str] = &["tide", "swell", "ebb", "flood", "neap", "spring", "bore"];
    let word = |number: i64| {
        let key = format!("k{}", number % 13).into_bytes();
        Line {
            partition: partition_for_key(&key, partitions),
            // Out of order by up to 3 s, over several windows.
            timestamp_ms: now_ms - 120_000 + number * 100 - (number * 7_919) % 3_000,
            key: Some(key),
            value: Some(
                WORDS[(number * number / 5 % 7) as usize]
                    .as_bytes()
                    .to_vec(),
            ),
            headers: Vec::new(),
        }
    };
    (0..600).map(word).collect()
}

/// The counterpart of `Clients.streams`.
fn run_ours(broker: &Broker, application: &str, input: &str, records: u64) {
    let builder = StreamBuilder::new();
    let words = builder
        .stream_with(input, Consumed::with(Utf8, Utf8))
        .select_key(|_key, word: &String| word.clone())
        .repartition(Repartitioned::with("by-word", Utf8, Utf8).partitions(3));
    let _counts = words
        .clone()
        .group_by_key(Grouped::with("counted", Utf8, Utf8))
        .count("counts");
    let windows = TimeWindows::of(Duration::from_secs(10)).grace(Duration::from_secs(120));
    let _windowed = words
        .group_by_key(Grouped::with("counted-by-window", Utf8, Utf8))
        .windowed_by(windows)
        .count(Materialized::from("windowed"));
    let directory = tempfile::tempdir().expect("a directory");
    let mut running = Application::builder(builder.build().expect("a topology"), application)
        .log(broker.log())
        .state_directory(directory.path())
        .settings(Settings {
            // So that more than the last row of each key gets to the changelog.
            commit_interval_ms: 5,
            records_per_step: 20,
            ..Settings::default()
        })
        .start()
        .expect("started");
    let started = Instant::now();
    // Each record is read before and after the repartition. No drain, which would close windows.
    while running.snapshot().records < 2 * records {
        assert!(started.elapsed() < LONG, "{:?}", running.snapshot());
        std::thread::sleep(Duration::from_millis(20));
    }
    running.close(LONG).expect("closed");
}

/// The last row of each key, in each partition.
fn rows(changelog: &[Line]) -> BTreeMap<(u32, Option<&[u8]>), &Line> {
    let keyed = changelog.iter();
    keyed
        .map(|line| ((line.partition, line.key.as_deref()), line))
        .collect()
}

/// An arbitrary order of records, by everything except headers.
fn order_of(line: &Line) -> (u32, i64, Option<&[u8]>, Option<&[u8]>) {
    let (key, value) = (line.key.as_deref(), line.value.as_deref());
    (line.partition, line.timestamp_ms, key, value)
}

/// With one upstream task the order in the repartition topic is the input's. With two it is arbitrary, and ours
/// mark their clocks by a header, which those of Kafka Streams do not have.
fn the_same_topics_as_kafka_streams(broker: &Broker, client: &Client, partitions: u32) {
    let log = broker.fresh_log();
    let spec = TopicSpec::new("words", partitions);
    log.create_topics(&[spec]).expect("created");
    let words = words(SystemEnv::shared().wall_ms(), partitions);
    write(&*log, "words", &words);
    let count = words.len();
    let directory = tempfile::tempdir().expect("a directory");
    let state = directory.path().display().to_string();
    // Groups may outlive the topics.
    let (ours, theirs) = (format!("ours{partitions}"), format!("theirs{partitions}"));
    let asked = [
        "streams",
        address(broker),
        &theirs,
        "words",
        &count.to_string(),
        &state,
    ];
    client.run(&asked, "");
    run_ours(broker, &ours, "words", count as u64);

    let topic = |application: &str, name: &str| {
        let mut all = read(&*log, &format!("{application}-{name}"), 3).expect("read");
        all.sort_by_key(|line| line.partition);
        all
    };
    let repartition = "by-word-repartition";
    let (mut our_words, mut their_words) = (topic(&ours, repartition), topic(&theirs, repartition));
    if partitions > 1 {
        let clocks = |line: &Line| line.headers.iter().all(|header| header.key == CLOCK_HEADER);
        assert!(our_words.iter().all(clocks), "{our_words:?}");
        // A record that only carries a clock, for readers that would not learn it otherwise.
        our_words.retain(|line| line.key.is_some());
        our_words.iter_mut().for_each(|line| line.headers.clear());
        for words in [&mut our_words, &mut their_words] {
            words.sort_by(|one, other| order_of(one).cmp(&order_of(other)));
        }
    }
    assert_eq!(their_words.len(), count);
    assert_eq!(our_words, their_words);
    for changelog in ["counts-changelog", "windowed-changelog"] {
        let (our_rows, their_rows) = (topic(&ours, changelog), topic(&theirs, changelog));
        assert_eq!(their_rows.len(), count, "{changelog}");
        assert_eq!(rows(&our_rows), rows(&their_rows), "{changelog}");
        if partitions == 1 {
            // Kafka Streams writes each put, we write the last of a commit: each of our records is one of theirs.
            let puts: BTreeSet<_> = their_rows.iter().map(order_of).collect();
            let strange = our_rows.iter().find(|line| !puts.contains(&order_of(line)));
            assert!(strange.is_none(), "{changelog}: {strange:?}");
        }
    }
}
