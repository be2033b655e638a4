//! The page's data about the oceans: the averages of the last windows with their bounds, the last alerts, and what
//! clients post.
//!
//! The state of the page includes it each second (`Section::data`), taken from what [`Results`](super::pages::Results)
//! has in memory. What is counted about clients is in the metrics, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::routing::get;
use marea::admin::{AdminOptions, Section};
use marea::base::Result;
use serde_json::{Value, json};

use super::api::{Service, Tally};
use crate::model::{Alert, Average, Bounds, OCEANS};

/// Number of windows shown for an ocean.
const WINDOWS: usize = 60;
/// Number of alerts shown.
const ALERTS: usize = 200;

const SCRIPT: &str = include_str!("page/oceans.js");
const STYLE: &str = include_str!("page/oceans.css");

/// The section of the page.
pub fn section(service: Arc<Service>) -> Section {
    let data = move || {
        let averages = service.averages.latest(WINDOWS * OCEANS.len());
        let alerts = service.alerts.latest(ALERTS);
        let mut shown = overview(&parsed::<Average>(&averages), &parsed::<Alert>(&alerts));
        shown["posts"] = posts(&service);
        shown
    };
    Section::new("oceans", "The oceans", "oceans.js")
        .style("oceans.css")
        .data(data)
}

/// What clients were told: the name of each counter, what it counts, and where it is.
const COUNTS: [(&str, &str, fn(&Tally) -> &AtomicU64); 3] = [
    (
        "refused_readings",
        "Posted lines that were refused as invalid readings.",
        |tally| &tally.refused_readings,
    ),
    (
        "refused_requests",
        "Requests with readings that were refused as a whole.",
        |tally| &tally.refused_requests,
    ),
    (
        "deferred_requests",
        "Requests with readings that were told to come again: too fast, too busy, or the log was unavailable.",
        |tally| &tally.deferred_requests,
    ),
];

fn posts(service: &Service) -> Value {
    let (readings, _) = service.intake.counts();
    let mut posts = json!({ "readings": readings });
    for (name, _, of) in COUNTS {
        posts[name] = of(&service.tally).load(Ordering::Relaxed).into();
    }
    posts
}

/// Adds the same to the metrics.
///
/// # Errors
/// As [`AdminOptions::counter`].
pub fn counted(options: AdminOptions, service: &Arc<Service>) -> Result<AdminOptions> {
    let own = Arc::clone(service);
    let help = "Posted readings that are in the log, from this process.";
    let read = move || own.intake.counts().0;
    let mut options = options.counter("ocean_posted_readings", help, read)?;
    for (name, help, of) in COUNTS {
        let own = Arc::clone(service);
        let read = move || of(&own.tally).load(Ordering::Relaxed);
        options = options.counter(format!("ocean_{name}"), help, read)?;
    }
    Ok(options)
}

/// The files that the section loads.
pub fn assets() -> Router {
    Router::new()
        .route(
            "/oceans.js",
            get(|| async { asset("text/javascript", SCRIPT) }),
        )
        .route("/oceans.css", get(|| async { asset("text/css", STYLE) }))
}

fn asset(
    kind: &'static str,
    text: &'static str,
) -> ([(HeaderName, &'static str); 2], &'static str) {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text)
}

fn parsed<T: serde::de::DeserializeOwned>(texts: &[Arc<str>]) -> Vec<T> {
    let texts = texts.iter();
    texts
        .filter_map(|text| serde_json::from_str(text).ok())
        .collect()
}

/// Windows as `[start, end, readings, temperature, salinity, volume]`, the oldest first; alerts with the newest
/// first.
fn overview(averages: &[Average], alerts: &[Alert]) -> Value {
    let oceans = OCEANS.iter().map(|ocean| {
        let of_ocean = averages.iter().filter(|one| one.ocean == ocean.name);
        let mut windows: Vec<&Average> = of_ocean.collect();
        windows.sort_by_key(|one| one.window_start_ms);
        let shown = &windows[windows.len().saturating_sub(WINDOWS)..];
        let last = shown.last();
        json!({
            "name": ocean.name,
            "bounds": last.map(|last| bounds(ocean.bounds(last.window_start_ms))),
            "windows": shown.iter().map(|one| window(one)).collect::<Vec<_>>(),
        })
    });
    let alerts = alerts.iter().rev().map(|alert| {
        json!({
            "ocean": alert.ocean,
            "kind": alert.alert,
            "quantity": alert.quantity,
            "average": alert.average,
            "low": alert.low,
            "high": alert.high,
            "start_ms": alert.window_start_ms,
            "end_ms": alert.window_end_ms,
        })
    });
    json!({
        "oceans": oceans.collect::<Vec<_>>(),
        "alerts": alerts.collect::<Vec<_>>(),
        "alerts_max": ALERTS,
    })
}

fn bounds(of: &Bounds) -> Value {
    json!({ "temperature": of.temperature, "salinity": of.salinity, "volume": of.volume })
}

fn window(of: &Average) -> Value {
    json!([
        of.window_start_ms,
        of.window_end_ms,
        of.count,
        short(of.temperature_avg),
        short(of.salinity_avg),
        short(of.volume_avg),
    ])
}

/// Four decimals are more than anyone needs.
fn short(average: f64) -> f64 {
    (average * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AlertKind;

    fn average(ocean: &str, start_ms: i64) -> Average {
        Average {
            ocean: ocean.to_owned(),
            window_start_ms: start_ms,
            window_end_ms: start_ms + 10,
            count: 3,
            temperature_avg: 1.000_04,
            salinity_avg: 35.0,
            volume_avg: 300.0,
        }
    }

    #[test]
    fn each_ocean_has_its_last_windows_in_their_order_and_no_more_than_are_shown() {
        let mut averages: Vec<_> = (0..70).map(|n| average("Arctic", n * 10)).collect();
        // Windows of another partition may arrive after later ones.
        averages.swap(60, 65);
        averages.push(average("Atlantic", 0));
        averages.push(average("Nowhere", 0));
        let shown = overview(&averages, &[]);
        let arctic = &shown["oceans"][0];
        assert_eq!(arctic["name"], "Arctic");
        let windows = arctic["windows"].as_array().unwrap();
        assert_eq!(windows.len(), WINDOWS);
        assert_eq!(windows[0][0], 100);
        assert_eq!(windows[WINDOWS - 1], json!([690, 700, 3, 1.0, 35.0, 300.0]));
        let all = shown["oceans"].as_array().unwrap();
        assert_eq!(all.len(), OCEANS.len());
        let counts: Vec<_> = all
            .iter()
            .map(|ocean| ocean["windows"].as_array().unwrap().len())
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), WINDOWS + 1);
        // An ocean without readings has no bounds to show either.
        let silent = all.iter().filter(|ocean| ocean["bounds"].is_null());
        assert_eq!(silent.count(), OCEANS.len() - 2);
    }

    #[test]
    fn the_newest_alert_comes_first() {
        let alert = |start_ms| Alert {
            ocean: "Southern".to_owned(),
            window_start_ms: start_ms,
            window_end_ms: start_ms + 10,
            alert: AlertKind::NoReadings,
            quantity: None,
            average: None,
            low: None,
            high: None,
        };
        let shown = overview(&[], &[alert(0), alert(10)]);
        assert_eq!(shown["alerts"][0]["start_ms"], 10);
        assert_eq!(shown["alerts"][0]["kind"], "no_readings");
    }
}
