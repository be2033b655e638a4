//! Queries of the kinds of stores that not every topology has: versioned, LRU and global ones.

use std::sync::Arc;
use std::time::Duration;

use marea::admin::ServedStores;
use marea::codec::{I64, Utf8};
use marea::prelude::*;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::client::PATIENCE;
use crate::counting::Instance;

/// Keeps the last value of the three keys that were written last.
struct Remember;

impl Processor for Remember {
    type KeyIn = String;
    type ValueIn = i64;
    type KeyOut = String;
    type ValueOut = i64;

    fn process(
        &mut self,
        record: Record<String, i64>,
        context: &mut ProcessorContext<'_, String, i64>,
    ) -> marea::Result<()> {
        let recent = context.store::<LruStore<String, i64>>("recent")?;
        recent.put(&record.key, &record.value)
    }
}

fn topology() -> Topology {
    let builder = StreamBuilder::new();
    let versioned = Materialized::named("prices").versioned(Duration::from_secs(3_600));
    builder.table::<String, f64>("prices-in", versioned);
    // No stream joins with it: it is there to be queried.
    let _names = builder.global_table::<String, String>("names-in", "names");
    builder.add_store(Stores::lru("recent", Utf8, I64, 3));
    let _forwards_nothing = builder
        .stream::<String, i64>("readings")
        .process(|| Remember, Processed::named("remember").stores(["recent"]));
    builder.build().expect("a topology")
}

fn log() -> Arc<dyn Log> {
    let log = marea::open("memory:").expect("a log");
    let topics = ["prices-in", "names-in", "readings"].map(|name| TopicSpec::new(name, 1));
    log.create_topics(&topics).expect("topics");
    log
}

fn all(stores: ServedStores) -> ServedStores {
    let stores = stores.versioned::<String, f64>("prices").expect("prices");
    let stores = stores.key_value::<String, i64>("recent").expect("recent");
    let stores = stores.key_value::<String, String>("names");
    stores.expect("names")
}

async fn start(log: &Arc<dyn Log>) -> Instance {
    Instance::start_of(topology(), "kinds", log, all).await
}

/// Sends a value and returns the position after it.
fn send<V: OwnCodec>(
    log: &Arc<dyn Log>,
    topic: &str,
    key: &str,
    value: V,
    timestamp_ms: i64,
) -> String {
    let mut producer = log.producer::<String, V>(topic).expect("a producer");
    let record = Record::new(key.to_owned(), value, timestamp_ms);
    let (partition, position) = producer.send_record(&record).expect("sent").position();
    format!("{partition}:{position}")
}

/// The reason for a refusal.
async fn refused(instance: &Instance, path: &str, status: u16) -> String {
    let answer = instance.get(path).await;
    assert_eq!(answer.status, status, "{path}: {answer:?}");
    let error = answer.json()["error"].as_str().map(str::to_owned);
    error.unwrap_or_else(|| answer.body.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_versioned_store_says_what_a_key_was_at_a_time() {
    let log = log();
    let instance = start(&log).await;
    send(&log, "prices-in", "wheat", 2.5, 1_000);
    let position = send(&log, "prices-in", "wheat", 2.7, 3_000);
    let newest = instance.row("prices", "wheat", &position).await;
    let version = |row: &Value| {
        let numbers = ["value", "timestamp_ms", "valid_to_ms"].map(|field| row[field].clone());
        (numbers, row["key"].clone())
    };
    let wheat = json!("wheat");
    let expected = ([json!(2.7), json!(3_000), Value::Null], wheat.clone());
    assert_eq!(version(&newest), expected);
    let path = "/stores/prices/key/%22wheat%22";
    for (as_of_ms, value, from_ms, to_ms) in [
        (1_000, 2.5, 1_000, json!(3_000)),
        (2_999, 2.5, 1_000, json!(3_000)),
        (3_000, 2.7, 3_000, Value::Null),
        (i64::MAX, 2.7, 3_000, Value::Null),
    ] {
        let answer = instance.get(&format!("{path}?as_of_ms={as_of_ms}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("marea-position"), position);
        let expected = ([json!(value), json!(from_ms), to_ms], wheat.clone());
        assert_eq!(version(&answer.json()), expected, "{as_of_ms}");
    }
    for missing in [
        "/stores/prices/key/%22wheat%22?as_of_ms=999",
        "/stores/prices/key/%22rye%22?as_of_ms=2000",
        "/stores/prices/key/%22rye%22",
    ] {
        let why = refused(&instance, missing, 404).await;
        assert!(why.contains("has no row for this key"), "{why}");
    }
    for (path, reason) in [
        ("/stores/prices/rows", "with `as_of_ms`"),
        (
            "/stores/prices/key/%22wheat%22?from_ms=0",
            "are for windows and sessions",
        ),
        ("/stores/prices/key/%22wheat%22?as_of_ms=noon", "as_of_ms"),
        (
            "/stores/recent/rows?as_of_ms=0",
            "`as_of_ms` is for versioned",
        ),
        ("/stores/recent/rows?from_ms=0", "`from_ms` and `to_ms`"),
        (
            "/stores/recent/key/%22a%22?prefix=a",
            "`prefix` is for lists",
        ),
        (
            "/stores/recent/key/%22a%22?as_of_ms=0",
            "is for versioned stores",
        ),
        (
            "/stores/recent/key/%22a%22?to_ms=0",
            "are for windows and sessions",
        ),
    ] {
        let why = refused(&instance, path, 400).await;
        assert!(why.contains(reason), "{path}: {why}");
    }
    // A deletion is a version, too.
    let gone = send::<Option<f64>>(&log, "prices-in", "wheat", None, 5_000);
    let path = format!("{path}?at_least={gone}&wait_ms=30000");
    assert_eq!(instance.get_patiently(&path).await.status, 404);
    let before = instance.get(&format!("{path}&as_of_ms=4999")).await.json();
    let expected = ([json!(2.7), json!(3_000), json!(5_000)], wheat);
    assert_eq!(version(&before), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_an_lru_store_counts_as_no_use() {
    let log = log();
    let instance = start(&log).await;
    let mut position = String::new();
    for (number, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
        position = send(&log, "readings", key, number as i64, 1_000);
    }
    let row = instance.row("recent", "b", &position).await;
    assert_eq!((&row["key"], &row["value"]), (&json!("b"), &json!(1)));
    assert_eq!(row["timestamp_ms"], Value::Null, "it keeps none");
    let why = refused(&instance, "/stores/recent/key/%22a%22", 404).await;
    assert!(why.contains("has no row for this key"), "{why}");
    let first = instance.get("/stores/recent/rows?limit=2").await.json();
    let keys = |page: &Value| {
        let rows = page["rows"].as_array().expect("rows").iter();
        rows.map(|row| row["key"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&first), ["b", "c"]);
    let next = first["next"].as_str().expect("there are more");
    let second = instance
        .get(&format!("/stores/recent/rows?after={next}"))
        .await;
    assert_eq!(keys(&second.json()), ["d"]);
    assert_eq!(second.json()["next"], Value::Null);
    // Of b, c and d the first is used least, although it was read.
    let position = send(&log, "readings", "e", 4_i64, 1_000);
    instance.row("recent", "e", &position).await;
    refused(&instance, "/stores/recent/key/%22b%22", 404).await;
}

/// The answer of an instance about a name, once it is as wanted: it is not told when a global store has read a record.
async fn until_named(instance: &Instance, key: &str, status: u16) -> Value {
    let path = format!("/stores/names/key/%22{key}%22");
    let named = async {
        loop {
            let answer = instance.get(&path).await;
            if answer.status == status {
                return answer.json();
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, named).await.expect("named in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_instance_answers_for_a_global_store() {
    let log = log();
    send(&log, "names-in", "pac", "Pacific".to_owned(), 1_000);
    let pair = [start(&log).await, start(&log).await];
    for instance in &pair {
        // What was there at the start is there with the first answer.
        let answer = instance.get("/stores/names/key/%22pac%22").await;
        let expected = json!({
            "store": "names", "key": "pac", "value": "Pacific", "timestamp_ms": 1_000,
        });
        assert_eq!((answer.status, answer.json()), (200, expected));
        assert_eq!(answer.header("marea-task"), "", "it belongs to no task");
        assert_eq!(answer.header("marea-position"), "");
    }
    send(&log, "names-in", "atl", "Atlantic".to_owned(), 2_000);
    send(&log, "names-in", "arc", "Arctic".to_owned(), 3_000);
    for instance in &pair {
        assert_eq!(until_named(instance, "arc", 200).await["value"], "Arctic");
        let page = instance.get("/stores/names/rows?limit=2").await.json();
        let rows = page["rows"].as_array().expect("rows");
        let keys: Vec<_> = rows.iter().map(|row| &row["key"]).collect();
        assert_eq!(keys, ["arc", "atl"]);
        let next = page["next"].as_str().expect("there are more");
        let path = format!("/stores/names/rows?after={next}");
        let page = instance.get(&path).await.json();
        assert_eq!(page["rows"][0]["key"], "pac");
        assert_eq!(page["next"], Value::Null);
        let page = instance.get("/stores/names/rows?prefix=a").await.json();
        assert_eq!(page["rows"].as_array().map(Vec::len), Some(2));

        let listed = instance.get("/stores").await.json();
        let stores = listed["stores"].as_array().expect("a list");
        let names = stores.iter().find(|store| store["name"] == "names");
        let expected = json!({
            "name": "names", "kind": "key_value", "is_global": true, "partitions": null, "here": null,
            "has_changes": false,
        });
        assert_eq!(names, Some(&expected));
        for path in [
            "/stores/names/key/%22pac%22?at_least=names-in-0:1",
            "/stores/names/key/%22pac%22?wait_ms=1",
            "/stores/names/rows?partition=0",
        ] {
            let why = refused(instance, path, 400).await;
            assert!(why.contains("is global"), "{path}: {why}");
        }
        let why = refused(instance, "/stores/names/changes", 404).await;
        assert!(why.contains("read the topic"), "{why}");
        refused(instance, "/stores/names/key/pac", 400).await;
    }
    send::<Option<String>>(&log, "names-in", "atl", None, 4_000);
    for instance in &pair {
        until_named(instance, "atl", 404).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_and_types_are_checked() {
    let log = log();
    let instance = start(&log).await;
    let stores = || ServedStores::of(instance.application.handle());
    for (refused, reason) in [
        (
            stores().key_value::<String, f64>("prices"),
            "(versioned store)",
        ),
        (stores().versioned::<String, i64>("recent"), "(LRU store)"),
        (
            stores().versioned::<String, String>("names"),
            "(key-value store)",
        ),
        (stores().key_value::<String, i64>("names"), "of the codecs"),
        (
            stores().windows::<String, String>("names"),
            "served as a window store",
        ),
    ] {
        let error = refused.expect_err("refused");
        assert_eq!(error.kind(), marea::ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}
