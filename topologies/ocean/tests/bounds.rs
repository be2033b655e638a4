//! The bounds of averages are computed from the data by the rule in `src/oceans.rs`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use ocean::model::{Average, Bounds, OCEANS, Reading};
use serde::de::DeserializeOwned;

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

/// The mean, and 2.6 standard deviations of the sample to either side, rounded to a hundredth.
fn around(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let reach = 2.6 * (squares / (count - 1.0)).sqrt();
    let round = |value: f64| (value * 100.0).round() / 100.0;
    (round(mean - reach), round(mean + reach))
}

fn least_and_greatest(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (
        least,
        values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    )
}

fn bounds<T>(all: &[T], of: fn(&T) -> [f64; 3], rule: fn(&[f64]) -> (f64, f64)) -> Bounds {
    let quantity = |place: usize| {
        let values: Vec<f64> = all.iter().map(|one| of(one)[place]).collect();
        rule(&values)
    };
    Bounds {
        temperature: quantity(0),
        salinity: quantity(1),
        volume: quantity(2),
    }
}

#[test]
fn the_bounds_are_those_of_the_data() {
    let averages: Vec<Average> = data("ocean-daily-averages.jsonl.gz");
    let readings: Vec<Reading> = data("ocean-readings.jsonl.gz");
    // 1 February, 1 March and 1 April 2020.
    let (february_ms, march_ms, end_ms) = (1_580_515_200_000, 1_583_020_800_000, 1_585_699_200_000);
    for ocean in &OCEANS {
        let month = |from_ms: i64, to_ms: i64| {
            let days: Vec<Average> = (averages.iter())
                .filter(|day| day.ocean == ocean.name)
                .filter(|day| (from_ms..to_ms).contains(&day.window_start_ms))
                .cloned()
                .collect();
            let of = |day: &Average| [day.temperature_avg, day.salinity_avg, day.volume_avg];
            bounds(&days, of, around)
        };
        assert_eq!(ocean.january, month(0, february_ms), "{}", ocean.name);
        assert_eq!(
            ocean.february,
            month(february_ms, march_ms),
            "{}",
            ocean.name
        );
        assert_eq!(ocean.march, month(march_ms, end_ms), "{}", ocean.name);
        let own: Vec<Reading> = (readings.iter())
            .filter(|reading| reading.ocean == ocean.name)
            .cloned()
            .collect();
        let of = |reading: &Reading| [reading.temperature, reading.salinity, reading.volume];
        assert_eq!(
            ocean.otherwise,
            bounds(&own, of, least_and_greatest),
            "{}",
            ocean.name
        );
    }
    let alerts = averages.iter().flat_map(Average::out_of_bounds).count();
    assert_eq!(alerts, 15);
}
