//! The real readings: the published averages, the same file byte for byte however it is run.

use std::io::Read;

use flate2::read::GzDecoder;
use ocean::model::{Alert, Average};
use serde::de::DeserializeOwned;

use crate::process::{Place, data, readings, run, undisturbed};

fn parse<T: DeserializeOwned>(text: &str) -> Vec<T> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

#[test]
fn the_published_averages_come_out() {
    let mut text = String::new();
    let file = std::fs::File::open(data("ocean-daily-averages.jsonl.gz")).expect("the data");
    GzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("gzip");
    let published: Vec<Average> = parse(&text);
    let place = Place::new();
    let ended = run(place.on_file(&readings(), &[])).well();
    for topic in [
        "ocean-readings",
        "ocean-by-ocean-repartition",
        "ocean-by-window-repartition",
    ] {
        assert!(
            ended.out.contains(&format!("{topic}: 4 partitions")),
            "{}",
            ended.out
        );
    }
    assert!(
        ended
            .out
            .contains("26,310 readings, 0 dead letters, 0 late"),
        "{}",
        ended.out
    );
    let (averages, alerts) = place.results();
    let averages: Vec<Average> = parse(&averages);
    assert_eq!(averages.len(), published.len());
    for (ours, theirs) in averages.iter().zip(&published) {
        assert_eq!(ours.ocean, theirs.ocean);
        assert_eq!(ours.window_start_ms, theirs.window_start_ms);
        assert_eq!(ours.window_end_ms, theirs.window_end_ms);
        assert_eq!(ours.count, theirs.count);
        for (ours, theirs) in [
            (ours.temperature_avg, theirs.temperature_avg),
            (ours.salinity_avg, theirs.salinity_avg),
            (ours.volume_avg, theirs.volume_avg),
        ] {
            assert!((ours - theirs).abs() <= 1e-9, "{ours} is not {theirs}");
        }
    }
    let expected: Vec<Alert> = averages.iter().flat_map(Average::out_of_bounds).collect();
    let mut alerts: Vec<Alert> = parse(&alerts);
    assert_eq!(alerts.len(), expected.len());
    alerts.retain(|alert| !expected.contains(alert));
    assert_eq!(alerts, []);
}

#[test]
fn workers_partitions_backlog_and_guarantee_change_no_byte() {
    let expected = undisturbed();
    for flags in [
        &["--workers", "1"][..],
        &["--workers", "4"],
        &["--workers", "1", "--backlog"],
        &["--workers", "2", "--backlog"],
        &["--workers", "4", "--backlog"],
        &[
            "--workers",
            "4",
            "--partitions",
            "7",
            "--commit-interval-ms",
            "3",
        ],
        &["--workers", "2", "--partitions", "1", "--fsync", "never"],
        &["--workers", "2", "--guarantee", "at-least-once"],
    ] {
        let place = Place::new();
        let ended = run(place.on_file(&readings(), flags)).well();
        assert!(ended.out.contains(" 0 late"), "{flags:?}: {}", ended.out);
        assert_eq!(place.results(), expected, "{flags:?}");
    }
}

#[test]
fn the_same_command_again_adds_nothing() {
    let place = Place::new();
    run(place.on_file(&readings(), &[])).well();
    let expected = place.results();
    let ended = run(place.on_file(&readings(), &[])).well();
    assert!(ended.out.contains(" 0 readings"), "{}", ended.out);
    assert_eq!(place.results(), expected);
}

#[test]
fn made_up_sensors_end_by_themselves_and_can_go_on() {
    let place = Place::new();
    let flags = ["--seconds", "3", "--rate", "2000"];
    for time in 1..=2 {
        let ended = run(place.command(&flags)).well();
        assert!(ended.out.contains("6,000 readings"), "{}", ended.out);
        assert!(ended.out.contains(" 0 late"), "{}", ended.out);
        assert!(ended.out.contains("try next"), "{}", ended.out);
        let dead = format!("{} dead letters\n", 6 * time);
        assert!(ended.out.contains(&dead), "{}", ended.out);
    }
}
