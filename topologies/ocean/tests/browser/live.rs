//! Readings become averages and alerts as one watches, also after a crash.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::json;

use crate::driver::Browser;
use crate::http::post;
use crate::page::Page;
use crate::process::{Place, Service, WINDOW_MS, everywhere};

/// A reading of the Arctic or another ocean.
fn reading(ocean: &str, temperature: f64, timestamp_ms: i64) -> String {
    let reading = json!({
        "sensor": "buoy-7", "ocean": ocean, "temperature": temperature, "salinity": 34.5, "volume": 300.0,
        "timestamp_ms": timestamp_ms,
    });
    format!("{reading}\n")
}

fn send(address: SocketAddr, lines: &str) {
    let answer = post(address, &[], lines.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Closes the windows that begin before the third.
fn close(address: SocketAddr) {
    send(address, &everywhere(4 * WINDOW_MS));
}

pub fn posted_readings_appear_as_averages_and_alerts(browser: &Browser) {
    let place = Place::new();
    let service = place.start(&[]);
    let page = Page::open(browser, service.address);
    page.until_well();
    // The page says what to do while there is nothing.
    page.until_shown("#begin .command");
    for temperature in [1.0, 2.5, 5.5] {
        send(service.address, &reading("Arctic", temperature, 1_000));
    }
    send(service.address, &reading("Indian", 45.0, 1_000));
    close(service.address);
    let arctic = page.until_card("Arctic", ["3 °C", "34.5 PSU", "300"], "3 readings");
    assert_eq!(arctic, "● Within bounds");
    let indian = page.until_card("Indian", ["45 °C", "34.5 PSU", "300"], "1 reading ");
    assert!(
        indian.starts_with("▲ temperature above its bounds"),
        "{indian}"
    );
    page.until_alert("Indian: temperature out of bounds, 1 window ");
    // The others had no readings in the first window.
    page.until_alert("Southern: no readings, 1 window ");
    page.until_well();
    page.expect_no_complaint();
}

pub fn a_card_says_that_its_ocean_is_silent(browser: &Browser) {
    let place = Place::new();
    let service = place.start(&[]);
    let page = Page::open(browser, service.address);
    let state = "return [...document.querySelectorAll('.ocean')].find((card) => card.querySelector('h3').textContent === 'Southern')?.querySelector('.ocean-state').textContent";
    let begins = |words: &'static str| {
        page.until(words, state, |found| {
            found.as_str().is_some_and(|found| found.starts_with(words))
        })
    };
    begins("No window has closed yet");
    send(service.address, &everywhere(1_000));
    for window in 1..4 {
        send(
            service.address,
            &reading("Arctic", 2.5, 1_000 + window * WINDOW_MS),
        );
    }
    send(
        service.address,
        &reading("Arctic", 2.5, 1_000 + 9 * WINDOW_MS),
    );
    // Its last average was within bounds, and is no news.
    begins("○ No readings since");
    page.expect_no_complaint();
}

/// The service on a fixed address, so that the page finds it again.
fn command(place: &Place, listen: &str) -> Command {
    let mut command = place.program();
    command
        .args(["--listen", listen, "--window", "2s", "--grace", "1s"])
        .args(["--partitions", "1", "--workers", "1", "--memory", "64"]);
    command
}

pub fn the_page_comes_back_after_a_crash_with_the_right_totals(browser: &Browser) {
    let place = Place::new();
    let service = Service::start(command(&place, "127.0.0.1:0"));
    let address = service.address;
    let page = Page::open(browser, address);
    page.until_well();
    page.run("window.isTheSame = true", &[]);
    send(address, &reading("Arctic", 1.0, 1_000));
    send(address, &reading("Arctic", 2.0, 1_000));
    service.kill();
    page.until_shown("#stale");
    let service = Service::start(command(&place, &address.to_string()));
    assert_eq!(service.address, address);
    send(address, &reading("Arctic", 6.0, 1_000));
    close(address);
    // Those from before the crash and the one from after it, each once.
    page.until_card("Arctic", ["3 °C", "34.5 PSU", "300"], "3 readings");
    let is_stale = "return document.body.classList.contains('is-stale')";
    page.until("the page is live", is_stale, |stale| stale == false);
    page.until_well();
    let is_same = page.run("return window.isTheSame === true", &[]);
    assert_eq!(is_same, true, "the page was loaded anew");
    assert_eq!(service.counted(WINDOW_MS), 3);
}
