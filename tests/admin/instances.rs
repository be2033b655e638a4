//! Several instances of one application: each answers for all of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use marea::admin::{Guard, Routing, ServedStores, Token};
use marea::base::TopicPartition;
use marea::log::Isolation;
use marea::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::client::{PATIENCE, get, request};
use crate::counting::{
    Instance, PARTITIONS, all, log_at, open, partition_of, patiently, send, topology,
};

/// Two instances with half of the tasks each.
async fn two(log: &Arc<dyn Log>) -> [Instance; 2] {
    let pair = [Instance::start(log).await, Instance::start(log).await];
    for instance in &pair {
        instance.until_it_has(PARTITIONS as usize / 2).await;
    }
    pair
}

/// The partitions that an instance has.
async fn here(instance: &Instance) -> BTreeSet<u64> {
    let stores = instance.get("/stores").await.json();
    let here = stores["stores"][0]["here"].as_array().expect("a list");
    here.iter()
        .map(|number| number.as_u64().expect("a number"))
        .collect()
}

/// A key of each partition, with the position after its record.
fn send_to_each(log: &Arc<dyn Log>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for number in 0.. {
        let key = format!("key-{number}");
        let position = send(log, &key, Some(number), 1_000);
        let place = |position: &str| position.rsplit_once(':').expect("two").0.to_owned();
        if found
            .iter()
            .all(|(_, other)| place(other) != place(&position))
        {
            found.push((key, position));
        }
        if found.len() == PARTITIONS as usize {
            break;
        }
    }
    found
}

/// Writes to the topic of instances that all tasks are at an address.
fn claim(log: &Arc<dyn Log>, task: &str, url: &str) {
    let producer = log.producer::<String, String>("counting-instances");
    let value = format!("{{\"url\":\"{url}\"}}");
    let sent = producer.expect("a producer").send(task.to_owned(), value);
    sent.expect("sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn either_instance_answers_for_the_other() {
    let log = log_at("memory:");
    let pair = two(&log).await;
    let keys = send_to_each(&log);
    for instance in &pair {
        let mut elsewhere = 0;
        for (key, position) in &keys {
            let row = instance.row("sums", key, position).await;
            assert_eq!(row["key"], key.as_str());
            assert_eq!(
                row["value"],
                key.strip_prefix("key-")
                    .expect("a number")
                    .parse::<i64>()
                    .expect("one")
            );
            elsewhere += usize::from(!here(instance).await.contains(&partition_of(&row).into()));
        }
        assert_eq!(elsewhere, 2, "one of two answers came from the other");
        // Page by page, too.
        let mut after = String::new();
        let mut listed = 0;
        loop {
            let page = instance
                .get_patiently(&format!("/stores/sums/rows?limit=2{after}"))
                .await;
            assert_eq!(page.status, 200, "{page:?}");
            assert!(!page.header("marea-position").is_empty(), "{page:?}");
            let page = page.json();
            listed += page["rows"].as_array().expect("rows").len();
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert!(listed >= keys.len(), "{listed}");
        // Its answers about a missing row and an invalid key are passed on.
        for partition in 0..PARTITIONS {
            let missing = format!("/stores/sums/key/%22none%22?partition={partition}");
            assert_eq!(instance.get_patiently(&missing).await.status, 404);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_who_asks_is_shown_to_the_other() {
    const SECRET: &str = "0123456789abcdef-secret";
    let log = log_at("memory:");
    let guard = Guard {
        token: Some(Token::new(SECRET).expect("a token")),
        ..Guard::default()
    };
    let first = Instance::start_with(&log, guard.clone(), all).await;
    let second = Instance::start_with(&log, guard, all).await;
    first.until_it_has(2).await;
    second.until_it_has(2).await;
    let token = format!("Bearer {SECRET}");
    let shown = [("Authorization", token.as_str())];
    for (key, _) in send_to_each(&log) {
        let path = format!("/stores/minutes/key/%22{key}%22");
        let ask = async || request(first.address, "GET", &path, &shown, "").await;
        assert_eq!(patiently(ask).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_whose_routes_are_below_a_path_ask_each_other() {
    let log = log_at("memory:");
    let first = Instance::start_below("/face", &log, open(), all).await;
    let second = Instance::start_below("/face", &log, open(), all).await;
    first.until_it_has(2).await;
    second.until_it_has(2).await;
    for (key, position) in send_to_each(&log) {
        let path = format!("/face/stores/sums/key/%22{key}%22?at_least={position}");
        let answer = first.get_patiently(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["key"], key.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_sent_on_where_that_is_wanted() {
    let log = log_at("memory:");
    let redirects = |stores: marea::admin::ServedStores| all(stores).routing(Routing::Redirect);
    let first = Instance::start_with(&log, open(), redirects).await;
    let second = Instance::start(&log).await;
    first.until_it_has(2).await;
    second.until_it_has(2).await;
    let own = here(&first).await;
    let mut sent_on = 0;
    for (key, position) in send_to_each(&log) {
        let path = format!("/stores/sums/key/%22{key}%22?at_least={position}");
        let answer = first.get_patiently(&path).await;
        if answer.status == 200 {
            assert!(own.contains(&partition_of(&answer.json()).into()));
            continue;
        }
        assert_eq!(answer.status, 307, "{answer:?}");
        let there = format!("http://{}", second.address);
        let location = answer.header("location");
        let path = location.strip_prefix(&there).expect("at the second");
        assert!(path.ends_with("&hop=counting"), "{path}");
        assert_eq!(get(second.address, path).await.status, 200);
        sent_on += 1;
    }
    assert_eq!(sent_on, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_lost_the_task_sends_on_and_answers_no_other_instance() {
    let log = log_at("memory:");
    let first = Instance::start(&log).await;
    first.until_it_has(PARTITIONS as usize).await;
    let keys = send_to_each(&log);
    for (key, position) in &keys {
        first.row("sums", key, position).await;
    }
    let second = Instance::start(&log).await;
    first.until_it_has(2).await;
    let own = here(&first).await;
    let mut lost = 0;
    for (key, position) in &keys {
        // Whether it knows yet who has the task or not: never a wrong row.
        let row = first.row("sums", key, position).await;
        assert_eq!(row["key"], key.as_str());
        if own.contains(&partition_of(&row).into()) {
            continue;
        }
        lost += 1;
        let path = format!("/stores/sums/key/%22{key}%22");
        let refused = request(
            first.address,
            "GET",
            &path,
            &[("Marea-Hop", "counting")],
            "",
        )
        .await;
        assert_eq!(refused.status, 421, "{refused:?}");
        let owner = format!("http://{}", second.address);
        assert_eq!(refused.json()["owner"], owner);
        assert_eq!(
            get(first.address, &format!("{path}?hop=counting"))
                .await
                .status,
            421
        );
    }
    assert_eq!(lost, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_wrong_is_put_right_by_who_has_the_task() {
    let log = log_at("memory:");
    let [first, second] = two(&log).await;
    let keys = send_to_each(&log);
    let own = here(&second).await;
    let mut misplaced = Vec::new();
    for (key, position) in &keys {
        let row = first.row("sums", key, position).await;
        if own.contains(&partition_of(&row).into()) {
            // Nobody listens on the first port.
            let task = row["task"].as_str().expect("a task");
            claim(&log, task, "http://127.0.0.1:1");
            misplaced.push((key, position));
        }
    }
    assert_eq!(misplaced.len(), 2);
    for (key, position) in misplaced {
        // Perhaps not at once, and then it says so.
        first.row("sums", key, position).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_goes_over_one_hop_at_most() {
    let log = log_at("memory:");
    let mut pair = two(&log).await;
    let task = pair[0]
        .row("sums", "a", &send(&log, "a", Some(1), 1_000))
        .await["task"]
        .clone();
    let task = task.as_str().expect("a task");
    for instance in &mut pair {
        // Their tasks are gone, but their rows in the topic remain.
        instance.close();
    }
    let [first, second] = &pair;
    let ask = async |instance: &Instance| {
        let answer = instance.get("/stores/sums/key/%22a%22").await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.header("retry-after"), "1");
        answer.json()["error"].as_str().expect("text").to_owned()
    };
    // Otherwise each request would be sent to the other instance, and back, and so on.
    claim(&log, task, &format!("http://{}", second.address));
    let why = ask(first).await;
    assert!(why.contains("which no longer has it"), "{why}");
    let why = ask(second).await;
    assert!(why.contains("no other instance has announced it"), "{why}");
    claim(&log, task, "http://127.0.0.1:1");
    let why = ask(first).await;
    assert!(
        why.contains("http://127.0.0.1:1, which cannot be reached"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_may_be_called_as_the_topic_of_instances() {
    let log = marea::open("memory:").expect("a log");
    log.create_topics(&[TopicSpec::new("words", 1)])
        .expect("a topic");
    let start = async || {
        let builder = StreamBuilder::new();
        let words = builder.stream::<String, i64>("words");
        words.group_by_key("of-words").count("instances");
        let topology = builder.build().expect("a topology");
        let stores = |stores: ServedStores| {
            let stores = stores.key_value::<String, i64>("instances");
            stores.expect("a store")
        };
        let instance = Instance::start_of(topology, "shop", &log, stores).await;
        instance.until_it_has(1).await;
        instance
    };
    let mut first = start().await;
    let position = send(&log, "a", Some(1), 1_000);
    first.row("instances", "a", &position).await;
    let place = TopicPartition::new("shop-instances", 0);
    let told = async {
        let is_told = || {
            let there = log.topic(&place.topic).expect("asked").is_some();
            there
                && log
                    .end_offset(&place, Isolation::ReadCommitted)
                    .expect("asked")
                    > 0
        };
        while !is_told() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("its task is told");
    first.close();
    drop(first);
    // Restored from its changelog.
    let second = start().await;
    second.row("instances", "a", &position).await;
    let rows = second.get_patiently("/stores/instances/rows").await.json();
    let rows = rows["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 1, "{rows:?}");
}

/// Answers every connection with the same, and keeps nothing of what was asked.
async fn stranger(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 4_096];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_application_at_an_old_address_is_not_believed() {
    let log = log_at("memory:");
    let mut own = Instance::start(&log).await;
    own.until_it_has(PARTITIONS as usize).await;
    let position = send(&log, "a", Some(1), 1_000);
    let row = own.row("sums", "a", &position).await;
    let task = row["task"].as_str().expect("a task");
    // It has the same stores, and another row of the same key.
    let elsewhere = log_at("memory:");
    let other = Instance::start_of(topology(), "other", &elsewhere, all).await;
    let position = send(&elsewhere, "a", Some(7), 1_000);
    assert_eq!(other.row("sums", "a", &position).await["value"], 7);
    // Its tasks are gone, as if they moved, and the address of another is told.
    own.close();
    let hollow = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    for (url, why) in [
        (
            format!("http://{}", other.address),
            "belongs to another application",
        ),
        (stranger(hollow).await, "not about that task"),
    ] {
        claim(&log, task, &url);
        let asked = async || {
            let answer = own.get("/stores/sums/key/%22a%22").await;
            assert_eq!(answer.status, 503, "{answer:?}");
            assert_eq!(answer.header("marea-task"), task);
            answer.json()["error"].as_str().expect("text").to_owned()
        };
        let said = asked().await;
        assert!(said.contains(&url) && said.contains(why), "{said}");
    }
    let path = "/stores/sums/key/%22a%22";
    let sent_on = get(other.address, &format!("{path}?hop=counting")).await;
    assert_eq!(sent_on.status, 421, "{sent_on:?}");
    // What is no row says, too, which task was asked.
    let refused = other.get(&format!("{path}?at_least=none-0:1")).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(refused.header("marea-task"), task);
}
