//! The conformance vectors of window stores, run against the store itself.

use serde_json::Value;

use super::*;

fn pairs(mut rows: WindowIter, windowed: bool) -> String {
    let mut all = Vec::new();
    while let Some(row) = rows.next().expect("reads") {
        let (key, value) = (text(row.key), text(row.row));
        let start = row.start_ms;
        all.push(match windowed {
            true => format!("{key}@{start}-{}={value}", start + 10),
            false => format!("{start}={value}"),
        });
    }
    all.join(",")
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What `Processors.WindowScan` forwards after its put.
fn scan(store: &WindowStore, key: &str, timestamp_ms: i64) -> String {
    let bytes = key.as_bytes();
    let (from, to) = ((timestamp_ms - 10).max(0), timestamp_ms + 10);
    let one = store.fetch_range(bytes, from, to).expect("reads");
    // The vectors' ranges of keys go from a to c, and longer keys are not among theirs.
    let all = store
        .fetch_all(from, to, Direction::Forward)
        .expect("reads");
    let all = pairs(all, true);
    let range: Vec<_> = all
        .split(',')
        .filter(|row| *row < "c@~" && *row >= "a")
        .collect();
    let back = store.fetch_range_toward(bytes, from, to, Direction::Backward);
    let first = store
        .fetch(bytes, from, |row| row.map(text))
        .expect("reads");
    format!(
        "key={{{}}} range={{{}}} back={{{}}} first={}",
        pairs(one, false),
        range.join(","),
        pairs(back.expect("reads"), false),
        first.as_deref().unwrap_or("null"),
    )
}

fn rows_wanted(rows: &Value) -> Vec<String> {
    let row = |row: &Value| {
        let (key, start) = (row["key"]["key"].as_str(), row["key"]["start"].as_i64());
        let value = row["value"].as_str().expect("a value");
        format!(
            "{}@{}={value}",
            key.expect("a key"),
            start.expect("a start")
        )
    };
    rows.as_array().expect("rows").iter().map(row).collect()
}

fn run(script: &Value, bench: &mut Bench, steps_per_commit: usize) {
    let name = script["name"].as_str().expect("a name");
    let mut store = bench.state.window("store").expect("is there");
    let mut logs = Changelogs::default();
    let mut dropped = 0;
    for (number, step) in script["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .enumerate()
    {
        let Some(key) = step["key"].as_str() else {
            continue;
        };
        let timestamp_ms = step["ts"].as_i64().expect("a time");
        let row = step["value"].as_str().map(str::as_bytes);
        let put = store.put(key.as_bytes(), timestamp_ms, row).expect("puts");
        dropped += i64::from(put == Put::Expired);
        let expected = script["expect"].as_array().expect("outputs");
        let wanted = expected.iter().find(|out| out["after_step"] == number);
        let wanted = wanted.expect("one output a step")["value"].as_str();
        assert_eq!(
            Some(&scan(&store, key, timestamp_ms)[..]),
            wanted,
            "{name}, step {number}"
        );
        if number % steps_per_commit == 0 {
            logs.commit(bench);
        }
        if number % 40 == 39 {
            logs.commit(bench);
            bench.reopen();
            store = bench.state.window("store").expect("is there");
        }
    }
    let found = show(store.all().expect("reads"));
    let mut found: Vec<String> = found.split_terminator(' ').map(str::to_owned).collect();
    // Stable, as the vectors': by key, then start; equal ones keep the store's order.
    let place = |row: &String| {
        let (key, rest) = row.split_once('@').expect("a key");
        let (start, _) = rest.split_once('=').expect("a start");
        (key.to_owned(), start.parse::<i64>().expect("a number"))
    };
    found.sort_by_key(place);
    assert_eq!(found, rows_wanted(&script["stores"]["store"]), "{name}");
    assert_eq!(script["dropped"], dropped, "{name}");
}

/// The scripts of a topology.
pub(super) fn scripts(file: &str) -> Vec<Value> {
    let path = format!(
        "{}/tests/conformance/{file}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let vectors = std::fs::read_to_string(&path).expect("the vectors are in the checkout");
    let mut vectors: Value = serde_json::from_str(&vectors).expect("JSON");
    let scripts = vectors["scripts"].take();
    let Value::Array(scripts) = scripts else {
        panic!("{file} has no scripts");
    };
    assert!(!scripts.is_empty());
    scripts
}

#[test]
fn window_stores_do_what_those_of_kafka_streams_do() {
    for (file, store_type, duplicates) in [
        ("store-window", StoreType::Persistent, false),
        ("store-window-in-memory", StoreType::InMemory, false),
        ("store-window-in-memory-found", StoreType::InMemory, false),
        ("store-window-duplicates", StoreType::Persistent, true),
    ] {
        for script in scripts(file) {
            for steps_per_commit in [1, 7, 1000] {
                Bench::on_both(&[window("store", store_type, duplicates)], |bench| {
                    run(&script, bench, steps_per_commit);
                });
            }
        }
    }
}
