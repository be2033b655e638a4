//! The service's page in a browser: its content, and what a user does with it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::driver::{Browser, Session};
use crate::process::{PATIENCE, TOKEN};

/// The card of an ocean, as an object.
const CARD: &str = "
    const card = [...document.querySelectorAll('.ocean')].find((card) => card.querySelector('h3').textContent === arguments[0]);
    const text = (name) => [...(card?.querySelectorAll(name) ?? [])].map((found) => found.textContent);
    return { state: text('.ocean-state')[0] ?? '', values: text('.value'), figures: text('.ocean-figures')[0] ?? '' };";

/// Keys without a letter, by the standard.
pub mod keys {
    pub const TAB: &str = "\u{e004}";
    pub const ENTER: &str = "\u{e007}";
    pub const ESCAPE: &str = "\u{e00c}";
}

/// A page, whose browser is closed when it is dropped.
pub struct Page<'a>(Session<'a>);

impl<'a> Page<'a> {
    /// Opens the page of a service.
    pub fn open(browser: &'a Browser, address: SocketAddr) -> Self {
        let page = Self(browser.session());
        page.go(address);
        page
    }

    /// Loads the page of a service, again if it is already open.
    pub fn go(&self, address: SocketAddr) {
        let url = format!("http://{address}/");
        self.0.command("url", &json!({ "url": url }));
    }

    /// Sets the width of the screen, and the palette: "light" or "dark".
    pub fn look(&self, width: u32, palette: &str) {
        let screen =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.0.tools("Emulation.setDeviceMetricsOverride", screen);
        let features =
            json!({ "features": [{ "name": "prefers-color-scheme", "value": palette }] });
        self.0.tools("Emulation.setEmulatedMedia", features);
    }

    /// Runs a script before those of the page, whenever it is loaded.
    pub fn prepare(&self, script: &str) {
        let parameters = json!({ "source": script });
        let command = "Page.addScriptToEvaluateOnNewDocument";
        self.0.tools(command, parameters);
    }

    /// The memory of its scripts, in bytes, without what is garbage.
    pub fn heap_bytes(&self) -> u64 {
        self.0.tools("HeapProfiler.collectGarbage", json!({}));
        let usage = self.0.tools("Runtime.getHeapUsage", json!({}));
        usage["usedSize"].as_f64().expect("a size") as u64
    }

    /// Returns the value of a script.
    pub fn run(&self, script: &str, arguments: &[Value]) -> Value {
        let body = json!({ "script": script, "args": arguments });
        self.0.command("execute/sync", &body)
    }

    /// Returns what a script passes to the function that is its last argument.
    pub fn run_on(&self, script: &str) -> Value {
        let body = json!({ "script": script, "args": [] });
        self.0.command("execute/async", &body)
    }

    /// Waits until the value of a script meets a condition, and returns it.
    pub fn until(&self, what: &str, script: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        self.until_of(what, script, &[], is_so)
    }

    fn until_of(
        &self,
        what: &str,
        script: &str,
        arguments: &[Value],
        is_so: impl Fn(&Value) -> bool,
    ) -> Value {
        let begun = Instant::now();
        loop {
            let found = self.run(script, arguments);
            if is_so(&found) {
                return found;
            }
            if begun.elapsed() > PATIENCE {
                let text = self.run("return document.body.innerText", &[]);
                panic!(
                    "waited too long until {what}; there is {found}, on a page that says\n{}",
                    text.as_str().unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until an element that matches a selector is shown.
    pub fn until_shown(&self, selector: &str) {
        let script =
            format!("return document.querySelector({selector:?})?.checkVisibility() === true");
        self.until(selector, &script, |shown| shown == true);
    }

    /// Waits until the headline says that all is well.
    pub fn until_well(&self) {
        let level = "return document.getElementById('headline').dataset.level";
        self.until("all is well", level, |level| level == "well");
    }

    /// Waits until the card of an ocean has these averages of this many readings, and returns its verdict.
    pub fn until_card(&self, ocean: &str, values: [&str; 3], readings: &str) -> String {
        let card = self.until_of(ocean, CARD, &[json!(ocean)], |card| {
            let figures = card["figures"].as_str().unwrap_or_default();
            card["values"] == json!(values) && figures.starts_with(readings)
        });
        card["state"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the list of alerts has a line that begins like this.
    pub fn until_alert(&self, begins: &str) {
        let lines = "return [...document.querySelectorAll('.ocean-alerts summary')].map((line) => line.textContent)";
        self.until(begins, lines, |lines| {
            let lines = lines.as_array().map_or(&[][..], Vec::as_slice);
            let mut lines = lines.iter().filter_map(Value::as_str);
            lines.any(|line| line.starts_with(begins))
        });
    }

    /// Clicks like a user: on what is shown and not covered.
    pub fn click(&self, selector: &str) {
        self.on_element(selector, "click", &json!({}));
    }

    /// Presses keys, one after another; those without a letter are in [`keys`].
    pub fn press(&self, keys: &str) {
        let steps = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|step| json!({ "type": step, "value": key })));
        let steps: Vec<Value> = steps.collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": steps });
        self.0.command("actions", &json!({ "actions": [keyboard] }));
    }

    /// Enters the token, which the page asks for.
    pub fn give_token(&self) {
        self.on_element("#token-input", "value", &json!({ "text": TOKEN }));
        self.click("#token-dialog button.main");
    }

    /// Does something with an element, which may be redrawn in the meantime.
    fn on_element(&self, selector: &str, command: &str, body: &Value) {
        let begun = Instant::now();
        loop {
            self.until_shown(selector);
            let element = self.0.element(selector);
            let done = element
                .and_then(|element| self.0.try_command(&format!("{element}/{command}"), body));
            match done {
                Ok(_) => return,
                Err(why) if begun.elapsed() > PATIENCE => panic!("{command} {selector}: {why}"),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Fails if the console has an error: of a script that failed, or of something that the policy forbids. Having
    /// had to ask for the token is no error.
    pub fn expect_no_complaint(&self) {
        let complaints = self.0.command("se/log", &json!({ "type": "browser" }));
        let complaints: Vec<&Value> = (complaints.as_array().into_iter().flatten())
            .filter(|complaint| complaint["level"] == "SEVERE")
            .filter(|complaint| !complaint["message"].to_string().contains("status of 401"))
            .collect();
        assert!(complaints.is_empty(), "{complaints:?}");
    }
}
