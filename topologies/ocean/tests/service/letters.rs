//! A record that is no valid reading, as another program may write one to the topic of readings: it becomes a dead
//! letter with its reason, and can be sent again.

use marea::prelude::*;
use ocean::topology::{READINGS, topics};
use serde_json::Value;

use crate::http::{Answer, ask};
use crate::process::{Place, Service, TOKEN, bearer, reading, until};

/// An invalid reading, by its volume.
fn invalid() -> String {
    reading("Arctic", 1_000).replace("300.0", "\"full\"")
}

/// A service with a token, on a log that has a reading and an invalid one.
fn start(place: &Place) -> Service {
    let address = format!("embedded:{}", place.path("ocean-data").display());
    let log = marea::open(&address).expect("a log");
    log.create_topics(&topics(1)).expect("topics");
    let mut readings = log
        .producer::<String, String>(READINGS)
        .expect("a producer");
    for (line, timestamp_ms) in [(reading("Arctic", 500), 500), (invalid(), 1_000)] {
        let mut record = Record::new("arctic-1".to_owned(), line, timestamp_ms);
        record.headers.add("trace", Some(b"7".to_vec()));
        readings.send_record(&record).expect("appended");
    }
    drop(readings);
    drop(log);
    let mut command = place.command(&[]);
    command.env("OCEAN_TOKEN", TOKEN);
    Service::start(command)
}

fn request(service: &Service, method: &str, path: &str, body: &str) -> Answer {
    let bearer = bearer();
    let mut headers = vec![("Authorization", &*bearer)];
    if method == "POST" {
        headers.push(("Content-Type", "application/json"));
    }
    ask(service.address, method, path, &headers, body.as_bytes())
}

/// The list, the newest first, once it has this many.
fn letters(service: &Service, count: usize) -> Vec<Value> {
    let mut letters = Vec::new();
    until("the letters are there", || {
        let page = request(service, "GET", "/dead-letters", "").json();
        letters = page["letters"].as_array().expect("letters").clone();
        assert!(letters.len() <= count, "{letters:#?}");
        letters.len() == count
    });
    letters
}

fn redrive(service: &Service, letter: &Value) -> Answer {
    let (partition, offset) = (&letter["partition"], &letter["offset"]);
    let body = format!("{{\"partition\":{partition},\"offset\":{offset}}}");
    request(service, "POST", "/dead-letters/redrive", &body)
}

/// A sample of the metrics, 0 until it is there.
fn metric(service: &Service, name: &str, labels: &[&str]) -> u64 {
    let metrics = request(service, "GET", "/metrics", "").body;
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

#[test]
fn an_invalid_reading_is_a_dead_letter_that_is_rejected_again_when_it_is_sent_again() {
    let place = Place::new();
    let service = start(&place);
    let found = letters(&service, 1);
    let letter = &found[0];
    assert_eq!(letter["value"]["text"], invalid(), "as it came");
    assert_eq!(letter["key"]["text"], "arctic-1");
    assert_eq!(letter["headers"][0][0], "trace", "its own headers stay");
    assert_eq!(letter["timestamp_ms"], 1_000);
    let source = &letter["source"];
    assert_eq!(source["topic"], READINGS);
    assert_eq!(
        (&source["partition"], &source["offset"]),
        (&0.into(), &1.into())
    );
    assert_eq!(letter["stage"], "decode");
    let message = letter["message"].as_str().expect("a reason");
    assert!(message.contains("not a reading: invalid type"), "{message}");
    assert_eq!(letter["refusal"], Value::Null);
    let dropped = |service| {
        let labels = ["reason=\"dead_letter\""];
        metric(service, "marea_dropped_records_total", &labels)
    };
    until("it is counted", || dropped(&service) == 1);
    let topic = [&*format!("topic=\"{READINGS}\"")];
    assert_eq!(
        metric(&service, "marea_input_rejected_records_total", &topic),
        1
    );

    // Unchanged, it is rejected again, and counted again: as a letter of its own, from its new place.
    let sent = redrive(&service, letter);
    assert_eq!(sent.status, 200, "{sent:?}");
    let found = letters(&service, 2);
    let (again, first) = (&found[0], &found[1]);
    assert_eq!(again["value"], first["value"]);
    assert_eq!(again["message"], first["message"]);
    assert_eq!(
        again["headers"], first["headers"],
        "and no reason of before"
    );
    assert!(again["source"]["offset"].as_i64() > first["source"]["offset"].as_i64());
    assert_eq!(
        (&first["redriven"], &again["redriven"]),
        (&true.into(), &false.into())
    );
    until("it is counted again", || dropped(&service) == 2);
    // The same letter is not sent twice. The new one is, if somebody asks for it; nothing is sent by itself.
    assert_eq!(redrive(&service, first).status, 409);
    assert_eq!(redrive(&service, again).status, 200);
    letters(&service, 3);
    until("it is counted once more", || dropped(&service) == 3);
    assert_eq!(metric(&service, "marea_redriven_records_total", &[]), 2);
    // The valid reading is the only one that counts.
    let later = crate::process::everywhere(5 * crate::process::WINDOW_MS);
    assert_eq!(request(&service, "POST", "/readings", &later).status, 200);
    let arctic = || {
        let page = request(&service, "GET", "/averages", "").json();
        let averages = page["averages"].as_array().expect("averages").clone();
        averages
            .into_iter()
            .find(|average| average["ocean"] == "Arctic")
    };
    until("the window is there", || arctic().is_some());
    assert_eq!(arctic().expect("it is there")["count"], 1);
}
