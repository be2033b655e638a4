//! The pipeline through the driver: real readings, orders of arrival, invalid records, alerts.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use flate2::read::GzDecoder;
use marea::base::Record;
use marea::codec::{Bytes, Json, Nullable, Utf8};
use marea::task::DropReason;
use marea::testing::Driver;
use ocean::model::{Alert, AlertKind, Average, OCEANS, Reading};
use ocean::topology::{
    ALERTS, AVERAGES, DEAD_LETTERS, LATEST_MS, Options, READINGS, build, policies,
};
use proptest::prelude::*;
use serde::de::DeserializeOwned;

const DAY_MS: i64 = 86_400_000;

fn data<T: DeserializeOwned>(file: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("data")
        .join(file);
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A dead letter: what came, and why it is one.
#[derive(Debug, PartialEq)]
struct Dead {
    raw: Vec<u8>,
    reason: String,
}

/// The results.
#[derive(Debug, PartialEq)]
struct Results {
    averages: Vec<Average>,
    alerts: Vec<Alert>,
    dead: Vec<Dead>,
    late: u64,
}

fn run(options: Options, lines: impl IntoIterator<Item = (Vec<u8>, i64)>) -> Results {
    let mut driver = Driver::builder(build(options).unwrap())
        .policies(policies())
        .dead_letters(DEAD_LETTERS)
        .build()
        .unwrap();
    let input = driver.input_topic_with(READINGS, Nullable(Bytes), Nullable(Bytes));
    for (line, timestamp_ms) in lines {
        input
            .pipe(&mut driver, Record::new(None, Some(line), timestamp_ms))
            .unwrap();
    }
    driver.drain().unwrap();
    let late = driver.drops().of(DropReason::Late) + driver.drops().of(DropReason::Expired);
    Results {
        averages: read(&mut driver, AVERAGES),
        alerts: read(&mut driver, ALERTS),
        dead: dead(&mut driver),
        late,
    }
}

fn read<T: serde::Serialize + DeserializeOwned + 'static>(
    driver: &mut Driver,
    topic: &str,
) -> Vec<T> {
    let topic = driver.output_topic_with(topic, Nullable(Utf8), Json::<T>::new());
    let records = topic.read(driver).unwrap();
    records.into_iter().map(|record| record.value).collect()
}

fn dead(driver: &mut Driver) -> Vec<Dead> {
    let topic = driver.output_topic_with(DEAD_LETTERS, Nullable(Bytes), Bytes);
    let letters = topic.read(driver).unwrap();
    let letter = |letter: Record<_, Vec<u8>>| {
        let reason = letter.headers.last("marea.error.message").unwrap();
        Dead {
            reason: String::from_utf8(reason.value.clone().unwrap()).unwrap(),
            raw: letter.value,
        }
    };
    letters.into_iter().map(letter).collect()
}

fn line(reading: &Reading) -> (Vec<u8>, i64) {
    (serde_json::to_vec(reading).unwrap(), reading.timestamp_ms)
}

fn sorted(mut averages: Vec<Average>) -> Vec<Average> {
    averages.sort_by(|a, b| (a.window_start_ms, &a.ocean).cmp(&(b.window_start_ms, &b.ocean)));
    averages
}

#[test]
fn the_real_readings_give_the_published_averages() {
    let readings: Vec<Reading> = data("ocean-readings.jsonl.gz");
    let published: Vec<Average> = data("ocean-daily-averages.jsonl.gz");
    let results = run(Options::default(), readings.iter().map(line));
    assert_eq!(results.late, 0);
    assert_eq!(results.dead, []);
    let averages = sorted(results.averages);
    assert_eq!(averages.len(), published.len());
    assert_eq!(averages.len(), 455);
    for (ours, theirs) in averages.iter().zip(&published) {
        let place = |average: &Average| {
            (
                average.window_start_ms,
                average.window_end_ms,
                average.ocean.clone(),
                average.count,
            )
        };
        assert_eq!(place(ours), place(theirs));
        for (ours, theirs) in [
            (ours.temperature_avg, theirs.temperature_avg),
            (ours.salinity_avg, theirs.salinity_avg),
            (ours.volume_avg, theirs.volume_avg),
        ] {
            assert!((ours - theirs).abs() <= 1e-9, "{ours} is not {theirs}");
        }
    }
}

/// A valid reading of an ocean; values that a test is not about are in the middle of the bounds.
fn reading(ocean: &str, timestamp_ms: i64) -> Reading {
    let middle = |(low, high): (f64, f64)| (low + high) / 2.0;
    let bounds = ocean::model::ocean(ocean)
        .unwrap_or(&OCEANS[0])
        .bounds(timestamp_ms);
    Reading {
        sensor: "s".into(),
        ocean: ocean.into(),
        temperature: middle(bounds.temperature),
        salinity: middle(bounds.salinity),
        volume: middle(bounds.volume),
        timestamp_ms,
    }
}

fn everywhere(timestamp_ms: i64) -> impl Iterator<Item = Reading> {
    OCEANS
        .iter()
        .map(move |ocean| reading(ocean.name, timestamp_ms))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_order_of_arrival_changes_a_bit(
        readings in prop::collection::vec((0..5usize, -5.0..40.0f64, 0..2 * DAY_MS), 1..60),
        seed: u64,
    ) {
        let readings: Vec<Reading> = readings
            .into_iter()
            .map(|(ocean, temperature, timestamp_ms)| Reading {
                temperature,
                ..reading(OCEANS[ocean].name, timestamp_ms)
            })
            .collect();
        let mut shuffled = readings.clone();
        shuffled.sort_by_key(|reading| {
            (reading.timestamp_ms as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        // No order is late.
        let options = Options { grace: Duration::from_secs(10 * 86_400), ..Options::default() };
        let one = run(options, readings.iter().map(line));
        let other = run(options, shuffled.iter().map(line));
        prop_assert_eq!(sorted(one.averages), sorted(other.averages));
    }
}

#[test]
fn what_is_no_valid_reading_goes_to_the_dead_letters_with_the_reason() {
    let good = String::from_utf8(line(&reading("Arctic", 5)).0).unwrap();
    let with = |field: &str, value: &str| {
        let mut fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&good).unwrap();
        fields.remove(field);
        let mut text = serde_json::to_string(&fields).unwrap();
        text.pop();
        format!("{text},\"{field}\":{value}}}").into_bytes()
    };
    let without = good.replace("\"salinity\"", "\"saltiness\"").into_bytes();
    let mut not_utf8 = good.clone().into_bytes();
    not_utf8[12] = 0xff;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "broken JSON",
            good.as_bytes()[..40].to_vec(),
            "not a reading: EOF",
        ),
        ("nothing", Vec::new(), "not a reading: EOF"),
        ("another thing", b"[1,2]".to_vec(), "not a reading"),
        (
            "two readings",
            format!("{good}{good}").into_bytes(),
            "trailing characters",
        ),
        ("a missing field", without, "missing field `salinity`"),
        (
            "a field twice",
            format!("{},\"volume\":1}}", &good[..good.len() - 1]).into_bytes(),
            "duplicate field",
        ),
        ("NaN", with("temperature", "NaN"), "not a reading"),
        ("a word", with("temperature", "\"warm\""), "invalid type"),
        ("null", with("volume", "null"), "invalid type"),
        (
            "an infinite number",
            with("salinity", "1e999"),
            "number out of range",
        ),
        (
            "a huge number",
            with("salinity", "-1e12"),
            "salinity -1000000000000 is beyond",
        ),
        ("an empty ocean", with("ocean", "\"\""), "ocean is empty"),
        ("an empty sensor", with("sensor", "\"\""), "sensor is empty"),
        (
            "before 1970",
            with("timestamp_ms", "-1"),
            "timestamp_ms -1 is before 1970",
        ),
        (
            "the smallest integer",
            with("timestamp_ms", &i64::MIN.to_string()),
            "is before 1970",
        ),
        (
            "the year 3000",
            with("timestamp_ms", "32503680000000"),
            "the latest accepted",
        ),
        (
            "the largest integer",
            with("timestamp_ms", &i64::MAX.to_string()),
            "the latest accepted",
        ),
        (
            "beyond integers",
            with("timestamp_ms", "9223372036854775808"),
            "not a reading",
        ),
        (
            "a time with a fraction",
            with("timestamp_ms", "5.5"),
            "not a reading",
        ),
        ("bad UTF-8", not_utf8, "not UTF-8"),
    ];
    for (name, raw, reason) in cases {
        let results = run(
            Options::default(),
            [(raw.clone(), 0), line(&reading("Arctic", 5))],
        );
        let [dead] = &results.dead[..] else {
            panic!("{name}: {results:?}");
        };
        assert!(dead.reason.contains(reason), "{name}: {}", dead.reason);
        assert_eq!(dead.raw, raw, "{name}");
        // The good one after it is not lost.
        assert_eq!(results.averages.len(), 1, "{name}");
        assert_eq!(results.averages[0].count, 1, "{name}");
    }
}

#[test]
fn the_latest_time_believed_is_believed() {
    let results = run(Options::default(), [line(&reading("Arctic", LATEST_MS))]);
    assert_eq!((results.dead.len(), results.averages.len()), (0, 1));
}

#[test]
fn an_ocean_that_nobody_knows_has_averages_and_no_bounds() {
    let baltic = Reading {
        temperature: 500.0,
        ..reading("Baltic", 1)
    };
    let results = run(
        Options::default(),
        everywhere(0).chain([baltic]).map(|r| line(&r)),
    );
    assert_eq!(results.averages.len(), 6);
    assert_eq!(results.alerts, []);
}

#[test]
fn an_average_out_of_bounds_is_an_alert_and_a_reading_out_of_bounds_is_none() {
    let (low, high) = OCEANS[3].january.temperature;
    let readings = |factor: f64| {
        let odd = Reading {
            temperature: low - factor,
            ..reading("Pacific", 10)
        };
        everywhere(0)
            .chain([odd])
            .chain(everywhere(3 * DAY_MS))
            .map(|r| line(&r))
            .collect::<Vec<_>>()
    };
    // With the reading in the middle of the bounds the average is just inside, or outside.
    let half = (high - low) / 2.0;
    assert_eq!(run(Options::default(), readings(half - 0.01)).alerts, []);
    let alerts = run(Options::default(), readings(half + 0.01)).alerts;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0].alert, AlertKind::OutOfBounds);
    assert_eq!(alerts[0].quantity.as_deref(), Some("temperature"));
    assert_eq!(
        (alerts[0].ocean.as_str(), alerts[0].window_start_ms),
        ("Pacific", 0)
    );
}

#[test]
fn a_known_ocean_without_a_reading_is_an_alert_once_a_window_that_others_have_closed() {
    let silent =
        |day: i64| everywhere(day * DAY_MS).filter(|r| r.ocean != "Indian" && r.ocean != "Arctic");
    // Day 1 has no reading at all: nothing has closed it.
    let days = everywhere(0)
        .chain(silent(2))
        .chain(silent(2))
        .chain(everywhere(3 * DAY_MS));
    let alerts = run(Options::default(), days.map(|r| line(&r))).alerts;
    let found: Vec<_> = alerts
        .iter()
        .map(|alert| {
            (
                alert.ocean.as_str(),
                alert.window_start_ms / DAY_MS,
                alert.alert,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("Arctic", 2, AlertKind::NoReadings),
            ("Indian", 2, AlertKind::NoReadings)
        ]
    );
}

#[test]
fn a_window_is_final_when_its_grace_is_over() {
    let mut driver = Driver::builder(build(Options::default()).unwrap())
        .build()
        .unwrap();
    let input = driver.input_topic_with(READINGS, Nullable(Bytes), Nullable(Bytes));
    let pipe = |driver: &mut Driver, timestamp_ms| {
        let (line, timestamp_ms) = line(&reading("Arctic", timestamp_ms));
        input
            .pipe(driver, Record::new(None, Some(line), timestamp_ms))
            .unwrap();
    };
    pipe(&mut driver, 1);
    pipe(&mut driver, DAY_MS + DAY_MS / 2 - 1);
    // Late, and within the grace.
    pipe(&mut driver, 2);
    assert_eq!(read::<Average>(&mut driver, AVERAGES), []);
    pipe(&mut driver, DAY_MS + DAY_MS / 2);
    let averages = read::<Average>(&mut driver, AVERAGES);
    assert_eq!(averages.len(), 1);
    assert_eq!(averages[0].count, 2);
    pipe(&mut driver, 3);
    assert_eq!(
        driver.drops().of(DropReason::Late),
        2,
        "once an average, once who was heard of"
    );
}
