//! Queries of stores over HTTP, with one instance.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use marea::ErrorKind;
use marea::admin::{Guard, ServedStores, Token};
use marea::log::Log;
use serde_json::json;

use crate::client::request;
use crate::counting::{Instance, PARTITIONS, all, log_at, open, partition_of, send};

/// Runs a case on a log in memory, and on one on disk.
async fn on_each_log(case: impl AsyncFn(Arc<dyn Log>)) {
    case(log_at("memory:")).await;
    let directory = tempfile::tempdir().expect("a directory");
    case(log_at(&format!("embedded:{}", directory.path().display()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_answered_with_its_row_its_task_and_how_far_that_is() {
    on_each_log(async |log| {
        let mut instance = Instance::start(&log).await;
        send(&log, "a", Some(1), 1_000);
        let position = send(&log, "a", Some(2), 61_000);
        let row = instance.row("sums", "a", &position).await;
        assert_eq!(row["store"], "sums");
        assert_eq!(row["key"], "a");
        assert_eq!(row["value"], 3);
        assert_eq!(row["timestamp_ms"], 61_000);
        let (partition, offset) = position.rsplit_once(':').expect("a position");
        assert_eq!(
            row["positions"],
            json!({ partition: offset.parse::<i64>().expect("a number") })
        );

        let path = "/stores/sums/key/%22a%22";
        let answer = instance.get(path).await;
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("marea-position"), position);
        assert_eq!(answer.header("marea-task"), row["task"]);
        // The position of an answer goes into the next question.
        let again = format!("{path}?at_least={}", answer.header("marea-position"));
        assert_eq!(instance.get(&again).await.status, 200);

        let missing = instance.get("/stores/sums/key/%22b%22").await;
        assert_eq!(missing.status, 404, "{missing:?}");
        assert!(missing.json()["task"].is_string(), "{missing:?}");
        for (path, status) in [
            ("/stores/sums/key/a", 400),
            ("/stores/sums/key/7", 400),
            ("/stores/sums/key/%22a%22?partition=4", 400),
            ("/stores/sums/key/%22a%22?partition=x", 400),
            ("/stores/sums/key/%22a%22?at_least=words", 400),
            ("/stores/sums/key/%22a%22?atleast=words-0:1", 400),
            ("/stores/sums/key/%22a%22?at_least=words-0:-1", 400),
            (
                "/stores/sums/key/%22a%22?at_least=words-0:99999999999999999999",
                400,
            ),
            ("/stores/sums/rows?Limit=1", 400),
            ("/stores/sums/changes?form=start", 400),
            ("/stores/other/key/%22a%22", 404),
        ] {
            let refused = instance.get(path).await;
            assert_eq!(refused.status, status, "{path}: {refused:?}");
            assert!(refused.json()["error"].is_string(), "{refused:?}");
        }
        instance.close();
        let closed = instance.get(path).await;
        assert_eq!(closed.status, 503, "{closed:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_and_sessions_of_a_key_are_found_within_a_span() {
    on_each_log(async |log| {
        let instance = Instance::start(&log).await;
        for minute in 0..4 {
            send(&log, "a", Some(1), minute * 60_000);
        }
        let position = send(&log, "a", Some(1), 185_000);
        let minutes = instance.row("minutes", "a", &position).await;
        assert_eq!(minutes["key"], "a");
        let starts = |answer: &serde_json::Value| {
            let rows = answer["rows"].as_array().expect("rows");
            let row = |row: &serde_json::Value| {
                let number = |name: &str| row[name].as_i64().expect("a number");
                (number("start_ms"), number("end_ms"), number("value"))
            };
            rows.iter().map(row).collect::<Vec<_>>()
        };
        let of_minutes = [
            (0, 60_000, 1),
            (60_000, 120_000, 1),
            (120_000, 180_000, 1),
            (180_000, 240_000, 2),
        ];
        assert_eq!(starts(&minutes), of_minutes);
        assert_eq!(minutes["next_from_ms"], json!(null));
        let path = "/stores/minutes/key/%22a%22?from_ms=60000&to_ms=120000";
        let some = instance.get(path).await.json();
        assert_eq!(starts(&some), of_minutes[1..3]);
        let first = instance
            .get("/stores/minutes/key/%22a%22?limit=3")
            .await
            .json();
        assert_eq!(starts(&first), of_minutes[..3]);
        assert_eq!(first["next_from_ms"], 180_000);

        let visits = instance.row("visits", "a", &position).await;
        let of_visits = [
            (0, 0, 1),
            (60_000, 60_000, 1),
            (120_000, 120_000, 1),
            (180_000, 185_000, 2),
        ];
        assert_eq!(starts(&visits), of_visits);
        let path = "/stores/visits/key/%22a%22?from_ms=60000&limit=2";
        let some = instance.get(path).await.json();
        assert_eq!(starts(&some), of_visits[1..3]);
        assert_eq!(some["next_from_ms"], 185_000);
        let nothing = instance.get("/stores/visits/key/%22b%22").await;
        assert_eq!((nothing.status, starts(&nothing.json())), (200, vec![]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_page_by_page_over_all_partitions() {
    on_each_log(async |log| {
        let instance = Instance::start(&log).await;
        let mut last = BTreeSet::new();
        let keys: BTreeSet<String> = (0..30).map(|number| format!("key-{number:02}")).collect();
        for key in keys.iter().map(String::as_str).chain(["other"]) {
            last.insert(send(&log, key, Some(7), 1_000));
        }
        for position in last {
            let (place, _) = position.rsplit_once(':').expect("a position");
            let partition = place.rsplit_once('-').expect("a partition").1;
            let path = format!("/stores/sums/rows?partition={partition}&at_least={position}");
            assert_eq!(instance.get_patiently(&path).await.status, 200);
        }
        let list = async |parameters: &str| {
            let (mut found, mut pages, mut partitions) = (Vec::new(), 0, BTreeSet::new());
            let mut after = String::new();
            loop {
                let path = format!("/stores/sums/rows?limit=4{parameters}{after}");
                let page = instance.get(&path).await;
                assert_eq!(page.status, 200, "{page:?}");
                let page = page.json();
                let rows = page["rows"].as_array().expect("rows");
                assert!(rows.len() <= 4, "{page}");
                for row in rows {
                    assert_eq!(row["value"], 7);
                    found.push(row["key"].as_str().expect("a key").to_owned());
                    partitions.insert(partition_of(&page));
                }
                pages += 1;
                assert!(pages < 1_000, "the list does not end");
                match page["next"].as_str() {
                    Some(next) => after = format!("&after={next}"),
                    None => return (found, pages, partitions.len()),
                }
            }
        };
        let (found, pages, partitions) = list("&prefix=key-").await;
        assert!(pages > 7, "{pages}");
        assert_eq!(partitions, PARTITIONS as usize);
        assert_eq!(found.len(), keys.len(), "each once: {found:?}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), keys);
        let (all, ..) = list("").await;
        assert_eq!(all.len(), keys.len() + 1);
        let (some, ..) = list("&from=%22key-10%22&to=%22key-20%22").await;
        let some: BTreeSet<_> = some.into_iter().collect();
        let expected: BTreeSet<String> = (10..20).map(|number| format!("key-{number}")).collect();
        assert_eq!(some, expected);
        // A place beyond the requested range has nothing after it.
        let (none, ..) = list("&partition=0&to=%22key-00%22&after=0-7a").await;
        assert_eq!(none, [""; 0]);
        for parameters in [
            "after=x",
            "from=key-10",
            "prefix=a&to=%22b%22",
            "partition=4",
        ] {
            let refused = instance
                .get(&format!("/stores/sums/rows?{parameters}"))
                .await;
            assert_eq!(refused.status, 400, "{parameters}: {refused:?}");
        }
        assert_eq!(instance.get("/stores/minutes/rows").await.status, 400);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_is_waited_for_and_not_for_ever() {
    on_each_log(async |log| {
        let instance = Instance::start(&log).await;
        let first = send(&log, "a", Some(1), 1_000);
        instance.row("sums", "a", &first).await;
        let (place, position) = first.rsplit_once(':').expect("a position");
        let next = position.parse::<i64>().expect("a number") + 1;
        let path = format!("/stores/sums/key/%22a%22?at_least={place}:{next}");
        let late = instance.get(&format!("{path}&wait_ms=1")).await;
        assert_eq!(late.status, 503, "{late:?}");
        assert_eq!(late.header("retry-after"), "1");
        let why = late.json()["error"].as_str().expect("text").to_owned();
        assert!(
            why.contains(&format!("{place} has not been read up to")),
            "{why}"
        );
        // The question is asked before the record is there.
        let waits = format!("{path}&wait_ms=30000");
        let (answer, ()) = tokio::join!(instance.get(&waits), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            send(&log, "a", Some(10), 2_000);
        });
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["value"], 11);
        let foreign = instance
            .get("/stores/sums/key/%22a%22?at_least=out-0:1")
            .await;
        assert_eq!(foreign.status, 400, "{foreign:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_registered_is_served_and_its_types_are_checked() {
    let log = log_at("memory:");
    let sums = |stores: ServedStores| stores.key_value::<String, i64>("sums").expect("sums");
    let instance = Instance::start_with(&log, open(), sums).await;
    instance.until_it_has(PARTITIONS as usize).await;
    let listed = instance.get("/stores").await.json();
    let expected = json!({ "stores": [{
        "name": "sums", "kind": "key_value", "is_global": false, "partitions": PARTITIONS, "here": [0, 1, 2, 3],
        "has_changes": true,
    }]});
    assert_eq!(listed, expected);
    assert_eq!(
        instance.get("/stores/minutes/key/%22a%22").await.status,
        404
    );
    let stores = || ServedStores::of(instance.application.handle());
    for refused in [
        stores().key_value::<String, String>("sums"),
        stores().key_value::<String, i64>("sum"),
        stores().key_value::<String, i64>("minutes"),
        stores().windows::<String, i64>("visits"),
        stores().sessions::<String, i64>("sums"),
        stores().advertised_url("node-3:8080"),
    ] {
        let error = refused.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_need_the_token_where_reads_do() {
    const SECRET: &str = "0123456789abcdef-secret";
    let log = log_at("memory:");
    let guard = Guard {
        token: Some(Token::new(SECRET).expect("a token")),
        ..Guard::default()
    };
    let instance = Instance::start_with(&log, guard, all).await;
    instance.until_it_has(PARTITIONS as usize).await;
    for path in [
        "/stores",
        "/stores/sums/key/%22a%22",
        "/stores/sums/rows",
        "/stores/sums/changes",
    ] {
        assert_eq!(instance.get(path).await.status, 401, "{path}");
    }
    let token = format!("Bearer {SECRET}");
    let shown = [("Authorization", token.as_str())];
    let answer = request(instance.address, "GET", "/stores", &shown, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}
