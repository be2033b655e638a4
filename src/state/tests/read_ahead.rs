//! Rows that were read ahead are believed only while nothing newer can be known.

use super::super::read_ahead::WantedKeys;
use super::*;

fn specs() -> Vec<StoreSpec> {
    vec![key_value("rows", false)]
}

/// What is known of these keys is asked of RocksDB.
fn forget(bench: &Bench) {
    bench.state.set_cache_bytes(0);
    bench.state.set_cache_bytes(1 << 20);
}

fn wanted(store: &KeyValueStore, keys: &[&str]) -> WantedKeys {
    let mut wanted = WantedKeys::default();
    keys.iter()
        .for_each(|key| store.want(key.as_bytes(), &mut wanted));
    wanted
}

fn with_rows(rows: &[(&str, &str)]) -> (Bench, Changelogs, KeyValueStore) {
    let mut bench = Bench::rocks(&specs());
    bench.state.set_cache_bytes(1 << 20);
    let mut changelogs = Changelogs::default();
    let store = bench.state.key_value("rows").expect("a store");
    for (key, row) in rows {
        write(&store, key, row);
    }
    changelogs.commit(&mut bench);
    forget(&bench);
    (bench, changelogs, store)
}

#[test]
fn rows_that_were_read_ahead_are_not_read_again() {
    let (_bench, _, store) = with_rows(&[("a", "1"), ("b", "2")]);
    let ahead = store.read_for(wanted(&store, &["c", "b", "a", "b"]), 0, 3);
    ahead.expect("a backend that reads ahead").read_all();
    assert_eq!(read(&store, "b"), Some("2".into()));
    assert_eq!(read(&store, "a"), Some("1".into()));
    assert_eq!(read(&store, "c"), None);
    assert_eq!(store.loads(), 0);
    assert_eq!(
        wanted(&store, &["a", "b", "c", "d"]).len(),
        1,
        "the rest is known"
    );
}

#[test]
fn a_row_that_was_written_since_is_not_replaced() {
    let (_bench, _, store) = with_rows(&[("a", "1"), ("b", "2")]);
    let ahead = store.read_for(wanted(&store, &["a", "b"]), 0, 3);
    ahead.expect("rows").read_all();
    store.put(b"a", Some(b"new")).expect("writes");
    assert_eq!(read(&store, "b"), Some("2".into()), "answers are taken");
    assert_eq!(read(&store, "a"), Some("new".into()));
}

#[test]
fn a_row_that_was_committed_and_forgotten_since_is_read_again() {
    let (mut bench, mut changelogs, store) = with_rows(&[("a", "1"), ("b", "2")]);
    let ahead = store.read_for(wanted(&store, &["a", "b"]), 0, 3);
    ahead.expect("rows").read_all();
    store.put(b"a", Some(b"new")).expect("writes");
    changelogs.commit(&mut bench);
    forget(&bench);
    assert_eq!(read(&store, "a"), Some("new".into()));
    assert_eq!(read(&store, "b"), Some("2".into()));
    assert_eq!(store.loads(), 1, "of `b` nothing newer was committed");
}

#[test]
fn after_a_rollback_nothing_is_expected() {
    let (mut bench, _, store) = with_rows(&[("a", "1")]);
    let ahead = store.read_for(wanted(&store, &["a"]), 0, 3).expect("rows");
    bench.state.rollback().expect("rolls back");
    ahead.read_all();
    assert_eq!(ahead.answered(), 0, "nobody wants it");
    assert_eq!(store.pass(0, 0), 0);
    assert_eq!(read(&store, "a"), Some("1".into()));
}

#[test]
fn records_that_are_done_expect_nothing() {
    let (_bench, _, store) = with_rows(&[("a", "1")]);
    for last in [3, 5] {
        store.read_for(wanted(&store, &["a"]), 0, last);
    }
    assert_eq!(store.pass(1, 9), 0, "of another input");
    assert_eq!(store.pass(0, 3), 2);
    assert_eq!(store.pass(0, 4), 1);
    assert_eq!(store.pass(0, 6), 0);
}

#[test]
fn what_is_read_ahead_does_not_keep_a_directory_open() {
    let (mut bench, _, store) = with_rows(&[("a", "1")]);
    let ahead = store.read_for(wanted(&store, &["a"]), 0, 3);
    bench.reopen();
    ahead.expect("rows").read_all();
    let store = bench.state.key_value("rows").expect("a store");
    assert_eq!(read(&store, "a"), Some("1".into()));
}
