//! The broker under test.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use marea::log::Log;

use crate::patience::{LONG, connected};
use crate::proxy::Proxy;

/// A broker, stopped when dropped unless it was running before.
pub struct Broker {
    pub url: String,
    directory: Option<tempfile::TempDir>,
    /// Whether it has forgotten a transaction since it was created, as far as was checked.
    has_forgotten: AtomicBool,
    /// The proxies that clients connect through, one per broker.
    pub proxies: Vec<Proxy>,
}

/// The offset of a proxy's port from its broker's port.
const PROXY: u16 = 3;

/// The configuration of a cluster.
#[derive(Default)]
struct Plan<'a> {
    /// More settings: `name=value;name=value`.
    settings: &'a str,
    is_secure: bool,
    is_proxied: bool,
}

/// How often brokers may forget a transaction before that counts as a failure.
const ATTEMPTS: u32 = 4;

/// Tries a case in which brokers are killed. If brokers have forgotten a transaction, a failure of the case proves
/// nothing, and it is retried.
///
/// # Panics
/// If the case fails although no transaction was forgotten, or has had this excuse too often.
pub fn tried(mut case: impl FnMut() -> Outcome) {
    for _ in 0..ATTEMPTS {
        match case() {
            Outcome::Passed => return,
            Outcome::Excused => println!("    the brokers have forgotten a transaction; once more"),
        }
    }
    panic!("the brokers have forgotten a transaction {ATTEMPTS} times");
}

/// The payload of a panic that a forgotten transaction cannot explain: one makes others wait, or loses records, but
/// ends no process.
pub struct Inexcusable;

/// The outcome of a case that did not fail.
pub enum Outcome {
    Passed,
    /// It failed on brokers that have forgotten a transaction.
    Excused,
}

impl Broker {
    /// The outcome of a case that killed these brokers: see [`tried`].
    pub fn outcome(&self, case: impl FnOnce()) -> Outcome {
        match catch_unwind(AssertUnwindSafe(case)) {
            Ok(()) => Outcome::Passed,
            Err(panic) if !panic.is::<Inexcusable>() && self.has_forgotten_a_transaction() => {
                Outcome::Excused
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    /// `Err` gives the reason why there can be none.
    pub fn start() -> Result<Self, String> {
        if let Ok(address) = std::env::var("MAREA_KAFKA") {
            let broker = Self {
                url: format!("kafka://{address}"),
                directory: None,
                has_forgotten: AtomicBool::new(false),
                proxies: Vec::new(),
            };
            broker.refuse_topics_of_others();
            return Ok(broker);
        }
        Self::own("")
    }

    /// A broker of our own, with more settings: `name=value;name=value`.
    pub fn own(settings: &str) -> Result<Self, String> {
        Self::cluster(1, settings)
    }

    /// A cluster of our own, of 1 or 3 brokers.
    pub fn cluster(brokers: u32, settings: &str) -> Result<Self, String> {
        Self::start_own(
            brokers,
            Self::directory_of_its_own()?,
            Plan {
                settings,
                ..Plan::default()
            },
        )
    }

    /// A cluster that clients reach through one proxy per broker.
    pub fn proxied(brokers: u32) -> Result<Self, String> {
        let plan = Plan {
            is_proxied: true,
            ..Plan::default()
        };
        Self::start_own(brokers, Self::directory_of_its_own()?, plan)
    }

    /// A broker on an existing directory.
    pub fn within(directory: tempfile::TempDir, settings: &str) -> Result<Self, String> {
        let plan = Plan {
            settings,
            ..Plan::default()
        };
        Self::start_own(1, directory, plan)
    }

    fn directory_of_its_own() -> Result<tempfile::TempDir, String> {
        tempfile::tempdir().map_err(|error| error.to_string())
    }

    /// A broker of our own that also listens with TLS and SASL, see `scripts/kafka`.
    pub fn secure(settings: &str) -> Result<Self, String> {
        let plan = Plan {
            settings,
            is_secure: true,
            ..Plan::default()
        };
        Self::start_own(1, Self::directory_of_its_own()?, plan)
    }

    fn start_own(
        brokers: u32,
        directory: tempfile::TempDir,
        plan: Plan<'_>,
    ) -> Result<Self, String> {
        let java = Command::new("java").arg("-version").output();
        if !java.is_ok_and(|output| output.status.success()) {
            return Err("there is no java; install Java 17 or newer".into());
        }
        let said = |yes: bool| if yes { "yes" } else { "" };
        let first = free_port(brokers);
        // Held until they have started: who stops all waits for that.
        let mut running = running();
        let started = script()
            .arg("start")
            .arg(directory.path())
            .args([&brokers.to_string(), &first.to_string()])
            .env("KAFKA_SETTINGS", plan.settings)
            .env("KAFKA_SECURE", said(plan.is_secure))
            .env("KAFKA_PROXIED", said(plan.is_proxied))
            // Smaller, so that three fit.
            .env("KAFKA_HEAP", if brokers == 1 { "512m" } else { "320m" })
            .output()
            .map_err(|error| error.to_string())?;
        if !started.status.success() {
            return Err(String::from_utf8_lossy(&started.stderr).into_owned());
        }
        running.push(directory.path().to_path_buf());
        drop(running);
        let mut address = String::from_utf8_lossy(&started.stdout).trim().to_owned();
        let mut proxies = Vec::new();
        if plan.is_proxied {
            let ports = (0..brokers as u16).map(|number| first + 10 * number);
            let ports: Vec<u16> = ports.collect();
            proxies.extend(ports.iter().map(|port| Proxy::start(port + PROXY, *port)));
            let places = ports
                .iter()
                .map(|port| format!("127.0.0.1:{}", port + PROXY));
            address = places.collect::<Vec<_>>().join(",");
        }
        Ok(Self {
            url: format!("kafka://{address}"),
            directory: Some(directory),
            has_forgotten: AtomicBool::new(false),
            proxies,
        })
    }

    /// The tests delete every topic: a broker that is in use must not be passed by mistake.
    fn refuse_topics_of_others(&self) {
        let topics = self.log().topic_names().expect("names");
        assert!(
            topics.is_empty() || std::env::var_os("MAREA_KAFKA_DELETE_TOPICS").is_some(),
            "{} has topics, which the tests would delete: {topics:?}; name another broker, or set \
             MAREA_KAFKA_DELETE_TOPICS if nobody needs them",
            self.url
        );
    }

    /// The address of a broker, given the offset of its port from the first.
    pub fn address(&self, after: u16) -> String {
        let (host, port) = self.url.rsplit_once(':').expect("a port");
        let port: u16 = port.parse().expect("a number");
        format!("{}:{}", host.trim_start_matches("kafka://"), port + after)
    }

    pub fn log(&self) -> Arc<dyn Log> {
        connected(&self.url)
    }

    /// A log without topics, and without the conformance suite's group.
    pub fn fresh_log(&self) -> Arc<dyn Log> {
        let log = self.log();
        let names = log.topic_names().expect("names");
        log.delete_topics(&names).expect("deleted");
        // Members that were not told to leave are waited for until their session ends.
        let started = Instant::now();
        while let Err(error) = log.delete_group("g") {
            assert!(started.elapsed() < LONG, "{error}");
            std::thread::sleep(Duration::from_millis(100));
        }
        log
    }

    /// Stops its process for a while, like a long pause of its machine. `false` if it is not ours.
    pub fn stall(&self, pause: Duration) -> bool {
        self.stall_broker(1, pause)
    }

    /// Like [`Broker::stall`], for one of several.
    pub fn stall_broker(&self, number: u32, pause: Duration) -> bool {
        if self.directory().is_none() {
            return false;
        }
        self.signal(number, "-STOP");
        std::thread::sleep(pause);
        self.signal(number, "-CONT");
        true
    }

    /// Sends a signal to a broker of our own.
    pub fn signal(&self, number: u32, name: &str) {
        let directory = self.directory().expect("a broker of our own");
        let pid = std::fs::read_to_string(directory.join(format!("broker{number}.pid")));
        let pid = pid.expect("a pid");
        let sent = Command::new("kill").arg(name).arg(pid.trim()).status();
        assert!(sent.is_ok_and(|status| status.success()), "{name}");
    }

    /// Whether a broker's process exists.
    pub fn is_alive(&self, number: u32) -> bool {
        let directory = self.directory().expect("a broker of our own");
        let pid = std::fs::read_to_string(directory.join(format!("broker{number}.pid")));
        let pid = pid.expect("a pid");
        let pid = pid.trim();
        // One that has ended takes signals until somebody has waited for it, which nobody may do in a container.
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        if state.is_ok_and(|state| state.contains(") Z")) {
            return false;
        }
        let signalled = Command::new("kill").arg("-0").arg(pid).output();
        signalled.is_ok_and(|output| output.status.success())
    }

    /// Kills a broker of our own as a crash would, or restarts it on its data.
    pub fn tell(&self, verb: &str, number: u32) {
        let directory = self.directory().expect("a broker of our own");
        // A restarted broker begins a new log file.
        self.has_forgotten_a_transaction();
        let mut script = script();
        let told = script.arg(verb).arg(directory).arg(number.to_string());
        let told = told.stdout(Stdio::null()).status();
        assert!(
            told.is_ok_and(|told| told.success()),
            "{verb} broker {number}"
        );
    }

    /// Restarts all brokers at once: none is ready before most of them are.
    pub fn restart_all(&self, brokers: u32) {
        std::thread::scope(|scope| {
            for number in 1..=brokers {
                scope.spawn(move || self.tell("restart", number));
            }
        });
    }

    /// Whether brokers of our own have forgotten a transaction. While starting, Kafka 4.3.0 may mistake the
    /// partitions of a transaction whose commit had begun for deleted ones, and write no markers: whoever reads
    /// them waits forever, or loses what was committed when the next transaction of the same producer is aborted.
    /// No client can repair that. The brokers' logs report it.
    pub fn has_forgotten_a_transaction(&self) -> bool {
        let Some(directory) = self.directory() else {
            return false;
        };
        let says_so = |number: u32| {
            let text = std::fs::read_to_string(directory.join(format!("broker{number}.log")));
            text.is_ok_and(|text| text.contains("likely deleted already and hence can be skipped"))
        };
        if (1..=3).any(says_so) {
            self.has_forgotten.store(true, Ordering::Relaxed);
        }
        self.has_forgotten.load(Ordering::Relaxed)
    }

    /// The directory of its data, if it is our own.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_ref().map(tempfile::TempDir::path)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(directory) = self.directory() {
            running().retain(|other| other != directory);
            stop(directory);
        }
    }
}

/// Where brokers of our own run.
static RUNNING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<PathBuf>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stops all brokers of our own, and the common one, and deletes what they wrote, for a process that ends without returning. No
/// other starts after that.
pub fn stop_all(common: PathBuf) {
    let mut running = running();
    running.push(common);
    for directory in running.iter() {
        stop(directory);
        drop(std::fs::remove_dir_all(directory));
    }
    // Locked from now on.
    std::mem::forget(running);
}

fn stop(directory: &Path) {
    let stopped = script().arg("stop").arg(directory).status();
    if !stopped.is_ok_and(|status| status.success()) {
        eprintln!("the broker in {} was not stopped", directory.display());
    }
}

pub fn script() -> Command {
    Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka"))
}

/// A port that is free, as are the next five, which the controller and secured listeners take; for each broker,
/// ten apart. Below those that the system gives to outgoing connections: a client that looks for a killed broker
/// might be given the very port it looks for, would be connected with itself, and the broker would find its port
/// taken.
fn free_port(brokers: u32) -> u16 {
    let span = 10 * (brokers as u16 - 1) + 5;
    loop {
        let random = RandomState::new().build_hasher().finish();
        let port = 11_000 + (random % 20_000) as u16;
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (port..=port + span).all(is_free) {
            return port;
        }
    }
}
