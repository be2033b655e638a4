//! The page is left open for days.

use serde_json::Value;

use crate::driver::Browser;
use crate::http::post;
use crate::page::Page;
use crate::process::{Place, WINDOW_MS, everywhere, reading, until};

/// Replaces the stream of states by one that shows a state a second, with growing counters, as fast as the page takes
/// them.
const HURRY: &str = "
    const real = window.fetch;
    const counters = ['records', 'bytes', 'processed_records', 'commits', 'readings'];
    const later = (value, by) => {
      if (Array.isArray(value)) return value.map((one) => later(one, by));
      if (value === null || typeof value !== 'object') return value;
      const field = ([name, one]) => [name, counters.includes(name) && typeof one === 'number' ? one + 7 * by : later(one, by)];
      return Object.fromEntries(Object.entries(value).map(field));
    };
    window.fetch = async (path, options) => {
      if (!String(path).endsWith('events')) return real(path, options);
      const state = await (await real('state')).json();
      window.passed ??= 0;
      const pull = async (controller) => {
        await new Promise((resolve) => setTimeout(resolve));
        for (let number = 0; number < 20; number += 1) {
          window.passed += 1;
          const shown = { ...later(state, window.passed), at_ms: state.at_ms + 1000 * window.passed };
          controller.enqueue(new TextEncoder().encode(`id: 1-${window.passed}\\ndata: ${JSON.stringify(shown)}\\n\\n`));
        }
      };
      return new Response(new ReadableStream({ pull }));
    };";

/// More than this in the time would be more than a kilobyte a state.
const GROWTH_BYTES: u64 = 4 << 20;

/// Waits as long as there are more and more of them: how fast the page takes them depends on the machine.
fn passed(page: &Page<'_>, states: u64) {
    let mut before = 0;
    while before < states {
        let number = "return window.passed ?? 0";
        let passed = page.until("time passes", number, |passed| {
            passed.as_u64().is_some_and(|passed| passed > before)
        });
        before = passed.as_u64().unwrap();
    }
}

fn elements(page: &Page<'_>) -> Value {
    page.run("return document.querySelectorAll('*').length", &[])
}

pub fn an_open_page_does_not_grow(browser: &Browser) {
    let place = Place::new();
    let service = place.start(&[]);
    for lines in [
        everywhere(1_000),
        reading("Arctic", 1_000 + WINDOW_MS),
        everywhere(1_000 + 6 * WINDOW_MS),
    ] {
        assert_eq!(post(service.address, &[], lines.as_bytes()).status, 200);
    }
    until("the windows are closed", || service.averages().len() == 6);
    let page = Page::open(browser, service.address);
    page.prepare(HURRY);
    page.go(service.address);
    // More than the five minutes that it keeps.
    passed(&page, 1_000);
    page.until_alert("Southern: no readings");
    let (heap, shown) = (page.heap_bytes(), elements(&page));
    passed(&page, 6_000);
    let grown = page.heap_bytes().saturating_sub(heap);
    assert!(
        grown < GROWTH_BYTES,
        "{grown} bytes in 5,000 states, after {heap}"
    );
    assert_eq!(elements(&page), shown);
    page.expect_no_complaint();
}
