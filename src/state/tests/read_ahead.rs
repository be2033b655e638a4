//! Rows that were read ahead are believed only while nothing newer can be known.

use super::super::read_ahead::WantedKeys;
use super::*;

fn specs() -> Vec<StoreSpec> {
    vec![key_value("rows", false)]
}

const CACHE_BYTES: usize = 1 << 20;

/// What is known of these keys is asked of RocksDB.
fn forget(bench: &Bench) {
    bench.state.set_cache_bytes(0);
    bench.state.set_cache_bytes(CACHE_BYTES);
}

fn wanted(store: &KeyValueStore, keys: &[&str]) -> WantedKeys {
    let mut wanted = WantedKeys::default();
    keys.iter()
        .for_each(|key| store.want(key.as_bytes(), &mut wanted));
    wanted
}

fn with_rows(rows: &[(&str, &str)]) -> (Bench, Changelogs, KeyValueStore) {
    let mut bench = Bench::rocks(&specs());
    bench.state.set_cache_bytes(CACHE_BYTES);
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

/// A store whose cache is full of small rows, and the keys of as many others, of a size.
fn with_full_cache(others: usize, row_len: usize) -> (Bench, KeyValueStore, Vec<String>) {
    let mut bench = Bench::rocks(&specs());
    let mut changelogs = Changelogs::default();
    let store = bench.state.key_value("rows").expect("a store");
    let others: Vec<String> = (0..others).map(|n| format!("other-{n:05}")).collect();
    let row = "x".repeat(row_len);
    others.iter().for_each(|key| write(&store, key, &row));
    let small: Vec<String> = (0..10_000).map(|n| format!("small-{n:05}")).collect();
    small.iter().for_each(|key| write(&store, key, "1"));
    changelogs.commit(&mut bench);
    forget(&bench);
    for key in &small {
        assert_eq!(read(&store, key), Some("1".into()));
    }
    assert!(clean_bytes(&store) > CACHE_BYTES / 10 * 9, "it is full");
    (bench, store, others)
}

/// What clean rows take, without those that are on their way.
fn clean_bytes(store: &KeyValueStore) -> usize {
    store.table().borrow().clean_bytes
}

#[test]
fn what_is_on_its_way_is_a_part_of_the_cache() {
    let (bench, store, keys) = with_full_cache(1_024, 200);
    let mut ahead = Vec::new();
    for (number, keys) in keys.chunks(256).enumerate() {
        assert!(store.reads_ahead().is_some(), "{number}");
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let input = number % 2;
        let rows = store.read_for(wanted(&store, &keys), input, 3);
        ahead.push(rows.expect("rows"));
    }
    assert!(
        store.reads_ahead().is_none(),
        "of no input, until there is room"
    );
    ahead.iter().for_each(|rows| rows.read_all());
    let held = || ahead.iter().map(|rows| rows.held_bytes()).sum::<usize>();
    assert!(held() > CACHE_BYTES / 5, "{}", held());
    assert!(clean_bytes(&store) + held() <= CACHE_BYTES, "{}", held());
    assert!(bench.state.cached_bytes() >= clean_bytes(&store) + held());
    for key in &keys {
        assert_eq!(read(&store, key), Some("x".repeat(200)));
        assert!(clean_bytes(&store) + held() <= CACHE_BYTES, "{}", held());
    }
    assert_eq!(store.loads(), 10_000, "those of the small rows");
    assert_eq!(held(), 0, "all of it was taken");
    assert!(store.reads_ahead().is_some());
}

#[test]
fn rows_larger_than_those_that_are_known_stay_below_the_limit() {
    let (bench, store, keys) = with_full_cache(64, 20_000);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let ahead = store.read_for(wanted(&store, &keys), 0, 3).expect("rows");
    ahead.read_all();
    let held = ahead.held_bytes();
    assert!((40_000..=CACHE_BYTES / 16).contains(&held), "{held}");
    assert!(bench.state.cached_bytes() <= CACHE_BYTES);
    for key in keys {
        assert_eq!(read(&store, key), Some("x".repeat(20_000)));
    }
    assert_eq!(store.loads(), 10_000 + 64 - 3, "three came ahead");
}

#[test]
fn what_nobody_wants_any_more_takes_no_memory() {
    let (bench, store, keys) = with_full_cache(200, 200);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let ahead = store.read_for(wanted(&store, &keys), 0, 3).expect("rows");
    ahead.read_all();
    assert!(ahead.held_bytes() > 40_000);
    store.pass(0, 4);
    assert_eq!(ahead.held_bytes(), 0);
    assert_eq!(bench.state.cached_bytes(), clean_bytes(&store));
}

#[test]
fn keys_that_are_noted_are_a_part_of_the_cache_too() {
    let (mut bench, store, keys) = with_full_cache(64, 10);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let ahead = store.read_for(wanted(&store, &keys), 0, 3).expect("rows");
    let before = bench.state.cached_bytes() - clean_bytes(&store);
    let mut changelogs = Changelogs::default();
    for number in 0..10_000 {
        write(&store, &format!("small-{number:05}"), "2");
    }
    changelogs.commit(&mut bench);
    let after = bench.state.cached_bytes() - clean_bytes(&store);
    assert!((40_000..50_000).contains(&(after - before)), "{after}");
    for number in 0..20_000 {
        write(&store, &format!("small-{number:05}"), "3");
    }
    changelogs.commit(&mut bench);
    ahead.read_all();
    assert_eq!(ahead.answered(), 0, "too many notes: nothing is expected");
    assert_eq!(bench.state.cached_bytes(), clean_bytes(&store));
}
