//! Starts the service, and stops it cleanly or not.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ocean::model::{Average, OCEANS};
use tempfile::TempDir;

use crate::http::{self, get};

/// How long anything may take before the test gives up.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The length of windows in these tests, in milliseconds, and their grace.
pub const WINDOW_MS: i64 = 2_000;

/// A directory for a service: its log and its state.
pub struct Place {
    pub directory: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The program, without settings from the environment of the test.
    pub fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocean"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OCEAN_") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A service with its log and state here: windows of two seconds, one partition, so that windows close as soon
    /// as time allows.
    pub fn command(&self, flags: &[&str]) -> Command {
        let mut command = self.program();
        command
            .args(["--listen", "127.0.0.1:0", "--window", "2s", "--grace", "1s"])
            .args(["--partitions", "1", "--workers", "1", "--memory", "64"])
            .args(flags);
        command
    }

    pub fn start(&self, flags: &[&str]) -> Service {
        Service::start(self.command(flags))
    }
}

/// A running service, which is killed when dropped.
pub struct Service {
    pub child: Child,
    pub address: SocketAddr,
}

impl Service {
    /// Starts it, and waits until it accepts readings.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the service starts");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        out.read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on http://");
        let Some(address) = address.and_then(|address| address.parse().ok()) else {
            let mut error = String::new();
            let stderr = child.stderr.take();
            stderr
                .expect("piped")
                .read_to_string(&mut error)
                .expect("text");
            panic!("it does not listen: {line:?} {error}");
        };
        let service = Self { child, address };
        // Once the intake is open, an empty body is refused for being empty.
        let body = b"";
        until("the intake is open", || {
            http::post(address, &[("Authorization", &bearer())], body).status != 503
        });
        service
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }

    /// SIGTERM.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", signal, &id])
            .status()
            .expect("kill");
        assert!(sent.success());
    }

    /// Waits for its end.
    pub fn ended(mut self) -> ExitStatus {
        let mut ended = None;
        until("the service ends", || {
            ended = self.child.try_wait().expect("a child");
            ended.is_some()
        });
        ended.expect("it ended")
    }

    /// All averages so far, page by page.
    pub fn averages(&self) -> Vec<Average> {
        let (mut averages, mut cursor) = (Vec::new(), 0);
        loop {
            let page = get(
                self.address,
                &format!("/averages?limit=1000&cursor={cursor}"),
            );
            assert_eq!(page.status, 200, "{page:?}");
            let page = page.json();
            let found: Vec<Average> = serde_json::from_value(page["averages"].clone()).unwrap();
            averages.extend(found);
            cursor = page["next"].as_i64().unwrap();
            if page["more"] == false {
                return averages;
            }
        }
    }

    /// Readings in the averages of windows that start before a time.
    pub fn counted(&self, before_ms: i64) -> i64 {
        let averages = self.averages();
        let windows = averages
            .iter()
            .filter(|average| average.window_start_ms < before_ms);
        windows.map(|average| average.count).sum()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The token of services that have one.
pub const TOKEN: &str = "0123456789abcdef-of-a-test";

pub fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

/// Waits until a condition holds.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A valid reading, as a line.
pub fn reading(ocean: &str, timestamp_ms: i64) -> String {
    let sensor = ocean.to_lowercase();
    format!(
        "{{\"sensor\":\"{sensor}-1\",\"ocean\":\"{ocean}\",\"temperature\":2.5,\"salinity\":34.5,\"volume\":300.0,\"timestamp_ms\":{timestamp_ms}}}\n"
    )
}

/// A reading of each ocean.
pub fn everywhere(timestamp_ms: i64) -> String {
    OCEANS
        .iter()
        .map(|ocean| reading(ocean.name, timestamp_ms))
        .collect()
}
