//! A topology that does not use what is on the log is refused until that is accepted by name.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use marea::base::{Error, ErrorKind, TopicPartition};
use marea::log::{BatchBuilder, Cleanup, Commit};
use marea::prelude::*;
use marea::runtime::{ApplicationBuilder, OrphanFate, PieceKind, TopologyChange};

use crate::counting::{DEADLINE, wait};
use crate::crash::open_log;
use crate::faulty::{Fault, FaultyLog};
use crate::pipeline::memory_log;
use crate::renaming::Alarms;

const ID: &str = "shop";
const PARTITIONS: u32 = 2;

/// Counts of the input in stores of these names.
pub fn counting(stores: &[&str]) -> Topology {
    let builder = StreamBuilder::new();
    let input = builder.stream::<String, String>("in");
    for store in stores {
        let counts = input.clone().group_by_key(&*format!("unused-{store}"));
        counts.count(*store).to_stream().present().to("out");
    }
    builder.build().expect("a topology")
}

pub fn create_topics(log: &dyn Log) {
    let topics = [
        TopicSpec::new("in", PARTITIONS),
        TopicSpec::new("out", PARTITIONS),
    ];
    log.create_topics(&topics).expect("topics");
}

pub fn accepting(log: &Arc<dyn Log>, topology: Topology, accepts: &[&str]) -> ApplicationBuilder {
    Application::builder(topology, ID)
        .log(log.clone())
        .settings(Settings {
            accept_orphans: accepts.iter().map(ToString::to_string).collect(),
            commit_interval_ms: 5,
            ..Settings::in_memory()
        })
}

pub fn application(log: &Arc<dyn Log>, topology: Topology) -> ApplicationBuilder {
    accepting(log, topology, &[])
}

pub fn feed(log: &Arc<dyn Log>, keys: &[&str]) {
    let mut producer = log.producer::<String, String>("in").expect("a producer");
    let record = |key: &&str| Record::new((*key).to_owned(), String::new(), 0);
    producer
        .send_all(keys.iter().map(record))
        .expect("appended");
}

/// Appends keys and values to the first partition of a topic.
pub fn append(log: &dyn Log, topic: &str, rows: &[(&str, Option<&str>)]) {
    let mut batch = BatchBuilder::default();
    for (key, value) in rows {
        batch.push(Some(key.as_bytes()), value.map(str::as_bytes), 0, &[]);
    }
    let commit = Commit {
        appends: vec![(
            TopicPartition::new(topic, 0),
            batch.seal().expect("records"),
        )],
        group: None,
    };
    let mut writer = log.writer("foreign", 1 << 20).expect("a writer");
    writer.submit(commit).expect("submitted");
    assert!(writer.poll(DEADLINE).expect("committed").is_some());
}

/// Runs until the input is processed and the record is there, and returns what the start found.
pub fn run(log: &Arc<dyn Log>, builder: ApplicationBuilder) -> TopologyChange {
    let mut running = builder.start().expect("started");
    let change = running.handle().about().change.clone();
    running.drain(DEADLINE).expect("drained");
    running.leave(DEADLINE).expect("left");
    wait("the record", || !record(&**log).is_empty());
    change
}

pub fn refused(builder: ApplicationBuilder) -> Error {
    let refused = builder.start().map(|_| ()).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    refused
}

/// The live keys of the record of what ran.
pub fn record(log: &dyn Log) -> Vec<String> {
    let rows = crate::renaming::rows(log, &format!("{ID}-topology"));
    let live = rows.into_iter().filter(|(_, (value, _))| value.is_some());
    live.map(|((_, key), _)| key).collect()
}

fn names(pieces: &[marea::runtime::Piece]) -> Vec<&str> {
    pieces.iter().map(|piece| piece.name.as_str()).collect()
}

fn fates(change: &TopologyChange) -> Vec<(&str, OrphanFate)> {
    let orphans = change.orphans.iter();
    orphans
        .map(|orphan| (orphan.piece.name.as_str(), orphan.fate))
        .collect()
}

fn was_left(change: &TopologyChange, name: &str) -> bool {
    let is_left = |fate| matches!(fate, OrphanFate::Before { since_ms } if since_ms > 0);
    matches!(fates(change)[..], [(left, fate)] if left == name && is_left(fate))
}

#[test]
fn a_renamed_store_is_refused_until_it_is_accepted_and_then_not_asked_for_again() {
    let directory = tempfile::tempdir().expect("a directory");
    for log in [memory_log(), open_log(directory.path())] {
        create_topics(&*log);
        feed(&log, &["a", "b", "c"]);
        let first = run(&log, application(&log, counting(&["counts"])));
        assert_eq!(names(&first.adds), ["counts"]);
        assert!(!first.has_record && first.orphans.is_empty());
        // As an operator sees it beforehand, and as the start reports it.
        let renamed = || counting(&["totals"]);
        let compared = application(&log, renamed()).compare().expect("compared");
        assert_eq!(fates(&compared), [("counts", OrphanFate::Refused)]);
        let error = refused(application(&log, renamed()));
        for part in [
            "store counts, 3 rows in shop-counts-changelog",
            "accept_orphans = [\"counts\"]",
        ] {
            assert!(error.message().contains(part), "{part}: {error}");
        }
        refused(accepting(&log, renamed(), &["totals", "in"]));
        let made = log.topic("shop-totals-changelog").expect("asked");
        assert!(made.is_none(), "nothing was made for what was refused");
        let accepted = run(&log, accepting(&log, renamed(), &["counts"]));
        assert_eq!(fates(&accepted), [("counts", OrphanFate::Accepted)]);
        assert_eq!(names(&accepted.adds), ["totals"]);
        // Neither at the next start nor when the topology changes again.
        let next = run(&log, application(&log, renamed()));
        assert!(was_left(&next, "counts"), "{next}");
        let changed = run(&log, application(&log, counting(&["totals", "more"])));
        assert!(was_left(&changed, "counts"), "{changed}");
        // Until its topic is deleted.
        let topic = "shop-counts-changelog".to_owned();
        log.delete_topics(&[topic]).expect("deleted");
        let gone = run(&log, application(&log, counting(&["totals", "more"])));
        assert_eq!(gone.orphans, [], "{gone}");
    }
}

#[test]
fn a_store_that_is_added_keeps_the_others_and_moves_their_times() {
    let log = memory_log();
    create_topics(&*log);
    feed(&log, &["a"]);
    run(&log, application(&log, counting(&["counts"])));
    let builder = application(&log, counting(&["added", "counts"]));
    let compared = builder.compare().expect("compared");
    let found = run(&log, builder);
    assert_eq!(found, compared);
    assert_eq!(names(&found.keeps), ["counts"]);
    assert_eq!(names(&found.adds), ["added"]);
    let kept = &found.keeps[0];
    assert_eq!(kept.topic.as_deref(), Some("shop-counts-changelog"));
    assert_eq!(kept.partitions, Some(PARTITIONS));
    let moved: Vec<String> = (found.moves.iter())
        .map(|moved| format!("{} from {} to {}", moved.of, moved.from, moved.to))
        .collect();
    assert_eq!(
        moved,
        [
            "store counts from counts to added",
            "source in from counts to added"
        ]
    );
    assert!(found.orphans.is_empty() && found.refuses.is_empty());
}

#[test]
fn a_store_that_loses_its_changelog_is_refused_and_one_without_rows_is_not() {
    let log = memory_log();
    create_topics(&*log);
    run(&log, application(&log, counting(&["counts"])));
    let unlogged = || {
        let builder = StreamBuilder::new();
        let input = builder.stream::<String, String>("in");
        let counts = input.group_by_key("unused");
        let store = Materialized::named("counts").not_logged();
        counts.count(store).to_stream().present().to("out");
        builder.build().expect("a topology")
    };
    let empty = application(&log, unlogged()).compare().expect("compared");
    assert_eq!(fates(&empty), [("counts", OrphanFate::Empty)]);
    feed(&log, &["a"]);
    run(&log, application(&log, counting(&["counts"])));
    let error = refused(application(&log, unlogged()));
    assert!(error.message().contains("store counts, 1 row"), "{error}");
}

#[test]
fn what_was_left_and_is_used_again_is_said_and_asked_for_again() {
    let log = memory_log();
    create_topics(&*log);
    feed(&log, &["a"]);
    run(&log, application(&log, counting(&["counts"])));
    run(&log, accepting(&log, counting(&["totals"]), &["counts"]));
    let left = "left store counts".to_owned();
    assert!(record(&*log).contains(&left));
    let back = run(&log, accepting(&log, counting(&["counts"]), &["totals"]));
    let returned: Vec<_> = back
        .returns
        .iter()
        .map(|returned| returned.piece.name.as_str())
        .collect();
    assert_eq!(returned, ["counts"], "{back}");
    assert!(!record(&*log).contains(&left));
    let error = refused(application(&log, counting(&["totals"])));
    assert!(error.message().contains("store counts"), "{error}");
}

/// In a rolling upgrade an instance of the previous release is restarted beside one of the new release, whose
/// store is no orphan.
#[test]
fn an_instance_of_the_release_before_starts_beside_one_of_the_new_release() {
    let log = memory_log();
    create_topics(&*log);
    feed(&log, &["a", "b"]);
    let old = || application(&log, counting(&["counts"]));
    run(&log, old());
    let new = application(&log, counting(&["counts", "more"]));
    let mut new = new.start().expect("started");
    wait("rows of the new store", || {
        feed(&log, &["a", "b"]);
        !crate::renaming::rows(&*log, "shop-more-changelog").is_empty()
    });
    let mut again = old().start().expect("not refused");
    let change = again.handle().about().change.clone();
    assert_eq!(fates(&change), [("more", OrphanFate::Shared)]);
    // A topology that has never run is refused: it is not the previous release.
    let error = refused(application(&log, counting(&["more"])));
    assert!(error.message().contains("store counts"), "{error}");
    again.leave(DEADLINE).expect("left");
    new.leave(DEADLINE).expect("left");
    // Alone it would leave behind what the others have had.
    let error = refused(old());
    assert!(error.message().contains("store more"), "{error}");
    let noted = record(&*log);
    assert!(
        !noted.iter().any(|key| key.starts_with("left")),
        "{noted:?}"
    );
}

#[test]
fn what_is_accepted_need_not_be_counted() {
    let log = memory_log();
    create_topics(&*log);
    feed(&log, &["a"]);
    run(&log, application(&log, counting(&["counts"])));
    let (partition, times) = (0, 1);
    let hides = || FaultyLog::new(log.clone(), Fault::HideEnds { partition, times });
    let through: Arc<dyn Log> = Arc::new(hides());
    let accepted = run(
        &through,
        accepting(&through, counting(&["totals"]), &["counts"]),
    );
    assert_eq!(fates(&accepted), [("counts", OrphanFate::Accepted)]);
    assert_eq!(accepted.orphans[0].count, None);
    let through: Arc<dyn Log> = Arc::new(hides());
    let error = application(&through, counting(&["more"])).compare();
    assert_eq!(error.expect_err("not known").kind(), ErrorKind::Unavailable);
}

fn with_alarms(node: Option<&str>) -> Topology {
    let builder = StreamBuilder::new();
    let input = builder.stream::<String, i64>("in");
    if let Some(node) = node {
        input.clone().process(|| Alarms, node).to("out");
    }
    let counts = input.group_by_key("unused").count("counts");
    counts.to_stream().present().to("out");
    builder.build().expect("a topology")
}

#[test]
fn timers_that_were_set_are_refused_with_their_number_when_their_node_is_renamed() {
    let log = memory_log();
    create_topics(&*log);
    let mut producer = log.producer::<String, i64>("in").expect("a producer");
    let records = (0..3).map(|value| Record::new("a".to_owned(), value, 0));
    producer.send_all(records).expect("appended");
    let mut running = application(&log, with_alarms(Some("alarms")))
        .start()
        .expect("started");
    wait("the timers", || {
        let rows = crate::renaming::rows(&*log, "shop-counts-task-changelog");
        let due = rows.keys().filter(|(_, key)| key.starts_with("timer/"));
        due.count() == 3
    });
    running.leave(DEADLINE).expect("left");
    let renamed = || with_alarms(Some("alerts"));
    let error = refused(application(&log, renamed()));
    let part = "timers of node alarms, 3 timers in shop-counts-task-changelog";
    assert!(error.message().contains(part), "{error}");
    run(&log, accepting(&log, renamed(), &["alarms"]));
    let next = run(&log, application(&log, with_alarms(None)));
    let left = fates(&next).into_iter().map(|(name, _)| name);
    assert_eq!(left.collect::<Vec<_>>(), ["alarms", "alerts"], "{next}");
}

fn rekeyed(partitions: u32) -> Topology {
    let builder = StreamBuilder::new();
    let input = builder.stream::<String, String>("in");
    let by = Repartitioned::named("by").partitions(partitions);
    let counts = input.repartition(by).group_by_key("unused");
    counts.count("counts").to_stream().present().to("out");
    builder.build().expect("a topology")
}

#[test]
fn records_of_a_repartition_topic_that_nobody_will_read_are_refused() {
    let log = memory_log();
    create_topics(&*log);
    feed(&log, &["a", "b", "c"]);
    run(&log, application(&log, rekeyed(PARTITIONS)));
    let without = || counting(&["counts"]);
    // Everything was read; clocks that nobody read do not count as records.
    let compared = application(&log, without()).compare().expect("compared");
    assert_eq!(fates(&compared), [("by", OrphanFate::Empty)], "{compared}");
    append(
        &*log,
        "shop-by-repartition",
        &[("a", Some("")), ("b", Some(""))],
    );
    let compared = application(&log, without()).compare().expect("compared");
    assert_eq!(compared.orphans[0].piece.kind, PieceKind::Repartition);
    let error = refused(application(&log, without()));
    let part = "repartition by, 2 unread records in shop-by-repartition";
    assert!(error.message().contains(part), "{error}");
    run(&log, accepting(&log, without(), &["by"]));
}

#[test]
fn other_numbers_of_partitions_are_refused_with_both() {
    let log = memory_log();
    create_topics(&*log);
    run(&log, application(&log, rekeyed(PARTITIONS)));
    let compared = application(&log, rekeyed(3)).compare().expect("compared");
    let reasons = compared
        .refuses
        .iter()
        .map(|refusal| refusal.reason.as_str());
    let reasons: Vec<&str> = reasons.collect();
    let topic = "shop-by-repartition has 2 partitions, but this topology requires 3";
    assert!(
        reasons.iter().any(|reason| reason.contains(topic)),
        "{reasons:?}"
    );
    assert!(compared.check().is_err());
    let error = refused(application(&log, rekeyed(3)));
    assert!(error.message().contains("shop-"), "{error}");
}

#[test]
fn without_a_record_nothing_is_known_and_nothing_is_refused() {
    let log = memory_log();
    create_topics(&*log);
    feed(&log, &["a"]);
    run(&log, application(&log, counting(&["counts"])));
    let topic = format!("{ID}-topology");
    log.delete_topics(&[topic]).expect("deleted");
    let change = run(&log, application(&log, counting(&["totals"])));
    assert!(!change.has_record && change.orphans.is_empty(), "{change}");
    assert!(change.to_string().contains("is unknown"), "{change}");
}

/// A record written before topologies were noted in it does not say when something was left behind.
#[test]
fn what_an_earlier_release_may_have_left_is_noted_and_not_refused() {
    let log = memory_log();
    create_topics(&*log);
    feed(&log, &["a"]);
    run(&log, application(&log, counting(&["counts"])));
    for key in record(&*log) {
        if key.starts_with("topology ") {
            append(&*log, "shop-topology", &[(&key, None)]);
        }
    }
    let change = run(&log, application(&log, counting(&["totals"])));
    assert_eq!(fates(&change), [("counts", OrphanFate::Unasked)]);
    let next = run(&log, application(&log, counting(&["totals"])));
    assert!(was_left(&next, "counts"), "{next}");
}

/// Names of topics are no evidence: those of one application begin like those of another.
#[test]
fn an_application_whose_name_begins_alike_is_left_in_peace() {
    let log = memory_log();
    create_topics(&*log);
    feed(&log, &["a"]);
    run(&log, application(&log, counting(&["counts"])));
    let theirs = TopicSpec::new("shop-eu-sums-changelog", 1).with_cleanup(Cleanup::Compact);
    log.create_topics(&[theirs]).expect("created");
    append(&*log, "shop-eu-sums-changelog", &[("a", Some("1"))]);
    let change = run(&log, application(&log, counting(&["counts"])));
    assert_eq!(change.orphans, []);
}

fn check_golden(described: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/change.txt");
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, described).expect("a golden file");
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == described,
        "change.txt differs; if that is wanted, run with UPDATE_GOLDENS=1\n--- golden\n{golden}\n--- now\n{described}"
    );
}

#[test]
fn a_change_as_text_and_as_json() {
    let log = memory_log();
    create_topics(&*log);
    feed(&log, &["a", "b"]);
    run(&log, application(&log, counting(&["counts", "sums"])));
    let builder = StreamBuilder::new();
    let input = builder.stream::<String, String>("in");
    let by = Repartitioned::named("by").partitions(1);
    let counts = input.clone().group_by_key("unused");
    counts.count("counts").to_stream().present().to("out");
    let last = input.repartition(by).group_by_key("unused-last");
    let averages = last.windowed_by(TimeWindows::of(Duration::from_secs(60)));
    let averages = averages.count("averages").to_stream().present();
    averages.map(|window, count| (window.key, count)).to("out");
    let topology = builder.build().expect("a topology");
    let change = application(&log, topology).compare().expect("compared");
    check_golden(&change.to_string());
    let json: serde_json::Value = serde_json::from_str(&change.to_json()).expect("JSON");
    assert_eq!(json["keeps"][0]["name"], "counts");
    assert_eq!(json["orphans"][0]["kind"], "store");
    assert_eq!(json["orphans"][0]["fate"], "refused");
    assert_eq!(json["orphans"][0]["count"]["number"], 2);
}
