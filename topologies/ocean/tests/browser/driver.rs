//! The browser: `chromedriver` as a child process, which starts a Chromium for each page and is controlled by
//! WebDriver, a W3C standard: requests with JSON.

use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

/// Possible names of Chromium.
const PROGRAMS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];
/// How long the driver may take for one answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a script or loading a page may take: less than [`PATIENCE`], so that the driver's answer is still awaited. By the standard a script has
/// 30 seconds, which a checker of the whole page may exceed on a busy machine.
const RUNNING_MS: u64 = 110_000;
/// How often to try to start a browser.
const STARTS: usize = 3;
/// The name of an element in an answer, by the standard.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The driver of browsers, until it is dropped.
pub struct Browser {
    driver: Child,
    address: String,
    program: PathBuf,
    agent: Agent,
}

impl Browser {
    /// Starts the driver.
    ///
    /// # Errors
    /// What is missing.
    pub fn start() -> Result<Self, String> {
        let program = PROGRAMS.iter().find_map(|name| found(name));
        let program = program.ok_or("there is no chromium")?;
        let driver = found("chromedriver").ok_or("there is no chromedriver")?;
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|cause| format!("chromedriver does not start: {cause}"))?;
        let out = driver.stdout.take().ok_or("no output")?;
        let Some(port) = port(out, PATIENCE) else {
            drop(driver.kill());
            drop(driver.wait());
            return Err("chromedriver does not say its port".to_owned());
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build();
        Ok(Self {
            driver,
            address: format!("http://127.0.0.1:{port}"),
            program,
            agent: config.into(),
        })
    }

    /// A browser of its own, without any stored data.
    pub fn session(&self) -> Session<'_> {
        let options = json!({
            "binary": self.program,
            // Tests run as root in containers, where Chromium's sandbox is unavailable; it only opens our own
            // page.
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run", "--lang=en-GB"],
        });
        let wanted = json!({
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": RUNNING_MS, "pageLoad": RUNNING_MS },
        });
        let body = json!({ "capabilities": { "alwaysMatch": wanted } });
        let address = format!("{}/session", self.address);
        let mut answer = self.ask(&address, &body);
        // The driver gives up a browser that takes a minute.
        for _ in 1..STARTS {
            if let Err(why) = &answer {
                eprintln!("starting a browser again: {why}");
                answer = self.ask(&address, &body);
            }
        }
        let answer = answer.unwrap_or_else(|why| panic!("no browser starts: {why}"));
        let id = answer["sessionId"].as_str().expect("an id");
        Session {
            browser: self,
            address: format!("{}/session/{id}", self.address),
        }
    }

    /// Posts a command; returns the value of its answer, or what is wrong.
    fn ask(&self, address: &str, body: &Value) -> Result<Value, String> {
        let request = self
            .agent
            .post(address)
            .header("Content-Type", "application/json");
        let mut answer = request
            .send(body.to_string())
            .map_err(|cause| cause.to_string())?;
        let text = answer.body_mut().read_to_string();
        let text = text.map_err(|cause| cause.to_string())?;
        let mut value: Value = serde_json::from_str(&text).map_err(|cause| cause.to_string())?;
        match answer.status().as_u16() {
            200 => Ok(value["value"].take()),
            _ => Err(value["value"]["message"].to_string()),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}

/// A window of a running browser, which ends when this is dropped.
pub struct Session<'a> {
    browser: &'a Browser,
    address: String,
}

impl Session<'_> {
    /// The answer to a WebDriver command.
    ///
    /// # Errors
    /// What is wrong.
    pub fn try_command(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.browser.ask(&format!("{}/{path}", self.address), body)
    }

    /// Like [`Session::try_command`], but panics on an error.
    pub fn command(&self, path: &str, body: &Value) -> Value {
        let answer = self.try_command(path, body);
        answer.unwrap_or_else(|why| panic!("{path}: {why}"))
    }

    /// The answer to a command of Chromium's developer tools.
    pub fn tools(&self, command: &str, parameters: Value) -> Value {
        self.command(
            "goog/cdp/execute",
            &json!({ "cmd": command, "params": parameters }),
        )
    }

    /// The path of the first element that matches a selector.
    ///
    /// # Errors
    /// There is none.
    pub fn element(&self, selector: &str) -> Result<String, String> {
        let body = json!({ "using": "css selector", "value": selector });
        let found = self.try_command("element", &body)?;
        let id = found[ELEMENT].as_str().ok_or("no element")?;
        Ok(format!("element/{id}"))
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // The browser may have died.
        drop(self.browser.agent.delete(&self.address).call());
    }
}

/// Finds a program in the search path.
fn found(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut files = std::env::split_paths(&path).map(|folder| folder.join(name));
    files.find(|file| file.is_file())
}

/// The port that the driver has chosen, if it prints it in time. Later output is read and dropped, so that the driver can continue to
/// write.
fn port(out: impl Read + Send + 'static, patience: Duration) -> Option<u16> {
    let (told, port) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if let Some((_, port)) = line.rsplit_once("successfully on port ") {
                // Nobody waits any more if it comes late, or twice.
                let _ = told.send(port.trim_end_matches('.').parse().ok());
            }
        }
    });
    port.recv_timeout(patience).ok().flatten()
}
