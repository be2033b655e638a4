//! The page as users see it, in a real browser: `cargo test --release -p ocean --test browser`.
//!
//! A headless Chromium is driven by `chromedriver`, which Debian ships with `chromium` (`scripts/prerequisites
//! browser` installs both). Without them the tests are skipped, and say so; if `MAREA_BROWSER_REQUIRED` is set,
//! that is a failure.
//!
//! Words after the name of the target select cases by their names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and its clock is the real one"
)]

mod accessibility;
mod driver;
#[path = "../service/http.rs"]
#[allow(dead_code, reason = "shared with the tests of the service")]
mod http;
mod keyboard;
mod lasting;
mod letters;
mod live;
mod numbers;
mod page;
#[path = "../service/process.rs"]
#[allow(dead_code, reason = "shared with the tests of the service")]
mod process;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use driver::Browser;

/// A name, and its test.
type Case = (&'static str, fn(&Browser));

const CASES: &[Case] = &[
    (
        "live::posted_readings_appear_as_averages_and_alerts",
        live::posted_readings_appear_as_averages_and_alerts,
    ),
    (
        "live::a_card_says_that_its_ocean_is_silent",
        live::a_card_says_that_its_ocean_is_silent,
    ),
    (
        "live::the_page_comes_back_after_a_crash_with_the_right_totals",
        live::the_page_comes_back_after_a_crash_with_the_right_totals,
    ),
    (
        "letters::a_dead_letter_is_sent_again_from_the_page_and_counts",
        letters::a_dead_letter_is_sent_again_from_the_page_and_counts,
    ),
    (
        "keyboard::everything_can_be_done_with_the_keyboard",
        keyboard::everything_can_be_done_with_the_keyboard,
    ),
    (
        "keyboard::who_closes_the_question_for_the_token_is_not_asked_again",
        keyboard::who_closes_the_question_for_the_token_is_not_asked_again,
    ),
    (
        "numbers::the_page_the_metrics_and_the_log_agree",
        numbers::the_page_the_metrics_and_the_log_agree,
    ),
    (
        "lasting::an_open_page_does_not_grow",
        lasting::an_open_page_does_not_grow,
    ),
    (
        "accessibility::a_checker_finds_nothing",
        accessibility::a_checker_finds_nothing,
    ),
    (
        "accessibility::nothing_scrolls_sideways",
        accessibility::nothing_scrolls_sideways,
    ),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = (arguments.iter())
        .filter(|word| !word.starts_with('-'))
        .collect();
    let cases: Vec<&Case> = (CASES.iter())
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|word| name.contains(*word)))
        .collect();
    // The filter of a run over all targets may select none of them.
    if cases.is_empty() {
        return ExitCode::SUCCESS;
    }
    let browser = match Browser::start() {
        Ok(browser) => browser,
        Err(why) => {
            eprintln!("\nSKIPPED: the tests in a browser did not run: {why}\n");
            // Where the tests must run, skipping them is a failure.
            let required = std::env::var_os("MAREA_BROWSER_REQUIRED").is_some();
            return ExitCode::from(u8::from(required));
        }
    };
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in cases {
        let outcome = catch_unwind(AssertUnwindSafe(|| case(&browser)));
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {word}");
        passed += usize::from(outcome.is_ok());
        failed += usize::from(outcome.is_err());
    }
    println!("\ntest result: {passed} passed; {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}
