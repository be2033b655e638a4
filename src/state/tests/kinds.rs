//! What each kind of store keeps to beyond the vectors.

use std::collections::BTreeMap;

use super::*;
use crate::batch::BatchBuilder;

fn session_spec(store_type: StoreType) -> StoreSpec {
    let rules = SessionRules { retention_ms: 100 };
    StoreSpec {
        store_type,
        ..of_kind("s", StoreKind::session(rules))
    }
}

/// Sessions as `key start-end`.
fn sessions(mut rows: SessionIter) -> String {
    let mut all = Vec::new();
    while let Some(row) = rows.next().expect("reads") {
        let key = String::from_utf8_lossy(row.key);
        all.push(format!("{key} {}-{}", row.start_ms, row.end_ms));
    }
    all.join(", ")
}

#[test]
fn ended_sessions_come_by_end_then_start_then_key_while_their_segment_lives() {
    Bench::on_both(&[session_spec(StoreType::Persistent)], |bench| {
        let store: SessionStore = bench.state.store("s").expect("is there");
        for (key, start, end) in [
            ("b", 5, 20),
            ("a", 7, 20),
            ("c", 5, 20),
            ("a", 1, 9),
            ("d", 8, 300),
        ] {
            let put = store.put(key.as_bytes(), start, end, b"x");
            assert_eq!(put.expect("puts"), Put::Stored);
        }
        Changelogs::default().commit(bench);
        let ended = store.find_ended(0, 20).expect("reads");
        assert_eq!(sessions(ended), "a 1-9, b 5-20, c 5-20, a 7-20");
        let live = store.find_all(0, i64::MAX, Direction::Forward);
        assert_eq!(sessions(live.expect("reads")), "d 8-300");
        store.put(b"a", 60_100, 120_100, b"x").expect("puts");
        assert_eq!(sessions(store.find_ended(0, 20).expect("reads")), "");
        Changelogs::default().commit(bench);
        assert_eq!(sessions(store.find_ended(0, 20).expect("reads")), "");
    });
}

#[test]
fn a_session_ends_after_it_starts_and_after_1970() {
    let bench = Bench::memory(&[session_spec(StoreType::Persistent)]);
    let store: SessionStore = bench.state.store("s").expect("is there");
    for (start, end) in [(-1, 5), (6, 5)] {
        let refused = store.put(b"k", start, end, b"x").expect_err("refused");
        assert_eq!(refused.kind(), crate::ErrorKind::User);
        assert!(store.remove(b"k", start, end).is_err());
        let none = store.fetch(b"k", start, end, |row| row.is_some());
        assert!(!none.expect("reads"));
    }
}

#[test]
fn longer_keys_are_not_among_the_sessions_of_a_key() {
    Bench::on_both(&[session_spec(StoreType::Persistent)], |bench| {
        let store: SessionStore = bench.state.store("s").expect("is there");
        // Between two rows of "a" in the order of bytes.
        let long = [&b"a"[..], &[0; 7], &[3], &[0; 8]].concat();
        for (key, start, end) in [(&b"a"[..], 1, 2), (&long, 3, 4), (b"a", 5, 1000)] {
            store.put(key, start, end, b"x").expect("puts");
        }
        let found = store.fetch_all(b"a").expect("reads");
        assert_eq!(sessions(found), "a 5-1000");
        store.set_floor_ms(0);
        let found = store.find_ended(0, 1000).expect("reads");
        assert_eq!(sessions(found).matches("a ").count(), 2);
    });
}

#[test]
fn the_changelogs_of_the_kinds_are_those_of_the_jvm() {
    let specs = [
        session_spec(StoreType::Persistent),
        of_kind("v", StoreKind::versioned(VersionedRules { history_ms: 50 })),
        of_kind("t", StoreKind::time_ordered_by_key()),
    ];
    Bench::on_both(&specs, |bench| {
        bench.state.time(TASK_TIME).set(77);
        let sessions: SessionStore = bench.state.store("s").expect("is there");
        sessions.put(b"k", 3, 9, b"row").expect("puts");
        let versions: VersionedStore = bench.state.store("v").expect("is there");
        for (value, at) in [(Some(&b"a"[..]), 10), (Some(b"b"), 30), (None, 20)] {
            versions.put(b"k", value, at).expect("puts");
        }
        let ordered: TimeOrderedStore = bench.state.store("t").expect("is there");
        ordered.put(5, b"k", Some(b"held")).expect("puts");
        let batches = bench.seal();
        let show = |store: usize| {
            let batch = batches[store].as_ref().expect("records");
            let mut cursor = batch.cursor(0);
            let mut all = Vec::new();
            while let Some(record) = cursor.next_record().expect("intact") {
                let (key, value) = (record.key.map(<[u8]>::to_vec), record.value);
                all.push((
                    key.expect("a key"),
                    value.map(<[u8]>::to_vec),
                    record.timestamp_ms,
                ));
            }
            all
        };
        let session = [&b"k"[..], &9i64.to_be_bytes(), &3i64.to_be_bytes()].concat();
        assert_eq!(show(0), [(session, Some(b"row".to_vec()), 9)]);
        let version = |value: Option<&[u8]>, at| (b"k".to_vec(), value.map(<[u8]>::to_vec), at);
        assert_eq!(
            show(1),
            [
                version(Some(b"a"), 10),
                version(Some(b"b"), 30),
                version(None, 20),
                // The newest once more, for compaction; the JVM leaves it to the lag.
                version(Some(b"b"), 30),
            ]
        );
        let held = [&5i64.to_be_bytes()[..], b"held"].concat();
        assert_eq!(show(2), [(b"k".to_vec(), Some(held), 77)]);
    });
}

#[test]
fn what_ended_before_the_history_leaves_the_disk_and_what_is_current_stays() {
    let rules = VersionedRules { history_ms: 50 };
    Bench::on_both(&[of_kind("v", StoreKind::versioned(rules))], |bench| {
        let store: VersionedStore = bench.state.store("v").expect("is there");
        let mut logs = Changelogs::default();
        store.put(b"old", Some(b"first"), 1).expect("puts");
        store.put(b"old", Some(b"second"), 2).expect("puts");
        store.put(b"gone", Some(b"x"), 3).expect("puts");
        store.put(b"gone", None, 4).expect("puts");
        store.put(b"never", None, 5).expect("puts");
        logs.commit(bench);
        let rows = |state: &TaskState| {
            let (from, to) = (Bound::Unbounded, Bound::Unbounded);
            let backend = state.backend.borrow();
            let mut scan = backend
                .scan(0, from, to, Direction::Forward)
                .expect("reads");
            let mut count = 0;
            while scan.next().expect("reads").is_some() {
                count += 1;
            }
            count
        };
        assert_eq!(rows(&bench.state), 4, "two ended, a deletion, one current");
        store.put(b"new", Some(b"x"), 200_000).expect("puts");
        logs.commit(bench);
        assert_eq!(rows(&bench.state), 2, "what is current");
        let since = |version: Option<Version<'_>>| version.map(|version| version.since_ms);
        assert_eq!(store.get(b"old", since).expect("reads"), Some(2));
        assert_eq!(store.get_as_of(b"old", 1, since).expect("reads"), None);
        let as_of = store.get_as_of(b"old", 199_950, since);
        assert_eq!(as_of.expect("reads"), Some(2));
        assert_eq!(bench.state.purge_before(0), None, "the current is far back");
    });
}

#[test]
fn a_compacted_changelog_has_the_newest_version_of_each_key() {
    let rules = VersionedRules { history_ms: 50 };
    Bench::on_both(&[of_kind("v", StoreKind::versioned(rules))], |bench| {
        let store: VersionedStore = bench.state.store("v").expect("is there");
        let mut logs = Changelogs::default();
        store.put(b"lives", Some(b"new"), 20).expect("puts");
        store.put(b"lives", Some(b"old"), 10).expect("puts");
        store.put(b"gone", Some(b"x"), 20).expect("puts");
        store.put(b"gone", None, 30).expect("puts");
        logs.commit(bench);
        store.put(b"gone", Some(b"late"), 10).expect("puts");
        logs.commit(bench);
        let mut last = BTreeMap::new();
        for (base, batch) in &logs.0[0] {
            let mut cursor = batch.cursor(*base);
            while let Some(record) = cursor.next_record().expect("intact") {
                let key = record.key.unwrap_or_default().to_vec();
                last.insert(key, (record.value.map(<[u8]>::to_vec), record.timestamp_ms));
            }
        }
        let mut compacted = BatchBuilder::default();
        for (key, (value, timestamp_ms)) in &last {
            compacted.push(Some(key), value.as_deref(), *timestamp_ms, &[]);
        }
        logs.0[0] = vec![(0, compacted.seal().expect("records"))];
        logs.restore(&mut bench.state, true, &[0, 1]);
        let store: VersionedStore = bench.state.store("v").expect("is there");
        let since = |version: Option<Version<'_>>| version.map(|version| version.since_ms);
        assert_eq!(store.get(b"lives", since).expect("reads"), Some(20));
        assert_eq!(store.get(b"gone", since).expect("reads"), None);
    });
}

#[test]
fn a_row_that_is_found_by_key_is_replaced_where_it_waits() {
    Bench::on_both(&[of_kind("t", StoreKind::time_ordered_by_key())], |bench| {
        let store: TimeOrderedStore = bench.state.store("t").expect("is there");
        assert_eq!(store.first_time_ms().expect("reads"), None);
        store.put(20, b"b", Some(b"1")).expect("puts");
        store.put(10, b"a", Some(b"2")).expect("puts");
        store.put(20, b"a2", Some(b"3")).expect("puts");
        assert_eq!(store.replace(b"b", b"4").expect("replaces"), Some(20));
        assert_eq!(store.replace(b"c", b"5").expect("replaces"), None);
        let mut logs = Changelogs::default();
        logs.commit(bench);
        // A move, a removal, and a restore that must know both.
        store.put(30, b"a", Some(b"6")).expect("puts");
        assert_eq!(store.remove(b"a2").expect("removes"), Some(20));
        assert_eq!(store.remove(b"a2").expect("removes"), None);
        logs.commit(bench);
        let before = bench.state.checksum().expect("reads");
        logs.restore(&mut bench.state, true, &[0, 1]);
        assert_eq!(bench.state.checksum().expect("reads"), before);
        let store: TimeOrderedStore = bench.state.store("t").expect("is there");
        let found = store.find(b"a", |found| found.map(|(at, row)| (at, row.to_vec())));
        assert_eq!(found.expect("reads"), Some((30, b"6".to_vec())));
        let (mut key, mut row) = (Vec::new(), Vec::new());
        let mut popped = Vec::new();
        while let Some(at) = store.pop(100, &mut key, &mut row).expect("pops") {
            popped.push((at, key.clone(), row.clone()));
        }
        assert_eq!(
            popped,
            [
                (20, b"b".to_vec(), b"4".to_vec()),
                (30, b"a".to_vec(), b"6".to_vec())
            ]
        );
        assert_eq!(store.first_time_ms().expect("reads"), None);
        assert!(!store.find(b"b", |found| found.is_some()).expect("reads"));
    });
}

#[test]
fn a_store_ordered_by_time_alone_reads_rows_of_a_key_value_store_as_before() {
    let place = tempfile::tempdir().expect("a directory");
    let before = [key_value("s", false)];
    let mut bench = Bench::memory(&before);
    bench.state = open_rocks(place.path(), &before, &identity()).expect("opens");
    let store = TimeOrderedStore::new(bench.state.key_value("s").expect("is there"));
    store.put(5, b"k", Some(b"row")).expect("puts");
    Changelogs::default().commit(&mut bench);
    bench.state.flush().expect("flushes");
    drop((store, bench));
    let after = [of_kind("s", StoreKind::time_ordered())];
    let state = open_rocks(place.path(), &after, &identity()).expect("opens");
    let store: TimeOrderedStore = state.store("s").expect("is there");
    assert_eq!(store.first_time_ms().expect("reads"), Some(5));
    assert!(store.find(b"k", |_| ()).is_err(), "not found by key");
}

#[test]
fn rows_with_headers_come_back_from_the_changelog() {
    let spec = StoreSpec {
        row: RowForm::TimestampedWithHeaders,
        ..key_value("s", true)
    };
    Bench::on_both(&[spec], |bench| {
        let mut headers = crate::base::Headers::default();
        headers.add("from", Some(b"x".to_vec()));
        let mut row = Vec::new();
        row::begin_with_headers(12, &headers, &mut row);
        row.extend_from_slice(b"value");
        let store = bench.state.key_value("s").expect("is there");
        store.put(b"k", Some(&row)).expect("puts");
        let mut logs = Changelogs::default();
        let batches = bench.seal();
        let mut cursor = batches[0].as_ref().expect("a record").cursor(0);
        let record = cursor.next_record().expect("intact").expect("one");
        assert_eq!(
            (record.value, record.timestamp_ms),
            (Some(&b"value"[..]), 12)
        );
        assert_eq!(record.headers().expect("intact"), headers);
        let ends = logs.append(batches);
        bench.state.applied(&ends).expect("applies");
        logs.restore(&mut bench.state, true, &[0, 1]);
        let store = bench.state.key_value("s").expect("is there");
        let found = store.get(b"k", |row| row.map(<[u8]>::to_vec));
        assert_eq!(found.expect("reads"), Some(row));
    });
}

#[test]
fn a_store_over_its_source_topic_logs_nothing_and_is_restored_from_there() {
    let spec = StoreSpec {
        changelog: Changelog::Source("users".into()),
        ..key_value("s", true)
    };
    assert_eq!(spec.changelog_topic("app"), "users");
    assert!(spec.is_restored() && !spec.is_logged());
    let mut bench = Bench::memory(std::slice::from_ref(&spec));
    let store = bench.state.key_value("s").expect("is there");
    write(&store, "a", "12345678old");
    assert!(bench.seal()[0].is_none(), "the topic has it already");
    bench.state.applied(&[Some(1), None]).expect("applies");
    assert_eq!(bench.state.position(0), Some(1), "as the runtime says");
    let mut source = BatchBuilder::default();
    source.push(None, Some(b"passed over"), 1, &[]);
    source.push(Some(b"a"), Some(b"new"), 7, &[]);
    source.push(Some(b"b"), Some(b"x"), 8, &[]);
    source.push(Some(b"b"), None, 9, &[]);
    let mut logs = Changelogs::default();
    logs.append(vec![source.seal(), None]);
    logs.restore(&mut bench.state, true, &[0]);
    let store = bench.state.key_value("s").expect("is there");
    let row = [&7i64.to_be_bytes()[..], b"new"].concat();
    assert_eq!(everything(&store), [(b"a".to_vec(), row)]);
}

#[test]
fn a_store_is_asked_for_by_the_type_of_its_handle() {
    let rules = SessionRules { retention_ms: 100 };
    let bench = Bench::memory(&[of_kind("s", StoreKind::session(rules))]);
    assert!(bench.state.store::<SessionStore>("s").is_ok());
    let error = bench.state.key_value("s").expect_err("refused");
    let message = error.message();
    assert!(
        message.contains("session store") && message.contains("KeyValueStore"),
        "{message}"
    );
}
