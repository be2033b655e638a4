//! What a scraper gets.

use std::sync::atomic::{AtomicU64, Ordering};

use marea::admin::{AdminOptions, Guard, Limits};
use marea::runtime::Snapshot;

use crate::application::start;
use crate::client::{get, request};
use crate::openmetrics::{Families, parse};

/// Rows of all stores.
fn rows(snapshot: &Snapshot) -> u64 {
    let stores = snapshot.tasks.iter().flat_map(|task| &task.stores);
    stores.filter_map(|store| store.figures.rows.rows).sum()
}

/// The sum of a family's samples that have these labels.
fn sum(families: &Families, family: &str, labels: &[(&str, &str)]) -> f64 {
    let family = families
        .get(family)
        .unwrap_or_else(|| panic!("no {family}"));
    let fits = |sample: &&crate::openmetrics::Sample| {
        let mut wanted = labels.iter();
        wanted.all(|(name, value)| sample.labels.get(*name).is_some_and(|found| found == value))
    };
    family
        .samples
        .iter()
        .filter(fits)
        .map(|sample| sample.value)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_open_metrics_and_say_what_happened() {
    let running = start();
    running.feed(&[("a", "1"), ("b", "2"), ("a", "no number"), ("c", "3")]);
    // Three of them also pass through the repartition topic.
    running
        .until("seven records and their commit", |snapshot| {
            let mut outputs = snapshot.tasks.iter().flat_map(|task| &task.outputs);
            snapshot.records == 7
                && snapshot.lag == Some(0)
                && outputs.any(|(topic, traffic)| &**topic == "totals" && traffic.records > 0)
                && snapshot.drops.of(marea::runtime::DropReason::DeadLetter) == 1
                && rows(snapshot) == 3
        })
        .await;
    let served = running.serve().await;
    let answer = get(served.address, "/metrics").await;
    assert_eq!(answer.status, 200);
    let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), expected);
    let families = parse(&answer.body).unwrap_or_else(|wrong| panic!("{wrong}\n{}", answer.body));
    for (family, labels, value) in [
        ("marea_application_state", &[("state", "running")][..], 1.0),
        ("marea_application_state", &[("state", "failed")], 0.0),
        ("marea_processed_records", &[], 7.0),
        ("marea_input_records", &[("topic", "readings")], 4.0),
        (
            "marea_input_rejected_records",
            &[("topic", "readings")],
            1.0,
        ),
        (
            "marea_input_records",
            &[("topic", "words-by-name-repartition")],
            3.0,
        ),
        ("marea_output_records", &[("topic", "dead-letters")], 1.0),
        (
            "marea_output_records",
            &[("topic", "words-by-name-repartition")],
            3.0,
        ),
        ("marea_dropped_records", &[("reason", "dead_letter")], 1.0),
        ("marea_dropped_records", &[("reason", "late")], 0.0),
        ("marea_failed_records", &[("stage", "process")], 1.0),
        ("marea_failed_records", &[("stage", "decode")], 0.0),
        ("marea_lag_records", &[], 0.0),
        ("marea_changelog_records", &[("store", "counts")], 3.0),
        ("marea_store_rows", &[("store", "counts")], 3.0),
        ("marea_redriven_records", &[], 0.0),
    ] {
        assert_eq!(
            sum(&families, family, labels),
            value,
            "{family} {labels:?}\n{}",
            answer.body
        );
    }
    // Key and value of four records: "a1", "b2", "ano number", "c3".
    assert_eq!(
        sum(&families, "marea_input_bytes", &[("topic", "readings")]),
        16.0
    );
    let commits = sum(&families, "marea_commits", &[]);
    let latency = &families["marea_commit_latency_seconds"];
    assert_eq!(
        (latency.kind.as_str(), latency.unit.as_str()),
        ("histogram", "seconds")
    );
    let counted = latency
        .samples
        .iter()
        .filter(|sample| sample.name.ends_with("_count"));
    assert_eq!(counted.map(|sample| sample.value).sum::<f64>(), commits);
    assert!(commits > 0.0);
    assert!(sum(&families, "marea_memory_limit_bytes", &[]) > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_counts_for_itself() {
    let running = start();
    let guard = || Guard::for_address(([127, 0, 0, 1], 0).into(), None).expect("loopback");
    let asked = AtomicU64::new(6);
    let options = AdminOptions::new(guard())
        .counter("shop_orders", "Orders, by \"anyone\".", move || {
            asked.fetch_add(1, Ordering::Relaxed)
        })
        .and_then(|options| options.counter("shop_failures", "Failures.", || panic!("no number")))
        .expect("counters");
    let twice = AdminOptions::new(guard()).counter("shop_orders", "Orders.", || 0);
    let twice = twice.and_then(|options| options.counter("shop_orders", "Orders.", || 0));
    assert_eq!(twice.expect_err("twice").kind(), marea::ErrorKind::Invalid);
    let served = running.serve_as(options, Limits::default()).await;
    for value in [6.0, 7.0] {
        let answer = get(served.address, "/metrics").await;
        let families = parse(&answer.body);
        let families = families.unwrap_or_else(|wrong| panic!("{wrong}\n{}", answer.body));
        assert_eq!(sum(&families, "shop_orders", &[]), value);
        assert_eq!(families["shop_orders"].kind, "counter");
        assert!(families["shop_failures"].samples.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_scraper_gets_what_it_knows() {
    let running = start();
    let served = running.serve().await;
    let accept = [("Accept", "text/plain;version=0.0.4")];
    let answer = request(served.address, "GET", "/metrics", &accept, "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(
        answer
            .body
            .contains("# TYPE marea_processed_records_total counter\n"),
        "{}",
        answer.body
    );
    assert!(!answer.body.contains("# EOF"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_absent() {
    let running = start();
    running
        .until("tasks", |snapshot| snapshot.tasks.len() == 4)
        .await;
    let served = running.serve().await;
    let answer = get(served.address, "/metrics").await;
    let families = parse(&answer.body).unwrap_or_else(|wrong| panic!("{wrong}\n{}", answer.body));
    assert!(
        families["marea_task_stream_time_seconds"]
            .samples
            .is_empty(),
        "{}",
        answer.body
    );
    // A worker that has caught up commits its positions after a second, which may have passed.
    let commits = sum(&families, "marea_commits", &[]);
    assert_eq!(
        families["marea_commit_age_seconds"].samples.is_empty(),
        commits == 0.0,
        "{}",
        answer.body
    );
}
