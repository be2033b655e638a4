//! The input and output of the pipeline, and the oceans it knows.

use std::fmt;

use marea::codec::Windowed;
use serde::{Deserialize, Serialize};

pub use crate::oceans::{Bounds, OCEANS, Ocean, ocean};

/// A reading as a sensor sends it, one JSON object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The sensor's name.
    pub sensor: String,
    /// Its ocean.
    pub ocean: String,
    /// Degrees Celsius.
    pub temperature: f64,
    /// Practical salinity units.
    pub salinity: f64,
    /// In the sensor's unit.
    pub volume: f64,
    /// When it was taken, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

/// The three quantities of a valid reading, in billionths of their units.
///
/// Sums of integers do not depend on the order of their terms, so neither partitions nor workers nor a
/// restart change a single bit of an average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measurement {
    /// Billionths of a degree Celsius.
    pub temperature: i64,
    /// Billionths of a practical salinity unit.
    pub salinity: i64,
    /// Billionths of the sensor's unit.
    pub volume: i64,
}

/// Billionths in one.
const NANOS: f64 = 1e9;
/// The limit on the absolute value of a quantity, so that its billionths fit in 64 bits.
pub const LARGEST: f64 = 1e9;

impl Measurement {
    /// The quantities of a reading; each must be finite and at most [`LARGEST`].
    pub fn of(reading: &Reading) -> Self {
        let nanos = |value: f64| (value * NANOS).round() as i64;
        Self {
            temperature: nanos(reading.temperature),
            salinity: nanos(reading.salinity),
            volume: nanos(reading.volume),
        }
    }
}

/// The sums of an ocean's measurements in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Number of measurements.
    pub count: i64,
    /// Billionths of a degree Celsius.
    pub temperature: i128,
    /// Billionths of a practical salinity unit.
    pub salinity: i128,
    /// Billionths of the sensors' unit.
    pub volume: i128,
}

impl Sums {
    /// The sums with one more measurement.
    #[must_use]
    pub fn with(self, measurement: Measurement) -> Self {
        Self {
            count: self.count + 1,
            temperature: self.temperature + i128::from(measurement.temperature),
            salinity: self.salinity + i128::from(measurement.salinity),
            volume: self.volume + i128::from(measurement.volume),
        }
    }
}

/// The averages of an ocean over a window: an object on the topic of averages, and a line of the file
/// of averages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Average {
    /// The ocean.
    pub ocean: String,
    /// Start of the window, in milliseconds since 1970.
    pub window_start_ms: i64,
    /// End of the window, exclusive, in milliseconds since 1970.
    pub window_end_ms: i64,
    /// Readings in the window.
    pub count: i64,
    /// Degrees Celsius.
    pub temperature_avg: f64,
    /// Practical salinity units.
    pub salinity_avg: f64,
    /// In the sensors' unit.
    pub volume_avg: f64,
}

impl Average {
    /// The averages computed from sums.
    pub fn of(window: &Windowed<String>, sums: &Sums) -> Self {
        let average = |sum: i128| sum as f64 / (sums.count as f64 * NANOS);
        Self {
            ocean: window.key.clone(),
            window_start_ms: window.start_ms,
            window_end_ms: window.end_ms,
            count: sums.count,
            temperature_avg: average(sums.temperature),
            salinity_avg: average(sums.salinity),
            volume_avg: average(sums.volume),
        }
    }

    /// An alert for each average outside its ocean's bounds for the month; none for an unknown ocean.
    pub fn out_of_bounds(&self) -> Vec<Alert> {
        let Some(ocean) = ocean(&self.ocean) else {
            return Vec::new();
        };
        let bounds = ocean.bounds(self.window_start_ms);
        let quantities = [
            ("temperature", self.temperature_avg, bounds.temperature),
            ("salinity", self.salinity_avg, bounds.salinity),
            ("volume", self.volume_avg, bounds.volume),
        ];
        let outside = quantities
            .into_iter()
            .filter(|(_, average, (low, high))| !(low..=high).contains(&average));
        outside
            .map(|(quantity, average, (low, high))| Alert {
                ocean: self.ocean.clone(),
                window_start_ms: self.window_start_ms,
                window_end_ms: self.window_end_ms,
                alert: AlertKind::OutOfBounds,
                quantity: Some(quantity.to_owned()),
                average: Some(average),
                low: Some(low),
                high: Some(high),
            })
            .collect()
    }
}

/// The reason for an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// A known ocean had no readings in a window that others have closed.
    NoReadings,
    /// A final average is outside its ocean's bounds for the month.
    OutOfBounds,
}

/// An object on the topic of alerts, and a line of the file of alerts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The ocean.
    pub ocean: String,
    /// Start of the window, in milliseconds since 1970.
    pub window_start_ms: i64,
    /// End of the window, exclusive, in milliseconds since 1970.
    pub window_end_ms: i64,
    /// The reason.
    pub alert: AlertKind,
    /// The quantity, if an average is out of bounds; so are the fields below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<String>,
    /// The average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<f64>,
    /// The lower bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// The upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.quantity, self.average, self.low, self.high) {
            (Some(quantity), Some(average), Some(low), Some(high)) => write!(
                f,
                "{}: average {quantity} {average:.3} is outside {low} to {high}",
                self.ocean
            ),
            _ => write!(f, "{}: no readings", self.ocean),
        }
    }
}

/// A set of known oceans, one bit each in the order of [`OCEANS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OceanSet(pub i64);

impl OceanSet {
    /// The set with one more, if it is known.
    #[must_use]
    pub fn with(self, name: &str) -> Self {
        let place = OCEANS.iter().position(|ocean| ocean.name == name);
        Self(place.map_or(self.0, |place| self.0 | 1 << place))
    }

    /// An alert for each known ocean that is not in the set.
    pub fn missing<K>(self, window: &Windowed<K>) -> Vec<Alert> {
        let places = OCEANS.iter().enumerate();
        let missing = places.filter(|(place, _)| self.0 & 1 << place == 0);
        missing
            .map(|(_, ocean)| Alert {
                ocean: ocean.name.to_owned(),
                window_start_ms: window.start_ms,
                window_end_ms: window.end_ms,
                alert: AlertKind::NoReadings,
                quantity: None,
                average: None,
                low: None,
                high: None,
            })
            .collect()
    }
}
