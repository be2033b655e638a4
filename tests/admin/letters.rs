//! Dead letters: listing them, and sending one again exactly once.

use marea::prelude::*;

#[cfg(feature = "rocksdb")]
use crate::application::start_on;
use crate::application::{Running, SECRET, Served, start};
#[cfg(feature = "rocksdb")]
use crate::client::PATIENCE;
use crate::client::{Answer, get, request};

/// Feeds readings of which `count` become dead letters, and waits until these are there.
async fn some(running: &Running, count: usize) {
    let readings = vec![("a", "no number"); count];
    running.feed(&readings);
    running
        .until("dead letters", |snapshot| {
            let outputs = snapshot.tasks.iter().flat_map(|task| &task.outputs);
            let dead = outputs.filter(|(topic, _)| &**topic == "dead-letters");
            dead.map(|(_, traffic)| traffic.records).sum::<u64>() == count as u64
        })
        .await;
}

async fn redrive(served: &Served, letter: &serde_json::Value) -> Answer {
    let bearer = format!("Bearer {SECRET}");
    let headers = [
        ("Authorization", &bearer[..]),
        ("Content-Type", "application/json"),
    ];
    let body = format!(
        r#"{{"partition":{},"offset":{}}}"#,
        letter["partition"], letter["offset"]
    );
    request(
        served.address,
        "POST",
        "/dead-letters/redrive",
        &headers,
        &body,
    )
    .await
}

fn readings(running: &Running) -> usize {
    let records = running.log.records::<String, String>("readings");
    records.expect("readable").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_goes_back_page_by_page() {
    let running = start();
    some(&running, 7).await;
    let served = running.serve().await;
    let mut path = "/dead-letters?limit=3".to_owned();
    let (mut ids, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let page = get(served.address, &path).await.json();
        let letters = page["letters"].as_array().expect("letters");
        sizes.push(letters.len());
        for letter in letters {
            ids.push(letter["id"].as_str().expect("an id").to_owned());
            assert_eq!(letter["stage"], "process");
            assert_eq!(letter["source"]["topic"], "readings");
            assert_eq!(letter["value"]["text"], "no number");
            assert_eq!(letter["redriven"], false);
            assert!(
                letter["message"]
                    .as_str()
                    .expect("why")
                    .contains("a reading is a number"),
                "{letter}"
            );
        }
        match page["next"].as_str() {
            Some(next) => path = format!("/dead-letters?limit=3&before={next}"),
            None => break,
        }
    }
    assert_eq!(sizes, [3, 3, 1]);
    let all: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(all.len(), 7, "each once: {ids:?}");
    assert_eq!(
        get(served.address, "/dead-letters?before=nonsense")
            .await
            .status,
        400
    );
    assert_eq!(
        get(served.address, "/dead-letters?limit=x").await.status,
        400
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_sent_again_once() {
    let running = start();
    some(&running, 2).await;
    let served = running.serve().await;
    let page = get(served.address, "/dead-letters").await.json();
    let letter = &page["letters"][0];
    let sent = redrive(&served, letter).await;
    assert_eq!(sent.status, 200, "{}", sent.body);
    assert_eq!(sent.json()["redriven"], letter["id"]);
    assert_eq!(readings(&running), 3);
    // It comes back as another dead letter, and this one is not sent a second time.
    let again = redrive(&served, letter).await;
    assert_eq!(again.status, 409, "{}", again.body);
    assert_eq!(readings(&running), 3);
    // Nor by another server of the application, which shares no state with the first.
    let other = running.serve().await;
    assert_eq!(redrive(&other, letter).await.status, 409);
    assert_eq!(readings(&running), 3);
    let metrics = get(served.address, "/metrics").await.body;
    assert!(
        metrics.contains("marea_redriven_records_total 1\n"),
        "{metrics}"
    );
    let state = get(served.address, "/state").await.json();
    assert_eq!(state["dead_letters"]["redriven_records"], 1);
    let page = get(served.address, "/dead-letters").await.json();
    let letters = page["letters"].as_array().expect("letters");
    let redriven = letters.iter().filter(|found| found["redriven"] == true);
    let ids: Vec<_> = redriven.map(|found| &found["id"]).collect();
    assert_eq!(ids, [&letter["id"]]);
    let missing = serde_json::json!({ "partition": 1, "offset": 10_000 });
    assert_eq!(redrive(&served, &missing).await.status, 404);
    let beyond = serde_json::json!({ "partition": 99, "offset": 0 });
    assert_eq!(redrive(&served, &beyond).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_ask_at_once_one_sends() {
    let running = start();
    some(&running, 1).await;
    let (one, other) = (running.serve().await, running.serve().await);
    let page = get(one.address, "/dead-letters").await.json();
    let letter = &page["letters"][0];
    let asked = (0..12).map(|number| redrive(if number % 2 == 0 { &one } else { &other }, letter));
    let answers = futures::future::join_all(asked).await;
    let sent = answers.iter().filter(|answer| answer.status == 200).count();
    // Two servers fence each other's writer: all but the last of a round may be told to try again.
    let sent = match sent {
        0 => usize::from(redrive(&one, letter).await.status == 200),
        sent => sent,
    };
    assert_eq!(sent, 1, "{answers:?}");
    assert_eq!(readings(&running), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_without_dead_letters_says_so() {
    let log = marea::open("memory:").expect("a log");
    log.create_topics(&[TopicSpec::new("in", 1), TopicSpec::new("out", 1)])
        .expect("topics");
    let builder = StreamBuilder::new();
    builder.stream::<String, String>("in").to("out");
    let application = Application::builder(builder.build().expect("a topology"), "copy")
        .log(log.clone())
        .settings(Settings::in_memory())
        .start()
        .expect("it starts");
    let gate = std::sync::Arc::default();
    let served = Running {
        application,
        log,
        gate,
    }
    .serve()
    .await;
    let answer = get(served.address, "/dead-letters").await;
    assert_eq!(answer.status, 404);
    assert!(
        answer.body.contains("no dead-letter topic is set"),
        "{}",
        answer.body
    );
}

#[cfg(feature = "rocksdb")]
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_the_embedded_log_is_sent_once_over_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("embedded:{}", directory.path().join("log").display());
    let letter = {
        let running = start_on(marea::open(&url).expect("a log"));
        some(&running, 1).await;
        let served = running.serve().await;
        let page = get(served.address, "/dead-letters").await.json();
        assert_eq!(redrive(&served, &page["letters"][0]).await.status, 200);
        page["letters"][0].clone()
    };
    let opened = async {
        loop {
            match marea::open(&url) {
                Ok(log) => break log,
                Err(error) => assert_eq!(error.kind(), marea::ErrorKind::Unavailable, "{error}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let log = tokio::time::timeout(PATIENCE, opened).await;
    let log = log.expect("the log in time");
    let running = start_on(log);
    let served = running.serve().await;
    assert_eq!(redrive(&served, &letter).await.status, 409);
    assert_eq!(readings(&running), 2);
}
