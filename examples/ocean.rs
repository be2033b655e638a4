//! The ocean pipeline in short: averages by ocean and window, alerts where one is out of bounds, and dead
//! letters. `cargo run --release --example ocean` prints them.
//!
//! `examples/ocean_aggregates` is the complete version: files, Kafka, a live view, a restart after `kill -9`.

use marea::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Clone, Serialize, Deserialize, marea::Json)]
struct Reading {
    ocean: String,
    temperature: f64,
}

#[derive(Clone, Default, Serialize, Deserialize, marea::Json)]
struct Sums {
    count: u32,
    temperature: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize, marea::Json)]
struct Average {
    window_start_ms: i64,
    temperature: f64,
}

fn topology() -> marea::Result<Topology> {
    let builder = StreamBuilder::new();
    let averages = builder
        .stream::<String, Reading>("readings")
        .group_by("by-ocean", |_sensor, reading| reading.ocean.clone())
        .windowed_by(TimeWindows::of(Duration::from_secs(60)).grace(Duration::from_secs(10)))
        .aggregate(
            Sums::default,
            |_ocean, reading, sums: Sums| Sums {
                count: sums.count + 1,
                temperature: sums.temperature + reading.temperature,
            },
            "sums",
        )
        .suppress(Suppressed::until_window_closes("final"))
        .to_stream()
        .present()
        .map(|window, sums| {
            let average = Average {
                window_start_ms: window.start_ms,
                temperature: sums.temperature / f64::from(sums.count),
            };
            (window.key, average)
        });
    averages.clone().to("averages");
    averages
        .filter(|_ocean, average| !(-2.0..=30.0).contains(&average.temperature))
        .to("alerts");
    builder.build()
}

fn main() -> marea::Result<()> {
    let log = marea::open("memory:")?;
    let topics = ["readings", "averages", "alerts", "dead-letters"];
    log.create_topics(&topics.map(|name| TopicSpec::new(name, 1)))?;
    let mut readings = log.producer::<String, Vec<u8>>("readings")?;
    let lines = [
        (1_000, r#"{"ocean":"Arctic","temperature":1.5}"#),
        (2_000, r#"{"ocean":"Arctic","temperature":2.5}"#),
        (3_000, r#"{"ocean":"Indian","temperature":31.0}"#),
        (4_000, "not a reading"),
        (70_000, r#"{"ocean":"Arctic","temperature":3.0}"#),
    ];
    for (timestamp_ms, line) in lines {
        readings.send_record(&Record::new("buoy-7".to_owned(), line.into(), timestamp_ms))?;
    }

    let settings = Settings {
        // Records that cannot be decoded are set aside, with the reason; by default they would stop the
        // application.
        policies: ErrorPolicies {
            decode: Policy::DeadLetter,
            ..ErrorPolicies::default()
        },
        dead_letter_topic: Some("dead-letters".to_owned()),
        ..Settings::in_memory()
    };
    let mut application = Application::builder(topology()?, "ocean")
        .log(log.clone())
        .settings(settings)
        .start()?;
    application.drain(Duration::from_secs(60))?;
    application.close(Duration::from_secs(60))?;

    for topic in ["averages", "alerts"] {
        let mut found = log.records::<String, Average>(topic)?;
        found.sort_by_key(|record| (record.value.window_start_ms, record.key.clone()));
        for record in found {
            println!("{topic} {} {}", record.key, record.value.temperature);
        }
    }
    let dead = log
        .records::<Option<Vec<u8>>, Vec<u8>>("dead-letters")?
        .len();
    println!("dead letters: {dead}");
    Ok(())
}
