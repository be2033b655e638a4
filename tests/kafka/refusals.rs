//! What cannot work is reported at once, with its name and the remedy.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use marea::ErrorKind;
use marea::base::{Error, Header, TopicPartition};
use marea::log::{BatchBuilder, Commit, CommitError, TopicSpec};
use marea::runtime::{ApplicationBuilder, Settings};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use crate::broker::Broker;
use crate::cases::Case;
use crate::crash::{self, OUTLASTS_MS, patient, prepared, settings};
use crate::patience::{self, LONG, outcome};

pub const CASES: &[(&str, Case)] = &[
    (
        "internal_topics_have_the_settings_of_their_kind",
        internal_topics_have_the_settings_of_their_kind,
    ),
    (
        "a_missing_topic_is_named_at_start",
        a_missing_topic_is_named_at_start,
    ),
    (
        "a_changed_number_of_partitions_is_refused_with_both",
        a_changed_number_of_partitions_is_refused_with_both,
    ),
    (
        "a_record_above_the_brokers_limit_is_named",
        a_record_above_the_brokers_limit_is_named,
    ),
    (
        "many_records_go_to_a_topic_of_small_batches",
        many_records_go_to_a_topic_of_small_batches,
    ),
];

/// At once, however busy the machine is: nobody has waited for the end of a session or of a transaction, which last
/// longer here ([`OUTLASTS_MS`]).
const SOON: Duration = LONG;

fn admin(broker: &Broker) -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config.set(
        "bootstrap.servers",
        broker.url.trim_start_matches("kafka://"),
    );
    config.create().expect("a client")
}

fn settings_of(broker: &Broker, topic: &str) -> Vec<(String, String)> {
    let asked = [ResourceSpecifier::Topic(topic)];
    let answers = block_on(admin(broker).describe_configs(&asked, &AdminOptions::new()));
    let found = answers.expect("an answer").remove(0).expect("a topic");
    let entries = found.entries.into_iter();
    entries
        .map(|entry| (entry.name, entry.value.unwrap_or_default()))
        .collect()
}

/// Replaces the settings of the topic.
fn set(broker: &Broker, topic: &str, settings: &[(&str, &str)]) {
    let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic));
    for (name, value) in settings {
        change = change.set(name, value);
    }
    let answers = block_on(admin(broker).alter_configs([&change], &AdminOptions::new()));
    answers.expect("an answer").remove(0).expect("altered");
    let until = Instant::now() + SOON;
    let holds = |(name, value): &(&str, &str)| {
        let found = settings_of(broker, topic).into_iter();
        found
            .filter(|(found, _)| found == name)
            .all(|(_, found)| found == *value)
    };
    while !settings.iter().all(holds) {
        assert!(Instant::now() < until, "{settings:?} on {topic}");
    }
}

/// The application on a directory with that name.
fn application(broker: &Broker, directory: &Path) -> ApplicationBuilder {
    let builder = crash::application(directory, patient(&broker.url));
    builder.settings(Settings {
        session_timeout_ms: OUTLASTS_MS,
        ..settings()
    })
}

/// Starts it, and returns why it did not start.
fn refusal(broker: &Broker, directory: &Path) -> Error {
    let started = Instant::now();
    let refused = application(broker, directory).start();
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    let error = refused.expect_err("it does not start");
    println!("    {error}");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    error
}

fn internal_topics_have_the_settings_of_their_kind(broker: &Broker) {
    let log = prepared(broker);
    let directory = tempfile::tempdir().expect("a directory");
    let start = || {
        let running = application(broker, directory.path()).start();
        running.expect("started").close(SOON).expect("closed");
    };
    start();
    let names = log.topic_names().expect("names");
    let named = |end: &str| {
        let found = names.iter().find(|name| name.ends_with(end));
        found.expect(end).as_str()
    };
    let unlimited = i64::MAX.to_string();
    let changelog = named("-sums-changelog");
    for (topic, cleanup) in [
        (changelog, "compact,delete"),
        (named("-final-store-task-changelog"), "compact"),
        (named("-by-ocean-repartition"), "delete"),
    ] {
        let settings = settings_of(broker, topic);
        let value = |name: &str| {
            let found = settings.iter().find(|(found, _)| found == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(value("cleanup.policy"), Some(cleanup), "{topic}");
        assert_eq!(
            value("message.timestamp.after.max.ms"),
            Some(&*unlimited),
            "{topic}"
        );
        assert_eq!(
            value("message.timestamp.type"),
            Some("CreateTime"),
            "{topic}"
        );
        assert_eq!(value("retention.ms"), Some("-1"), "{topic}");
        assert_eq!(value("retention.bytes"), Some("-1"), "{topic}");
    }
    let good = [
        ("cleanup.policy", "compact,delete"),
        ("retention.ms", "-1"),
        ("max.message.bytes", "2000000"),
        ("message.timestamp.after.max.ms", &unlimited),
    ];
    for (name, value) in [
        ("retention.ms", "604800000"),
        ("message.timestamp.after.max.ms", "3600000"),
    ] {
        let changed = good.map(|(known, kept)| match known == name {
            true => (known, value),
            false => (known, kept),
        });
        set(broker, changelog, &changed);
        let message = refusal(broker, directory.path()).to_string();
        for part in [changelog, &format!("{name}={value}"), "kafka-configs"] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
    set(broker, changelog, &good);
    start();
}

fn a_missing_topic_is_named_at_start(broker: &Broker) {
    let log = broker.fresh_log();
    log.create_topics(&[TopicSpec::new("readings", 2)])
        .expect("created");
    let directory = tempfile::tempdir().expect("a directory");
    let error = refusal(broker, directory.path());
    assert!(
        error.message().contains("topic finals does not exist"),
        "{error}"
    );
}

fn a_changed_number_of_partitions_is_refused_with_both(broker: &Broker) {
    let log = prepared(broker);
    let directory = tempfile::tempdir().expect("a directory");
    let running = application(broker, directory.path()).start();
    running.expect("started").close(SOON).expect("closed");
    let readings = ["readings".to_owned()];
    log.delete_topics(&readings).expect("deleted");
    log.create_topics(&[TopicSpec::new("readings", 3)])
        .expect("created");
    let error = refusal(broker, directory.path());
    for part in ["2 partitions", "3 partitions"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

/// Each record is far below the limit, but the bytes around them count too.
fn many_records_go_to_a_topic_of_small_batches(broker: &Broker) {
    let log = broker.fresh_log();
    let mut spec = TopicSpec::new("t", 1);
    spec.max_record_bytes = 1_500;
    log.create_topics(&[spec]).expect("created");
    let mut state = 1_u64;
    // Does not compress.
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 32
    };
    let mut batch = |records: usize, headers: usize| {
        let mut builder = BatchBuilder::default();
        for _ in 0..records {
            let header = |_| Header {
                key: format!("{:04x}", random() % 65_536),
                value: Some(random().to_le_bytes()[..4].to_vec()),
            };
            let headers: Vec<Header> = (0..headers).map(header).collect();
            let value = [random() as u8];
            builder.push(None, Some(&value), 1 + random() as i64, &headers);
        }
        builder.seal().expect("records")
    };
    let batches = [batch(1_000, 0), batch(200, 20)];
    let mut writer = log.writer("small", 1 << 20).expect("a writer");
    for batch in batches {
        let commit = Commit {
            appends: vec![(TopicPartition::new("t", 0), batch)],
            group: None,
        };
        patience::commit(&mut *writer, commit);
    }
}

/// The limit was lowered after it was read.
fn a_record_above_the_brokers_limit_is_named(broker: &Broker) {
    let log = broker.fresh_log();
    log.create_topics(&[TopicSpec::new("t", 1)])
        .expect("created");
    let log = patient(&broker.url);
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    let mut commit = |bytes: usize| {
        let mut builder = BatchBuilder::default();
        // Does not compress.
        let mut state = 1_u64;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        let value: Vec<u8> = (0..bytes).map(next).collect();
        builder.push(None, Some(&value), 1, &[]);
        let batch = builder.seal().expect("a record");
        let commit = Commit {
            appends: vec![(TopicPartition::new("t", 0), batch)],
            group: None,
        };
        outcome(&mut *writer, commit)
    };
    commit(100_000).expect("committed");
    set(broker, "t", &[("max.message.bytes", "10000")]);
    for _ in 0..2 {
        let started = Instant::now();
        let error = match commit(100_000) {
            Err(CommitError::Aborted(error)) => error,
            other => panic!("aborted, not {other:?}"),
        };
        println!("    {error}");
        assert!(started.elapsed() < SOON);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(
            error.message().contains("larger") || error.message().contains("smaller"),
            "{error}"
        );
    }
    // The client may still discard what followed the failed record.
    let until = Instant::now() + SOON;
    while let Err(error) = commit(1_000) {
        assert!(
            matches!(error, CommitError::Aborted(_)) && Instant::now() < until,
            "{error}"
        );
    }
}
