//! The service under load: what it acknowledges a second, how long that takes, and whether all of it counts.
//!
//! `cargo bench -p ocean --bench load -- batches [setting=value...]` starts the service on an empty directory, posts
//! simulated readings in NDJSON batches, each with an idempotency key and sent until it is acknowledged, kills the
//! service with `kill -9` in the middle, starts it again, and compares what was acknowledged with the sum of the
//! averages' counts. `... -- single [setting=value...]` posts readings one by one, without a kill.
//!
//! Each prints one JSON line, and fails if a reading is missing or counted twice. Times are from the first attempt to
//! the acknowledgement; with a kill they include the time until the service is back. `drained_ms` is the time from the
//! last acknowledgement until the last reading is in an average, to a tenth of a second.
//!
//! | setting | `batches` | `single` | |
//! |---|---|---|---|
//! | `seconds` | 300 | 60 | |
//! | `rate` | 20000 | 2000 | readings per second |
//! | `batch` | 1000 | 1 | readings per post |
//! | `connections` | 8 | 64 | posts in flight at a time |
//! | `kills` | 1 | 0 | spread over the time |
//! | `workers` | 2 | 2 | of the service |

#![allow(clippy::disallowed_methods, reason = "a bench measures the real clock")]

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ocean::model::OCEANS;
use ocean::sensors::{self, Sensors};
use ocean::service::settings::Span;
use serde_json::Value;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How long the windows may take to close.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the sum may stay as it is before it counts as the last.
const SETTLED: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);
/// Nothing is late: batches that wait for the service are overtaken by others.
const GRACE: &str = "10m";
/// The readings that close all windows are this much later.
const LATER_MS: u128 = 60 * 60 * 1_000;
/// So many sensors that each partition has some.
const SENSORS: usize = 200;

#[derive(Clone, Copy)]
struct Run {
    seconds: u64,
    rate: u64,
    batch: u64,
    connections: u16,
    kills: u32,
    workers: u32,
}

impl Run {
    const BATCHES: Self = Self {
        seconds: 300,
        rate: 20_000,
        batch: 1_000,
        connections: 8,
        kills: 1,
        workers: 2,
    };
    const SINGLE: Self = Self {
        seconds: 60,
        rate: 2_000,
        batch: 1,
        connections: 64,
        kills: 0,
        workers: 2,
    };

    fn with(mut self, settings: &[String]) -> Outcome<Self> {
        for setting in settings {
            match setting.split_once('=') {
                Some(("seconds", value)) => self.seconds = value.parse()?,
                Some(("rate", value)) => self.rate = value.parse()?,
                Some(("batch", value)) => self.batch = value.parse()?,
                Some(("connections", value)) => self.connections = value.parse()?,
                Some(("kills", value)) => self.kills = value.parse()?,
                Some(("workers", value)) => self.workers = value.parse()?,
                _ => return Err(format!("no setting {setting}").into()),
            }
        }
        Ok(self)
    }

    fn run(&self) -> Outcome<()> {
        let directory = tempfile::tempdir()?;
        let mut service = self.start(directory.path(), "127.0.0.1:0")?;
        let url = format!("http://{}", service.address);
        let asked = Sensors {
            rate: self.rate,
            url: url.clone(),
            token: None,
            duration: Some(Span(Duration::from_secs(self.seconds))),
            batch: Some(self.batch),
            connections: self.connections,
            seed: 1,
            speed: 1,
            start: None,
        };
        let posting = std::thread::spawn(move || sensors::post(&asked));
        let mut away = Duration::ZERO;
        for _ in 0..self.kills {
            let part = Duration::from_secs(self.seconds) / (self.kills + 1);
            std::thread::sleep(part);
            let killed = Instant::now();
            let address = service.kill()?;
            service = self.start(directory.path(), &address)?;
            away += killed.elapsed();
        }
        let outcome = posting.join().map_err(|_| "the sensors panicked")??;
        let posted = Instant::now();
        let (counted, settled) = counted(&url, outcome.acknowledged)?;
        println!(
            "{{\"acknowledged\":{},\"per_s\":{:.0},\"p50_ms\":{:.1},\"p99_ms\":{:.1},\"max_ms\":{:.1},\
             \"refused\":{},\"sent_again\":{},\"given_up\":{},\"kills\":{},\"away_ms\":{},\"drained_ms\":{},\
             \"counted\":{counted},\"exact\":{}}}",
            outcome.acknowledged,
            outcome.per_second(),
            outcome.quantile_ms(0.5),
            outcome.quantile_ms(0.99),
            outcome.quantile_ms(1.0),
            outcome.refused,
            outcome.again,
            outcome.given_up,
            self.kills,
            away.as_millis(),
            settled.duration_since(posted).as_millis(),
            counted == outcome.acknowledged,
        );
        if let Some(failure) = outcome.failure {
            return Err(failure.into());
        }
        match (outcome.acknowledged, counted) {
            (0, _) => Err("nothing was acknowledged".into()),
            (acknowledged, counted) if acknowledged != counted => {
                Err("what was acknowledged is not what was counted".into())
            }
            _ => Ok(()),
        }
    }

    /// Starts the service and waits until it is ready.
    fn start(&self, directory: &Path, address: &str) -> Outcome<Service> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocean"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OCEAN_") {
                command.env_remove(name);
            }
        }
        let child = command
            .current_dir(directory)
            .args(["--listen", address, "--window", "10s", "--grace", GRACE])
            .args(["--rate", "0", "--workers", &self.workers.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut service = Service {
            child,
            address: String::new(),
        };
        let out = service.child.stdout.take().ok_or("it has no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on http://");
        service.address = address.ok_or("the service does not listen")?.to_owned();
        let ready = format!("http://{}/health/ready", service.address);
        let begun = Instant::now();
        while ureq::get(&ready).call().is_err() {
            if begun.elapsed() > PATIENCE {
                return Err("the service does not become ready".into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(service)
    }
}

/// A service, which is killed when dropped.
struct Service {
    child: Child,
    address: String,
}

impl Service {
    /// `kill -9`; returns its address.
    fn kill(mut self) -> Outcome<String> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(std::mem::take(&mut self.address))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Closes the windows, and waits until the averages contain as many readings, or no more come: the readings, and when
/// the last of them was there.
fn counted(url: &str, wanted: u64) -> Outcome<(u64, Instant)> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let later_ms = now_ms + LATER_MS;
    let mut body = String::new();
    for number in 0..SENSORS {
        for ocean in OCEANS {
            body += &format!(
                "{{\"sensor\":\"last-{number}\",\"ocean\":\"{}\",\"temperature\":2.5,\"salinity\":34.5,\
                 \"volume\":300.0,\"timestamp_ms\":{later_ms}}}\n",
                ocean.name
            );
        }
    }
    ureq::post(&format!("{url}/readings")).send(&body)?;
    let (begun, mut changed, mut last) = (Instant::now(), Instant::now(), 0);
    loop {
        let sum = sum(url)?;
        if sum != last {
            (last, changed) = (sum, Instant::now());
        }
        // A moment longer, for what would be counted twice.
        let is_enough = sum >= wanted && changed.elapsed() > LOOK * 20;
        if is_enough || changed.elapsed() > SETTLED || begun.elapsed() > PATIENCE {
            return Ok((sum, changed));
        }
        std::thread::sleep(LOOK);
    }
}

/// The number of readings in all averages.
fn sum(url: &str) -> Outcome<u64> {
    let (mut sum, mut cursor) = (0, 0);
    loop {
        let path = format!("{url}/averages?limit=1000&cursor={cursor}");
        let page = ureq::get(&path).call()?.body_mut().read_to_string()?;
        let page: Value = serde_json::from_str(&page)?;
        let averages = page["averages"].as_array().ok_or("no averages")?;
        let counts = averages
            .iter()
            .filter_map(|average| average["count"].as_u64());
        sum += counts.sum::<u64>();
        cursor = page["next"].as_i64().ok_or("no place of the next page")?;
        if page["more"] == false {
            return Ok(sum);
        }
    }
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<String> = args.into_iter().filter(|arg| arg != "--bench").collect();
    match args.split_first() {
        Some((first, rest)) if first == "batches" => Run::BATCHES.with(rest)?.run(),
        Some((first, rest)) if first == "single" => Run::SINGLE.with(rest)?.run(),
        // As a test: few readings.
        _ => {
            let tiny = ["seconds=2", "rate=500", "batch=20"].map(str::to_owned);
            Run::BATCHES.with(&tiny)?.run()
        }
    }
}
