//! The page, the metrics, the results and the log say the same.

use std::collections::BTreeMap;

use marea::base::TopicPartition;
use marea::log::Isolation;
use marea::prelude::*;
use ocean::model::OCEANS;
use ocean::topology::{ALERTS, AVERAGES, READINGS, topics};
use serde_json::Value;

use crate::driver::Browser;
use crate::http::{get, post};
use crate::page::Page;
use crate::process::{Place, Service, WINDOW_MS, everywhere, reading, until};

/// The rows of a table by their first cell, each with its cells by their columns.
const ROWS: &str = "
    const cells = (row) => Object.fromEntries([...row.children].map((cell) => [cell.dataset.label, cell.textContent]));
    const rows = [...document.querySelectorAll(`#${arguments[0]} tbody tr`)];
    return Object.fromEntries(rows.map((row) => [row.firstChild.textContent, cells(row)]));";

/// Samples of the metrics.
struct Metrics(String);

impl Metrics {
    fn of(service: &Service) -> Self {
        Self(get(service.address, "/metrics").body)
    }

    fn samples<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        let lines = self
            .0
            .lines()
            .filter_map(move |line| line.strip_prefix(name));
        let lines = lines.filter(|rest| rest.starts_with(['{', ' ']));
        lines.filter_map(|rest| {
            let (labels, value) = rest.rsplit_once(' ')?;
            Some((labels, value.parse().ok()?))
        })
    }

    /// The sums of a metric by the values of a label.
    fn sums(&self, name: &str, label: &str) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (labels, value) in self.samples(name) {
            let named = labels.split_once(&format!("{label}=\"")).expect(labels).1;
            let named = named.split('"').next().unwrap_or_default();
            *sums.entry(named.to_owned()).or_default() += value;
        }
        sums
    }
}

/// A service whose log has a reading and an invalid one before the first is posted.
fn start(place: &Place) -> Service {
    let address = format!("embedded:{}", place.path("ocean-data").display());
    let log = marea::open(&address).expect("a log");
    log.create_topics(&topics(1)).expect("topics");
    let mut readings = log
        .producer::<String, String>(READINGS)
        .expect("a producer");
    let valid = reading("Arctic", 500);
    for line in [valid.replace("300.0", "\"full\""), valid] {
        let record = Record::new("arctic-1".to_owned(), line, 500);
        readings.send_record(&record).expect("appended");
    }
    drop((readings, log));
    place.start(&[])
}

fn table(page: &Page<'_>, name: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    serde_json::from_value(page.run(ROWS, &[name.into()])).expect("cells by column")
}

/// What the page shows that is not as the metrics say.
fn differences(page: &Page<'_>, service: &Service) -> Vec<String> {
    let metrics = Metrics::of(service);
    let mut wrong = Vec::new();
    let mut expect = |what: String, shown: Option<&String>, expected: &str| {
        if shown.is_none_or(|shown| shown != expected) {
            wrong.push(format!("{what}: {shown:?} and not {expected}"));
        }
    };
    let topics = table(page, "topics");
    let rejected = metrics.sums("marea_input_rejected_records_total", "topic");
    for (topic, lag) in metrics.sums("marea_input_lag_records", "topic") {
        let row = topics.get(&topic);
        let cell = |name: &str| row.and_then(|row| row.get(name));
        expect(format!("lag of {topic}"), cell("Lag"), &lag.to_string());
        let rejected = match rejected.get(&topic) {
            Some(0) | None => "0/s".to_owned(),
            Some(count) => format!("0/s ({count})"),
        };
        expect(format!("rejected of {topic}"), cell("Rejected"), &rejected);
    }
    let stores = table(page, "stores");
    for (store, rows) in metrics.sums("marea_store_rows", "store") {
        let shown = stores.get(&store).and_then(|row| row.get("Rows"));
        expect(format!("rows of {store}"), shown, &rows.to_string());
    }
    let workers = table(page, "workers");
    let tasks = metrics.sums("marea_task_running", "worker");
    let shown: u64 = (workers.values())
        .filter_map(|row| row.get("Tasks")?.parse::<u64>().ok())
        .sum();
    expect(
        "tasks".to_owned(),
        Some(&shown.to_string()),
        &tasks.values().sum::<u64>().to_string(),
    );
    let dropped = metrics.sums("marea_dropped_records_total", "reason");
    let says = page.run("return document.getElementById('drops').textContent", &[]);
    let says = says.as_str().unwrap_or_default();
    let numbers = says
        .split([' ', ';'])
        .filter_map(|word| word.parse::<u64>().ok());
    let expected: Vec<u64> = dropped.into_values().filter(|count| *count > 0).collect();
    let mut shown: Vec<u64> = numbers.collect();
    let mut sorted = expected;
    shown.sort_unstable();
    sorted.sort_unstable();
    expect(
        "dropped".to_owned(),
        Some(&format!("{shown:?}")),
        &format!("{sorted:?}"),
    );
    wrong
}

pub fn the_page_the_metrics_and_the_log_agree(browser: &Browser) {
    let place = Place::new();
    let service = start(&place);
    let page = Page::open(browser, service.address);
    let mut posted = 0;
    for window in 0..6 {
        let lines = everywhere(1_000 + window * 2 * WINDOW_MS);
        assert_eq!(post(service.address, &[], lines.as_bytes()).status, 200);
        posted += OCEANS.len() as u64;
    }
    // Once windows are closed, readings of the first are late.
    until("windows are closed", || {
        service.averages().len() == 5 * OCEANS.len()
    });
    for _ in 0..3 {
        let late = reading("Pacific", 700);
        assert_eq!(post(service.address, &[], late.as_bytes()).status, 200);
        posted += 1;
    }
    until("all is processed", || {
        let metrics = Metrics::of(&service);
        let read = metrics.sums("marea_input_records_total", "topic");
        let dropped = metrics.sums("marea_dropped_records_total", "reason");
        read.get(READINGS) == Some(&(posted + 2))
            && dropped["late"] > 0
            && dropped["dead_letter"] == 1
    });
    until("the page agrees", || {
        differences(&page, &service).is_empty()
    });

    // Each reading is in an average, in the open window, late or rejected.
    let counted: i64 = service.averages().iter().map(|one| one.count).sum();
    assert_eq!(counted as u64, posted + 2 - OCEANS.len() as u64 - 3 - 1);
    // The cards have the newest average of each ocean.
    let figures = "return [...document.querySelectorAll('.ocean')].map((card) => [card.querySelector('h3').textContent, card.querySelector('.ocean-figures').textContent])";
    let cards = page.until("the cards are there", figures, |cards| {
        cards
            .as_array()
            .is_some_and(|cards| cards.len() == OCEANS.len())
    });
    let cards: Vec<(String, String)> = serde_json::from_value(cards).expect("pairs");
    for average in service.averages().iter().rev().take(OCEANS.len()) {
        let says = cards.iter().find(|(ocean, _)| *ocean == average.ocean);
        let says = &says.expect("a card").1;
        assert!(
            says.starts_with(&format!("{} reading", average.count)),
            "{says}"
        );
    }
    // Alerts, too, each counted in its group.
    let alerts = get(service.address, "/alerts?limit=1000").json();
    let alerts = alerts["alerts"].as_array().map_or(0, Vec::len) as u64;
    let summaries = "return [...document.querySelectorAll('.ocean-alerts summary')].map((line) => line.textContent)";
    page.until("the alerts are counted", summaries, |lines| {
        let lines = lines.as_array().map_or(&[][..], Vec::as_slice);
        let lines = lines.iter().filter_map(Value::as_str);
        let counts = lines.filter_map(|line| {
            line.split(", ")
                .nth(1)?
                .split(' ')
                .next()?
                .parse::<u64>()
                .ok()
        });
        counts.sum::<u64>() == alerts
    });
    page.expect_no_complaint();

    // And the log has as many records as were read and written.
    let metrics = Metrics::of(&service);
    let read = metrics.sums("marea_input_records_total", "topic");
    let written = metrics.sums("marea_output_records_total", "topic");
    service.signal("TERM");
    assert!(service.ended().success());
    let log = marea::open(&format!("embedded:{}", place.path("ocean-data").display()));
    let log = log.expect("a log");
    for (topic, records) in [
        (READINGS, read[READINGS]),
        (AVERAGES, written[AVERAGES]),
        (ALERTS, written[ALERTS]),
    ] {
        let place = TopicPartition::new(topic, 0);
        let end = log
            .end_offset(&place, Isolation::ReadCommitted)
            .expect("an end");
        assert_eq!(end as u64, records, "{topic}");
    }
    assert_eq!(read[READINGS], posted + 2);
    assert_eq!(written[ALERTS], alerts);
}
