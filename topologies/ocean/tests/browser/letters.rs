//! A dead letter is sent again from the page.

use marea::prelude::*;
use ocean::topology::{DEAD_LETTERS, READINGS, topics};

use crate::driver::Browser;
use crate::http::{ask, post};
use crate::page::Page;
use crate::process::{Place, Service, WINDOW_MS, bearer, everywhere, reading, until};

/// The environment of a service that has a token.
fn command(place: &Place) -> std::process::Command {
    let mut command = place.command(&[]);
    command.env("OCEAN_TOKEN", crate::process::TOKEN);
    command
}

/// A service with a token, whose log has a dead letter.
pub fn start_with_letter(place: &Place) -> Service {
    start_with_letters(place, 1)
}

/// A service with a token, whose log has dead letters: readings of the Arctic at one second, which an earlier release
/// set aside. The current release refuses invalid readings when they are posted.
pub fn start_with_letters(place: &Place, count: usize) -> Service {
    let address = format!("embedded:{}", place.path("ocean-data").display());
    let log = marea::open(&address).expect("a log");
    log.create_topics(&topics(1)).expect("topics");
    let value = reading("Arctic", 1_000).into_bytes();
    let mut letter = Record::new("arctic-1".to_owned(), value, 1_000);
    for (name, said) in [
        ("stage", "process"),
        ("message", "no such ocean: Arctic"),
        ("topic", READINGS),
        ("partition", "0"),
        ("offset", "0"),
    ] {
        let said = said.as_bytes().to_vec();
        letter
            .headers
            .add(format!("marea.error.{name}"), Some(said));
    }
    let letters = log.producer::<String, Vec<u8>>(DEAD_LETTERS);
    let mut letters = letters.expect("a producer");
    for _ in 0..count {
        letters.send_record(&letter).expect("appended");
    }
    drop((letters, log));
    Service::start(command(place))
}

pub fn a_dead_letter_is_sent_again_from_the_page_and_counts(browser: &Browser) {
    let place = Place::new();
    let service = start_with_letter(&place);
    let bearer = bearer();
    let headers = [("Authorization", &*bearer)];
    let page = Page::open(browser, service.address);
    page.give_token();
    page.until_well();
    page.click("#letters li button");
    page.click("#confirm-do");
    let outcome = "return document.querySelector('#letters li .outcome').textContent";
    let sent = format!("sent again to {READINGS}, partition 0");
    page.until("it is sent", outcome, |outcome| outcome == &*sent);
    // It counts like any other reading.
    let later = everywhere(4 * WINDOW_MS);
    let answer = post(service.address, &headers, later.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    page.until_card("Arctic", ["2.5 °C", "34.5 PSU", "300"], "1 reading ");
    let metrics = || ask(service.address, "GET", "/metrics", &headers, b"").body;
    until("it is counted", || {
        metrics().contains("marea_redriven_records_total 1\n")
    });
    // The page also shows that it was sent before to those who come later.
    page.go(service.address);
    let before = "return document.querySelector('#letters li .outcome')?.textContent";
    page.until("it is marked", before, |outcome| {
        outcome == "already sent again"
    });
    page.expect_no_complaint();
}
