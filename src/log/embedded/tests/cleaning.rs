use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::base::SystemEnv;
use crate::log::{Cleanup, Isolation, TopicSpec};

const NOW_MS: i64 = 1_700_000_000_000;
const DELETE_RETENTION_MS: i64 = 1_000;

/// A log whose readers go to RocksDB, with one topic.
fn start(spec: impl FnOnce(&mut TopicSpec)) -> (Arc<ManualEnv>, EmbeddedLog) {
    let env = ManualEnv::new(NOW_MS, 1);
    let settings = Settings {
        tail_bytes: 0,
        housekeeping_interval_ms: NEVER_MS,
        ..settings(&directory())
    };
    let log = EmbeddedLog::open(settings, env.clone()).expect("opens");
    let mut topic = TopicSpec::new("t", 1);
    topic.delete_retention_ms = DELETE_RETENTION_MS;
    spec(&mut topic);
    log.create_topics(&[topic]).expect("created");
    (env, log)
}

fn offsets(log: &EmbeddedLog, position: Offset) -> Vec<Offset> {
    read(log, position)
        .into_iter()
        .map(|(offset, _, _)| offset)
        .collect()
}

#[test]
fn batches_older_than_the_retention_go() {
    let (env, log) = start(|spec| spec.retention_ms = Some(100));
    append(&log, &[(None, None), (None, None)]).expect("committed");
    env.advance_ms(60);
    append(&log, &[(None, None)]).expect("committed");
    env.advance_ms(40);
    log.clean_now().expect("cleaned");
    assert_eq!(offsets(&log, 0), [0, 1, 2], "not older yet");
    env.advance_ms(1);
    log.clean_now().expect("cleaned");
    assert_eq!(log.start_offset(&at(0)).expect("known"), 2);
    assert_eq!(offsets(&log, 0), [2]);
    env.advance_ms(1_000);
    log.clean_now().expect("cleaned");
    assert_eq!(log.start_offset(&at(0)).expect("known"), 3);
    assert_eq!(log.stats().bytes_stored, 0);
    assert_eq!(
        append(&log, &[(None, None)]).expect("committed").ends[&at(0)],
        4
    );
}

#[test]
fn the_oldest_batches_go_while_the_partition_is_too_large() {
    let (_, log) = start(|spec| spec.retention_bytes = Some(250));
    let text = "x".repeat(60);
    for _ in 0..5 {
        append(&log, &[(None, Some(&text))]).expect("committed");
    }
    log.clean_now().expect("cleaned");
    assert_eq!(offsets(&log, 0), [3, 4]);
    assert!(log.stats().bytes_stored <= 250);
}

#[test]
fn a_compacted_topic_does_not_lose_old_records() {
    let (env, log) = start(|spec| {
        spec.cleanup = Cleanup::Compact;
        spec.retention_ms = Some(1);
    });
    append(&log, &[(Some("a"), Some("1")), (None, Some("no key"))]).expect("committed");
    env.advance_ms(1_000_000);
    log.clean_now().expect("cleaned");
    assert_eq!(offsets(&log, 0), [0, 1]);
}

#[test]
fn what_is_younger_than_the_compaction_lag_stays_whole() {
    let (env, log) = start(|spec| {
        spec.cleanup = Cleanup::Compact;
        spec.compaction_lag_ms = 100;
    });
    for wait_ms in [50, 50, 0] {
        append(&log, &[(Some("a"), Some("1"))]).expect("committed");
        env.advance_ms(wait_ms);
    }
    let clean = || log.clean_now().expect("cleaned");
    clean();
    assert_eq!(offsets(&log, 0), [0, 1, 2], "one is old enough");
    env.advance_ms(50);
    clean();
    assert_eq!(offsets(&log, 0), [1, 2]);
    append(&log, &[(Some("b"), None)]).expect("committed");
    env.advance_ms(100);
    clean();
    assert_eq!(offsets(&log, 0), [2, 3]);
    env.advance_ms(DELETE_RETENTION_MS + 1);
    clean();
    env.advance_ms(DELETE_RETENTION_MS + 1);
    append(&log, &[(Some("c"), Some("1"))]).expect("committed");
    clean();
    assert_eq!(
        offsets(&log, 0),
        [2, 4],
        "a tombstone goes though all that is new is young"
    );
}

#[test]
fn tombstones_stay_for_a_while_and_readers_pass_over_gaps() {
    let (env, log) = start(|spec| spec.cleanup = Cleanup::Compact);
    append(&log, &[(Some("a"), Some("1")), (Some("b"), Some("1"))]).expect("committed");
    append(&log, &[(Some("a"), None)]).expect("committed");
    append(&log, &[(Some("c"), Some("1")), (Some("b"), Some("2"))]).expect("committed");
    let mut behind = log.reader(1 << 20).expect("a reader");
    behind.assign(&[(at(0), 1)]).expect("assigned");
    log.clean_now().expect("cleaned");
    assert_eq!(offsets(&log, 0), [2, 3, 4], "the tombstone is young");
    env.advance_ms(DELETE_RETENTION_MS + 1);
    log.clean_now().expect("cleaned");
    assert_eq!(offsets(&log, 0), [3, 4]);
    assert_eq!(
        log.start_offset(&at(0)).expect("known"),
        0,
        "compaction does not move the start"
    );
    let fetched = behind.poll(1 << 20, Duration::ZERO).expect("readable");
    assert_eq!((fetched.len(), fetched[0].base_offset), (1, 3));
    assert_eq!(behind.position(&at(0)), Some(5));
}

/// Found by thought: by its age alone a tombstone may go in the very run that takes the value away.
#[test]
fn who_read_a_value_has_time_to_reach_its_tombstone_however_old_that_is() {
    for tail_bytes in [0, 1 << 20] {
        let env = ManualEnv::new(NOW_MS, 1);
        let path = directory();
        let settings = Settings {
            tail_bytes,
            housekeeping_interval_ms: NEVER_MS,
            ..settings(&path)
        };
        let log = EmbeddedLog::open(settings.clone(), env.clone()).expect("opens");
        let mut topic = TopicSpec::new("t", 1).with_cleanup(Cleanup::Compact);
        topic.delete_retention_ms = DELETE_RETENTION_MS;
        log.create_topics(&[topic]).expect("created");
        append(&log, &[(Some("a"), Some("1"))]).expect("committed");
        append(&log, &[(Some("a"), None)]).expect("committed");
        env.advance_ms(10 * DELETE_RETENTION_MS);
        let mut slow = log.reader(1 << 20).expect("a reader");
        slow.assign(&[(at(0), 0)]).expect("assigned");
        assert_eq!(slow.poll(1, Duration::ZERO).expect("read").len(), 1);
        log.clean_now().expect("cleaned");
        // From now on nobody reads the value, from memory either.
        assert_eq!(offsets(&log, 0), [1], "the value went, the tombstone not");
        env.advance_ms(DELETE_RETENTION_MS);
        log.clean_now().expect("cleaned");
        // The time is kept over a restart.
        drop((log, slow));
        let log = EmbeddedLog::open(settings, env.clone()).expect("opens");
        log.clean_now().expect("cleaned");
        assert_eq!(offsets(&log, 0), [1], "a slow reader has all that time");
        append(&log, &[(Some("b"), None)]).expect("committed");
        env.advance_ms(1);
        log.clean_now().expect("cleaned");
        assert_eq!(offsets(&log, 0), [2], "the other one is seen only now");
        env.advance_ms(DELETE_RETENTION_MS + 1);
        log.clean_now().expect("cleaned");
        assert!(offsets(&log, 0).is_empty());
    }
}

#[test]
fn a_clock_that_was_ahead_does_not_keep_tombstones() {
    let (env, log) = start(|spec| spec.cleanup = Cleanup::Compact);
    append(&log, &[(Some("a"), None)]).expect("committed");
    env.advance_ms(1_000_000_000);
    log.clean_now().expect("cleaned");
    env.advance_ms(-1_000_000_000);
    log.clean_now().expect("cleaned");
    assert_eq!(offsets(&log, 0), [0]);
    env.advance_ms(DELETE_RETENTION_MS + 1);
    log.clean_now().expect("cleaned");
    assert!(offsets(&log, 0).is_empty());
}

#[test]
fn a_reader_whose_rest_was_compacted_away_reaches_the_end() {
    let (env, log) = start(|spec| spec.cleanup = Cleanup::Compact);
    append(&log, &[(Some("a"), Some("1"))]).expect("committed");
    append(&log, &[(Some("a"), None)]).expect("committed");
    log.clean_now().expect("cleaned");
    env.advance_ms(DELETE_RETENTION_MS + 1);
    log.clean_now().expect("cleaned");
    let mut reader = log.reader(1 << 20).expect("a reader");
    reader.assign(&[(at(0), 0)]).expect("assigned");
    assert!(reader.poll(1, Duration::ZERO).expect("readable").is_empty());
    assert_eq!(
        reader.position(&at(0)),
        Some(2),
        "or a restore would never end"
    );
    assert_eq!(log.stats().bytes_stored, 0);
}

#[test]
fn a_large_purge_goes_in_steps() {
    let (_, log) = start(|_| ());
    let text = "x".repeat(1 << 20);
    for _ in 0..140 {
        append(&log, &[(None, Some(&text))]).expect("committed");
    }
    log.delete_records(&[(at(0), 135)]).expect("deleted");
    assert_eq!(log.start_offset(&at(0)).expect("known"), 135);
    assert_eq!(offsets(&log, 0), [135, 136, 137, 138, 139]);
    assert!(log.stats().bytes_stored < 6 << 20);
}

#[test]
fn housekeeping_compacts_what_is_half_new() {
    let env = SystemEnv::shared();
    let settings = Settings {
        housekeeping_interval_ms: 10,
        tail_bytes: 0,
        ..settings(&directory())
    };
    let log = EmbeddedLog::open(settings, env.clone()).expect("opens");
    let spec = TopicSpec::new("t", 1).with_cleanup(Cleanup::Compact);
    log.create_topics(&[spec]).expect("created");
    for value in ["1", "2", "3"] {
        append(&log, &[(Some("k"), Some(value))]).expect("committed");
    }
    assert!(eventually(&*env, || offsets(&log, 0) == [2]));
}

#[test]
fn housekeeping_works_by_itself() {
    let env = SystemEnv::shared();
    let settings = Settings {
        housekeeping_interval_ms: 10,
        ..settings(&directory())
    };
    let log = EmbeddedLog::open(settings, env.clone()).expect("opens");
    let mut spec = TopicSpec::new("t", 1);
    spec.retention_ms = Some(1);
    log.create_topics(&[spec]).expect("created");
    append(&log, &[(None, None)]).expect("committed");
    let moved = || log.start_offset(&at(0)).expect("known") == 1;
    assert!(eventually(&*env, moved));
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<(Option<char>, Option<u8>)>),
    Clean,
    Wait,
    Purge(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop::option::weighted(0.9, prop::char::range('a', 'd'));
    let record = (key, prop::option::weighted(0.8, any::<u8>()));
    prop_oneof![
        6 => prop::collection::vec(record, 1..6).prop_map(Step::Append),
        2 => Just(Step::Clean),
        1 => Just(Step::Wait),
        1 => any::<u8>().prop_map(Step::Purge),
    ]
}

type Entry = (Option<String>, Option<String>);

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever happens, the last value of each key above the start is unchanged, what is read was
    /// appended at that offset, and a clean log holds each key once.
    #[test]
    fn compaction_changes_no_table(steps in prop::collection::vec(step(), 1..25)) {
        let (env, log) = start(|spec| spec.cleanup = Cleanup::Compact);
        let mut appended: Vec<Entry> = Vec::new();
        let mut start = 0;
        for step in steps.into_iter().chain([Step::Clean]) {
            let cleaned = matches!(step, Step::Clean);
            match step {
                Step::Append(records) => {
                    let records: Vec<Entry> = records
                        .into_iter()
                        .map(|(key, value)| (key.map(String::from), value.map(|v| v.to_string())))
                        .collect();
                    let borrowed: Vec<_> =
                        records.iter().map(|(k, v)| (k.as_deref(), v.as_deref())).collect();
                    append(&log, &borrowed).expect("committed");
                    appended.extend(records);
                }
                Step::Clean => log.clean_now().expect("cleaned"),
                Step::Wait => env.advance_ms(DELETE_RETENTION_MS + 1),
                Step::Purge(part) => {
                    let until = appended.len() as i64 * i64::from(part) / 255;
                    log.delete_records(&[(at(0), until)]).expect("deleted");
                    start = start.max(until);
                }
            }
            prop_assert_eq!(log.start_offset(&at(0)).expect("known"), start);
            let end = log.end_offset(&at(0), Isolation::ReadCommitted).expect("known");
            prop_assert_eq!(end, appended.len() as i64);
            let mut wanted: BTreeMap<String, Entry> = BTreeMap::new();
            for entry in &appended[start as usize..] {
                if let Some(key) = &entry.0 {
                    wanted.insert(key.clone(), entry.clone());
                }
            }
            wanted.retain(|_, entry| entry.1.is_some());
            let mut found: BTreeMap<String, Entry> = BTreeMap::new();
            let mut keyed = 0;
            let mut before = start - 1;
            for (offset, key, value) in read(&log, 0) {
                prop_assert!(offset > before);
                before = offset;
                prop_assert_eq!(&appended[offset as usize], &(key.clone(), value.clone()));
                if let Some(key) = key {
                    keyed += 1;
                    found.insert(key.clone(), (Some(key), value));
                }
            }
            if cleaned {
                prop_assert_eq!(keyed, found.len(), "each key once");
            }
            found.retain(|_, entry| entry.1.is_some());
            prop_assert_eq!(found, wanted);
        }
    }
}
