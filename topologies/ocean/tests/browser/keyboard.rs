//! The page without a pointer.

use serde_json::Value;

use crate::driver::Browser;
use crate::http::{ask, post};
use crate::letters::start_with_letters;
use crate::page::{Page, keys};
use crate::process::{Place, Service, TOKEN, WINDOW_MS, bearer, everywhere, until};

/// The focused element: whether it is the first time, its text, and how its focus is drawn.
const FOCUSED: &str = "
    const one = document.activeElement;
    const isNew = one !== document.body && !one.dataset.visited;
    one.dataset.visited = 'yes';
    const { outlineStyle, outlineWidth } = getComputedStyle(one);
    return { isNew, id: one.id, text: one.textContent.trim().slice(0, 60), outline: `${outlineStyle} ${outlineWidth}` };";

/// What can be clicked and was not reached.
const MISSED: &str = "
    const all = [...document.querySelectorAll('a[href], button, summary, input, [tabindex]')];
    const shown = all.filter((one) => one.checkVisibility() && !one.closest('dialog'));
    return shown.filter((one) => !one.dataset.visited).map((one) => one.outerHTML.slice(0, 120));";

/// Counts the attempts to read the stream.
const COUNT_ATTEMPTS: &str = "
    const real = window.fetch;
    window.attempts = 0;
    window.fetch = (path, options) => {
      if (String(path).endsWith('events')) window.attempts += 1;
      return real(path, options);
    };";

fn metric(service: &Service, name: &str) -> f64 {
    let headers = [("Authorization", &*bearer())];
    let metrics = ask(service.address, "GET", "/metrics", &headers, b"").body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0.0, |value| value.trim().parse().expect("a number"))
}

/// Types the token into what has the focus: the dialog that the page opens.
fn type_token(page: &Page<'_>, token: &str) {
    page.until_shown("#token-input");
    page.press(token);
    page.press(keys::ENTER);
}

pub fn everything_can_be_done_with_the_keyboard(browser: &Browser) {
    let place = Place::new();
    let service = start_with_letters(&place, 2);
    let headers = [("Authorization", &*bearer())];
    for lines in [everywhere(1_000), everywhere(1_000 + 4 * WINDOW_MS)] {
        let answer = post(service.address, &headers, lines.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let page = Page::open(browser, service.address);
    type_token(&page, TOKEN);
    page.until_well();
    page.until_alert("Pacific: temperature out of bounds");
    let buttons = "return document.querySelectorAll('#letters li button').length";
    page.until("the letters are there", buttons, |count| count == 2);

    // The focus goes to everything that can be clicked, and is drawn.
    let mut visited = 0;
    loop {
        page.press(keys::TAB);
        let focused = page.run(FOCUSED, &[]);
        if focused["isNew"] != true {
            break;
        }
        visited += 1;
        let outline = focused["outline"].as_str().unwrap_or_default();
        let is_drawn = !outline.starts_with("none") && !outline.ends_with(" 0px");
        assert!(is_drawn, "{focused}");
    }
    let missed = page.run(MISSED, &[]);
    assert_eq!(missed, serde_json::json!([]), "{visited} were reached");
    assert!(visited >= 8, "{visited} were reached");

    // An alert opens its windows.
    page.run(
        "document.querySelector('.ocean-alerts summary').focus()",
        &[],
    );
    page.press(keys::ENTER);
    page.until_shown(".ocean-alerts details[open] li");

    // A letter is sent, after a question.
    let focus = "document.querySelector('#letters li button').focus()";
    page.run(focus, &[]);
    page.press(keys::ENTER);
    page.until_shown("#confirm-do");
    let is_there = |page: &Page| page.run("return document.activeElement.id", &[]) == "confirm-do";
    for _ in 0..20 {
        if !is_there(&page) {
            page.press(keys::TAB);
        }
    }
    assert!(is_there(&page), "the Tab key reaches the button");
    page.press(keys::ENTER);
    let outcomes =
        "return [...document.querySelectorAll('#letters .outcome')].map((one) => one.textContent)";
    let is_sent = |outcome: &Value| {
        outcome
            .as_str()
            .is_some_and(|text| text.starts_with("sent again"))
    };
    page.until("it is sent", outcomes, |found| is_sent(&found[0]));
    // The Escape key is a no, also after a yes.
    page.run(focus, &[]);
    page.press(keys::ENTER);
    page.until_shown("#confirm-do");
    page.press(keys::ESCAPE);
    let is_open = "return document.getElementById('confirm-dialog').open";
    page.until("it is closed", is_open, |open| open == false);
    until("the first is counted", || {
        metric(&service, "marea_redriven_records_total") >= 1.0
    });
    page.until_well();
    assert_eq!(page.run(outcomes, &[])[1], "");
    assert_eq!(page.run(buttons, &[]), 1);
    assert_eq!(metric(&service, "marea_redriven_records_total"), 1.0);
    page.expect_no_complaint();
}

pub fn who_closes_the_question_for_the_token_is_not_asked_again(browser: &Browser) {
    let place = Place::new();
    let service = place.start(&["--token", TOKEN]);
    let page = Page::open(browser, service.address);
    page.prepare(COUNT_ATTEMPTS);
    page.go(service.address);
    page.until_shown("#token-input");
    page.press(keys::ESCAPE);
    let attempts = "return window.attempts";
    let before = page.run(attempts, &[]).as_u64().unwrap_or_default();
    page.until("it has tried again", attempts, |count| {
        count.as_u64().is_some_and(|count| count >= before + 2)
    });
    let is_open = "return document.getElementById('token-dialog').open";
    assert_eq!(page.run(is_open, &[]), false);
    // A wrong one is asked for again, and the right one accepted.
    page.click("#token-button");
    type_token(&page, "0123456789abcdef-wrong");
    type_token(&page, TOKEN);
    page.until_well();
}
