//! The changes of a store, as a stream of events.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use marea::prelude::*;
use serde_json::{Value, json};

use crate::client::Events;
use crate::counting::{Instance, log_at, partition_of, send};

async fn on_each_log(case: impl AsyncFn(Arc<dyn Log>)) {
    case(log_at("memory:")).await;
    let directory = tempfile::tempdir().expect("a directory");
    case(log_at(&format!("embedded:{}", directory.path().display()))).await;
}

/// The events up to a wanted one: the id of that one, and the values of each key in their order.
async fn until(
    events: &mut Events,
    wanted: impl Fn(&Value) -> bool,
) -> (String, BTreeMap<String, Vec<Value>>) {
    let mut values: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    loop {
        let (id, change) = events.next().await;
        if let Some(key) = change["key"].as_str() {
            let of_key = values.entry(key.to_owned()).or_default();
            of_key.push(change["value"].clone());
        }
        if wanted(&change) {
            return (id, values);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_changes_goes_on_where_it_broke_at_any_instance() {
    on_each_log(async |log| {
        let first = Instance::start(&log).await;
        let path = "/stores/sums/changes";
        let mut stream = Events::open_at(first.address, path, None).await;
        // From here on it misses nothing.
        let (_, begun) = stream.next().await;
        assert_eq!(begun, json!({ "store": "sums" }));
        // Changes within one commit count as one: each is seen before the next is made.
        send(&log, "a", Some(1), 1_000);
        until(&mut stream, |change| change["key"] == "a").await;
        send(&log, "b", Some(5), 2_000);
        let (last, _) = until(&mut stream, |change| change["key"] == "b").await;
        drop(stream);
        let position = send(&log, "a", Some(2), 3_000);
        first.row("sums", "a", &position).await;
        let position = send(&log, "b", Some(6), 4_000);
        first.row("sums", "b", &position).await;
        send(&log, "end", Some(0), 5_000);

        let second = Instance::start(&log).await;
        for instance in [&first, &second] {
            let mut back = Events::open_at(instance.address, path, Some(&last)).await;
            // Partitions are read side by side, so any of them may be the last.
            let left = RefCell::new(BTreeSet::from(["a", "b", "end"]));
            let (_, values) = until(&mut back, |change| {
                let key = change["key"].as_str().unwrap_or_default();
                left.borrow_mut().remove(key);
                left.borrow().is_empty()
            })
            .await;
            let expected = [("a", 3), ("b", 11), ("end", 0)];
            let expected = expected.map(|(key, value)| (key.to_owned(), vec![json!(value)]));
            assert_eq!(values, BTreeMap::from(expected));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_says_its_window_and_a_deletion_is_null() {
    on_each_log(async |log| {
        let instance = Instance::start(&log).await;
        let position = send(&log, "a", Some(7), 61_000);
        assert_eq!(instance.row("last", "a", &position).await["value"], 7);
        send(&log, "a", None, 62_000);
        let open = async |path: &str| Events::open_at(instance.address, path, None).await;

        let mut minutes = open("/stores/minutes/changes?from=start").await;
        let (_, begun) = minutes.next().await;
        assert_eq!(begun["store"], "minutes");
        let (id, change) = minutes.next().await;
        assert_eq!(change["key"], "a");
        assert_eq!(change["value"], 1);
        assert_eq!(
            (&change["start_ms"], &change["end_ms"]),
            (&json!(60_000), &json!(120_000))
        );
        let place = format!(
            "{}-{}",
            change["partition"],
            change["offset"].as_i64().expect("one") + 1
        );
        assert!(id.split('.').any(|part| part == place), "{place} in {id}");

        let mut visits = open("/stores/visits/changes?from=start").await;
        let (_, change) = {
            visits.next().await;
            visits.next().await
        };
        assert_eq!(
            (&change["start_ms"], &change["end_ms"]),
            (&json!(61_000), &json!(61_000))
        );

        let mut last = open("/stores/last/changes?from=start").await;
        let (_, values) = until(&mut last, |change| {
            change["key"] == "a" && change["value"].is_null()
        })
        .await;
        assert_eq!(values["a"].last(), Some(&Value::Null));
        for (path, status) in [
            ("/stores/sums/changes?from=then", 400),
            ("/stores/none/changes", 404),
        ] {
            assert_eq!(instance.get(path).await.status, status, "{path}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_none_is_refused_and_streams_are_bounded() {
    let log = log_at("memory:");
    let instance = Instance::start(&log).await;
    let path = "/stores/sums/changes";
    for id in [
        "x",
        "0-0",
        "0-0.1-0.2-0.3-77",
        "0-0.1-0.2-0.4-0",
        "0-0.1-0.2-0.3--1",
    ] {
        let headers = [("Last-Event-ID", id)];
        let refused = crate::client::request(instance.address, "GET", path, &headers, "").await;
        assert_eq!(refused.status, 400, "{id}: {refused:?}");
    }
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut stream = Events::open_at(instance.address, path, None).await;
        stream.next().await;
        streams.push(stream);
    }
    let refused = instance.get(path).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    streams.clear();
    let mut stream = loop {
        let answer = Events::try_open(instance.address, path).await;
        if let Some(stream) = answer {
            break stream;
        }
    };
    stream.next().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_says_that_the_application_has_stopped() {
    let log = log_at("memory:");
    let mut instance = Instance::start(&log).await;
    let mut stream = Events::open_at(instance.address, "/stores/sums/changes", None).await;
    stream.next().await;
    instance.close();
    let Instance { application, .. } = &mut instance;
    // Gone completely: what is served keeps nothing of it alive.
    let other = Application::builder(crate::counting::topology(), "other");
    let other = other.log(Arc::clone(&log)).settings(Settings::in_memory());
    drop(std::mem::replace(
        application,
        other.start().expect("it starts"),
    ));
    let last = stream.rest().await;
    assert!(last.contains("event: end"), "{last}");
    assert!(last.contains("\"reason\":\"stopped\""), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_before_a_record_that_cannot_be_decoded_is_sent() {
    on_each_log(async |log| {
        let instance = Instance::start(&log).await;
        let position = send(&log, "a", Some(1), 1_000);
        let row = instance.row("sums", "a", &position).await;
        // No number, in the partition of the row.
        let producer = log.producer::<String, String>("counting-sums-changelog");
        let mut producer = producer.expect("a producer");
        let bad = producer.send("a".to_owned(), "?".to_owned());
        let (place, behind) = bad.expect("sent").position();
        assert_eq!(place.partition, partition_of(&row));

        let path = "/stores/sums/changes";
        let mut stream =
            Events::open_at(instance.address, &format!("{path}?from=start"), None).await;
        let (last, _) = until(&mut stream, |change| change["key"] == "a").await;
        let end = stream.rest().await;
        assert!(end.contains("\"reason\":\"failed\""), "{end}");
        let named = format!("{place} offset {}", behind - 1);
        assert!(end.contains(&named), "{named} in {end}");
        // The client has to say that it goes on without it.
        let back = Events::open_at(instance.address, path, Some(&last)).await;
        let end = back.rest().await;
        assert!(end.contains("\"reason\":\"failed\""), "{end}");
        let raised = |part: &str| match part.split_once('-') {
            Some((number, _)) if number == place.partition.to_string() => {
                format!("{number}-{behind}")
            }
            _ => part.to_owned(),
        };
        let id: Vec<String> = last.split('.').map(raised).collect();
        let mut stream = Events::open_at(instance.address, path, Some(&id.join("."))).await;
        stream.next().await;
        send(&log, "a", Some(2), 2_000);
        until(&mut stream, |change| change["value"] == 3).await;
    })
    .await;
}
