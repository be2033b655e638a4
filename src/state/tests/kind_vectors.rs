//! The conformance vectors of session, versioned and LRU stores, run against the stores themselves.

use serde_json::Value;

use super::vectors::{scripts, text};
use super::*;
use crate::state::kinds::lru::LruStore;

/// A step of a script.
struct Put<'a> {
    key: &'a str,
    value: Option<&'a str>,
    timestamp_ms: i64,
}

impl Put<'_> {
    fn row(&self) -> Option<&[u8]> {
        self.value.map(str::as_bytes)
    }
}

/// Runs a script: `process` does a step, counts what it dropped, and gives what the processor forwards.
fn run(
    script: &Value,
    bench: &mut Bench,
    steps_per_commit: usize,
    process: impl Fn(&TaskState, &Put<'_>, &mut i64) -> String,
) {
    let name = script["name"].as_str().expect("a name");
    let (mut logs, mut dropped) = (Changelogs::default(), 0);
    let expected = script["expect"].as_array().expect("outputs");
    let steps = script["steps"].as_array().expect("steps");
    for (number, step) in steps.iter().enumerate() {
        let Some(key) = step["key"].as_str() else {
            continue;
        };
        let put = Put {
            key,
            value: step["value"].as_str(),
            timestamp_ms: step["ts"].as_i64().expect("a time"),
        };
        let found = process(&bench.state, &put, &mut dropped);
        let wanted = expected.iter().find(|out| out["after_step"] == number);
        let wanted = wanted.expect("one output a step")["value"].as_str();
        assert_eq!(Some(&found[..]), wanted, "{name}, step {number}");
        if number % steps_per_commit == 0 {
            logs.commit(bench);
        }
        if number % 40 == 39 {
            logs.commit(bench);
            // In turns: from the disk, and from the changelogs alone.
            match number % 80 == 39 {
                true => bench.reopen(),
                false => logs.restore(&mut bench.state, true, &[0, 1]),
            }
        }
    }
    assert_eq!(script["dropped"], dropped, "{name}");
    let Some(wanted) = script["stores"].get("store") else {
        return;
    };
    let mut found = Vec::new();
    let each = bench.state.each_row("store", |row| {
        let key = match row.window {
            Some((start, end)) => format!("{}@{start}-{end}", text(row.key)),
            None => text(row.key),
        };
        let since = row.since_ms.map_or("null".to_owned(), |ms| ms.to_string());
        let order = (text(row.key), row.window);
        found.push((order, format!("{key}={} {since}", text(row.row))));
        Ok(())
    });
    each.expect("reads");
    found.sort_by(|one, other| one.0.cmp(&other.0));
    let found: Vec<_> = found.into_iter().map(|(_, row)| row).collect();
    let wanted = wanted.as_array().expect("rows").iter().map(|row| {
        let value = row["value"].as_str().expect("a value");
        let key = match &row["key"] {
            Value::String(key) => key.clone(),
            windowed => format!(
                "{}@{}-{}",
                windowed["key"].as_str().expect("a key"),
                windowed["start"],
                windowed["end"]
            ),
        };
        format!("{key}={value} {}", row["ts"])
    });
    assert_eq!(found, wanted.collect::<Vec<_>>(), "{name}");
}

fn sessions(mut rows: SessionIter) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(row) = rows.next().expect("reads") {
        let (start, end) = (row.start_ms, row.end_ms);
        all.push(format!("{}@{start}-{end}={}", text(row.key), text(row.row)));
    }
    all
}

/// What `Processors.SessionScan` forwards.
fn scan(state: &TaskState, put: &Put<'_>, dropped: &mut i64) -> String {
    let store: SessionStore = state.store("store").expect("is there");
    let key = put.key.as_bytes();
    let (start, end) = (put.timestamp_ms, put.timestamp_ms + 4);
    match put.row() {
        None => store.remove(key, start, end).expect("removes"),
        Some(row) => {
            let put = store.put(key, start, end, row).expect("puts");
            *dropped += i64::from(put == super::Put::Expired);
        }
    }
    let (from, to) = ((start - 10).max(0), start + 5);
    let of_key = store.find_sessions(key, from, to, Direction::Forward);
    let of_key = sessions(of_key.expect("reads"));
    let back = store.find_sessions(key, from, to, Direction::Backward);
    let mut back = sessions(back.expect("reads"));
    back.reverse();
    assert_eq!(back, of_key, "the other direction");
    let range = store.find_all(from, to, Direction::Forward);
    let mut range = sessions(range.expect("reads"));
    range.retain(|row| row.as_str() >= "a" && row.as_str() < "c@~");
    let exact = store.fetch(key, start, end, |row| row.map(text));
    format!(
        "key={{{}}} range={{{}}} exact={}",
        of_key.join(","),
        range.join(","),
        exact.expect("reads").as_deref().unwrap_or("null"),
    )
}

/// What `Processors.VersionedProbe` forwards.
fn probe(state: &TaskState, put: &Put<'_>, dropped: &mut i64) -> String {
    let store: VersionedStore = state.store("store").expect("is there");
    let (key, at) = (put.key.as_bytes(), put.timestamp_ms);
    let show = |version: Option<Version<'_>>| match version {
        // Typed stores of Kafka Streams leave out until when a version is valid.
        Some(version) => format!("{}[{},)", text(version.row), version.since_ms),
        None => "null".to_owned(),
    };
    let as_of = |at| store.get_as_of(key, at, show).expect("reads");
    let before = as_of(at);
    let stored = store.put(key, put.row(), at).expect("puts");
    *dropped += i64::from(stored == VersionedPut::Expired);
    let outcome = match (put.value, stored) {
        (None, _) => format!("deleted={before}"),
        (Some(_), VersionedPut::Stored(until)) => format!("put={}", until.unwrap_or(-1)),
        (Some(_), VersionedPut::Expired) => format!("put={}", i64::MIN),
    };
    let latest = store.get(key, show).expect("reads");
    let (five, twenty) = (as_of((at - 5).max(0)), as_of((at - 20).max(0)));
    format!("{outcome} latest={latest} 5={five} 20={twenty}")
}

/// What `Processors.LruProbe` forwards.
fn use_lru(state: &TaskState, put: &Put<'_>, _dropped: &mut i64) -> String {
    let store: LruStore = state.store("store").expect("is there");
    if put.value == Some("?") {
        let got = store.get(put.key.as_bytes(), |row| row.map(text));
        return format!("got={}", got.expect("reads").as_deref().unwrap_or("null"));
    }
    store.put(put.key.as_bytes(), put.row()).expect("puts");
    "put".to_owned()
}

#[test]
fn session_stores_do_what_those_of_kafka_streams_do() {
    for (file, store_type) in [
        ("store-session", StoreType::Persistent),
        ("store-session-in-memory", StoreType::InMemory),
    ] {
        let rules = SessionRules { retention_ms: 100 };
        let spec = StoreSpec {
            store_type,
            ..of_kind("store", StoreKind::session(rules))
        };
        for script in scripts(file) {
            for steps_per_commit in [1, 7, 1000] {
                let check = |bench: &mut Bench| run(&script, bench, steps_per_commit, scan);
                Bench::on_both(std::slice::from_ref(&spec), check);
            }
        }
    }
}

#[test]
fn versioned_stores_do_what_those_of_kafka_streams_do() {
    for file in ["store-versioned", "store-versioned-segments"] {
        let rules = VersionedRules { history_ms: 50 };
        let spec = of_kind("store", StoreKind::versioned(rules));
        for script in scripts(file) {
            for steps_per_commit in [1, 7, 1000] {
                let check = |bench: &mut Bench| run(&script, bench, steps_per_commit, probe);
                Bench::on_both(std::slice::from_ref(&spec), check);
            }
        }
    }
}

#[test]
fn lru_stores_do_what_those_of_kafka_streams_do() {
    let spec = StoreSpec {
        store_type: StoreType::InMemory,
        ..of_kind("store", StoreKind::lru(2))
    };
    for script in scripts("store-lru") {
        // In which order rows were used does not survive a restart, so that there is none.
        let mut short = script.clone();
        let steps = short["steps"].as_array_mut().expect("steps");
        steps.truncate(39);
        for steps_per_commit in [1, 7, 1000] {
            let check = |bench: &mut Bench| run(&short, bench, steps_per_commit, use_lru);
            Bench::on_both(std::slice::from_ref(&spec), check);
        }
    }
}
