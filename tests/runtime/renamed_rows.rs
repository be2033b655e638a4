//! What a renamed sub-topology finds on disk, and what is refused because it cannot move.

use marea::base::ErrorKind;
use marea::codec::{Codec, I64, Utf8};
use marea::dsl::{Consumed, Grouped, Materialized, Produced, StreamBuilder};
use marea::log::TopicSpec;
use marea::runtime::{Application, Settings, StateBackend};
use marea::topology::Topology;

use crate::counting::{DEADLINE, wait};
use crate::pipeline::memory_log;
use crate::renaming::{Alarms, PARTITIONS, create_topics, put, rows};

/// Counts by key, in a store without a changelog.
fn totals(with_more: bool) -> Topology {
    let builder = StreamBuilder::new();
    let input = builder.stream_with("in", Consumed::with(Utf8, I64));
    if with_more {
        let more = input
            .clone()
            .group_by_key(Grouped::with("unused", Utf8, I64));
        let _more = more.count("added");
    }
    let grouped = |name| Grouped::with(name, Utf8, I64);
    let _logged = input
        .clone()
        .group_by_key(grouped("not-needed"))
        .count("logged");
    let grouped = input.group_by_key(grouped("nor-needed"));
    let counts = grouped.count(Materialized::named("totals").not_logged());
    let counts = counts.to_stream().present();
    counts.to_with("totals", Produced::with(Utf8, I64));
    builder.build().expect("a topology")
}

#[test]
fn rows_on_the_disk_are_those_of_the_renamed_tasks() {
    const KEYS: i64 = 500;
    let directory = tempfile::tempdir().expect("a directory");
    let log = memory_log();
    create_topics(&*log);
    for (life, with_more) in [false, true, false, true].into_iter().enumerate() {
        for partition in 0..PARTITIONS {
            let rows = (0..KEYS).map(|n| (format!("{partition}-{n}"), n, life as i64));
            put(&*log, partition, rows);
        }
        let mut running = Application::builder(totals(with_more), "app")
            .log(log.clone())
            .state_directory(directory.path().join("state"))
            .settings(Settings {
                memory_bytes: 64 << 20,
                // Removing it leaves its rows behind.
                accept_orphans: vec!["added".to_owned()],
                ..Settings::default()
            })
            .start()
            .expect("started");
        running.drain(DEADLINE).expect("drained");
        let tasks = running.snapshot().tasks;
        let name = if with_more { "added" } else { "logged" };
        assert!(tasks.iter().all(|task| *task.task.subtopology == *name));
        // The rows of a store that was removed and comes back may be outdated: they are read again.
        if life < 3 {
            let restored: u64 = tasks.iter().map(|task| task.restored).sum();
            assert!(
                restored < 100,
                "life {life}: {restored} records, times are fewer"
            );
        }
        running.close(DEADLINE).expect("closed");
        let totals = rows(&*log, "totals");
        assert_eq!(totals.len() as i64, i64::from(PARTITIONS) * KEYS);
        for (key, (total, _)) in totals {
            let total = I64.decode(total.as_deref()).expect("a total");
            assert_eq!(total, life as i64 + 1, "{key:?}: none is counted anew");
        }
    }
}

/// Timers of one topic, or of two that are read as one.
fn timers(with_more: bool) -> Topology {
    let builder = StreamBuilder::new();
    let consumed = || Consumed::with(Utf8, I64);
    let mut input = builder.stream_with("in", consumed());
    if with_more {
        input = input.merge(builder.stream_with("a-wide-one", consumed()));
    }
    let alarms = input.process(|| Alarms, "alarms");
    alarms.to_with("alarms", Produced::with(Utf8, I64));
    builder.build().expect("a topology")
}

#[test]
fn what_cannot_move_is_refused_before_anything_is_made() {
    let log = memory_log();
    create_topics(&*log);
    let wide = TopicSpec::new("a-wide-one", PARTITIONS + 2);
    log.create_topics(&[wide]).expect("a topic");
    let start = |with_more| {
        let builder = Application::builder(timers(with_more), "app").log(log.clone());
        let settings = Settings {
            state_backend: StateBackend::Memory,
            ..Settings::default()
        };
        builder.settings(settings).start()
    };
    let has_record = || log.topic("app-topology").expect("asked").is_some();
    let mut running = start(false).expect("started");
    wait("the record", || {
        has_record() && !rows(&*log, "app-topology").is_empty()
    });
    running.close(DEADLINE).expect("closed");
    let topics = log.topic_names().expect("names");
    let error = start(true).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    for part in [
        "node alarms",
        "app-in-task-changelog",
        "2 partitions",
        "4 tasks",
    ] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    assert_eq!(
        log.topic_names().expect("names"),
        topics,
        "nothing was made"
    );
    start(false)
        .expect("as it was")
        .close(DEADLINE)
        .expect("closed");
    // The remedy that the message names.
    log.delete_topics(&["app-topology".to_owned()])
        .expect("deleted");
    start(true).expect("anew").close(DEADLINE).expect("closed");
}
