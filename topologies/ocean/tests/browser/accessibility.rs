//! Everybody can use the page: a checker finds nothing, and no screen is too narrow.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::driver::Browser;
use crate::http::post;
use crate::letters::start_with_letter;
use crate::page::Page;
use crate::process::{Place, Service, WINDOW_MS, bearer, everywhere, reading};

/// The checker; `axe/README.md` says where it comes from.
const CHECKER: &[u8] = include_bytes!("axe/axe.min.js.gz");

/// Runs all its rules over the current page.
const CHECK: &str = "
    const done = arguments[arguments.length - 1];
    const node = ({ target, failureSummary }) => ({ target, failureSummary });
    const short = ({ id, help, nodes }) => ({ id, help, nodes: nodes.map(node) });
    axe.run(document).then(
      ({ violations, passes }) => done({ violations: violations.map(short), passes: passes.map(({ id }) => id) }),
      (error) => done({ error: String(error) }));";

/// A page with a bit of everything: averages, alerts, a dead letter.
fn full(browser: &Browser) -> (Place, Service, Page<'_>) {
    let place = Place::new();
    let service = start_with_letter(&place);
    let headers = [("Authorization", &*bearer())];
    for lines in [
        everywhere(1_000),
        reading("Arctic", 1_000 + WINDOW_MS),
        everywhere(1_000 + 4 * WINDOW_MS),
    ] {
        let answer = post(service.address, &headers, lines.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let page = Page::open(browser, service.address);
    page.give_token();
    page.until_well();
    (place, service, page)
}

/// Waits until everything is drawn, and opens what can be opened.
fn until_drawn(page: &Page<'_>) {
    page.until_well();
    page.until_alert("Southern: no readings");
    for selector in ["#letters li button", ".node", "#topics tbody tr", "meter"] {
        page.until_shown(selector);
    }
    page.run(
        "for (const one of document.querySelectorAll('details')) one.open = true",
        &[],
    );
}

/// The violations that the checker finds, and the rules that the page passes.
fn check(page: &Page<'_>) -> (Vec<Value>, Vec<String>) {
    let found = page.run_on(CHECK);
    let passes: Vec<String> = serde_json::from_value(found["passes"].clone())
        .unwrap_or_else(|_| panic!("the checker failed: {found}"));
    (found["violations"].as_array().unwrap().clone(), passes)
}

fn expect_nothing(page: &Page<'_>, what: &str) {
    let (violations, passes) = check(page);
    let text = serde_json::to_string_pretty(&violations).unwrap();
    assert!(violations.is_empty(), "{what}: {text}");
    assert!(
        passes.iter().any(|rule| rule == "color-contrast"),
        "{what}: {passes:?}"
    );
}

pub fn a_checker_finds_nothing(browser: &Browser) {
    let mut checker = String::new();
    let read = GzDecoder::new(CHECKER).read_to_string(&mut checker);
    read.expect("it is whole");
    let (_place, service, page) = full(browser);
    for width in [360, 1_280] {
        for palette in ["light", "dark"] {
            let what = format!("{width} px, {palette}");
            page.look(width, palette);
            page.go(service.address);
            until_drawn(&page);
            page.run(&checker, &[]);
            expect_nothing(&page, &what);
            page.click("#letters li button");
            page.until_shown("#confirm-do");
            expect_nothing(&page, &format!("{what}, asked whether to send"));
            page.click("#confirm-dialog button[value=cancel]");
            page.click("#token-button");
            page.until_shown("#token-input");
            expect_nothing(&page, &format!("{what}, asked for the token"));
            page.click("#token-dialog button[value=cancel]");
        }
    }
    // It does find faults.
    page.run(
        "document.querySelector('footer p').append(document.createElement('input'))",
        &[],
    );
    let (violations, _) = check(&page);
    let mut rules = violations.iter().map(|violation| &violation["id"]);
    assert!(rules.any(|rule| rule == "label"), "{violations:?}");
    // When the page is stale, it says so, and can still be read.
    page.go(service.address);
    until_drawn(&page);
    page.run(&checker, &[]);
    service.kill();
    page.until_shown("#stale");
    expect_nothing(&page, "the connection is lost");
}

pub fn nothing_scrolls_sideways(browser: &Browser) {
    let (_place, service, page) = full(browser);
    for width in [320, 360, 768, 1_280, 2_560] {
        page.look(width, "light");
        page.go(service.address);
        until_drawn(&page);
        let widths = page.run(
            "const { scrollWidth, clientWidth } = document.documentElement; return [innerWidth, scrollWidth - clientWidth]",
            &[],
        );
        assert_eq!(widths, serde_json::json!([width, 0]));
    }
}
