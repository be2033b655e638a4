//! Simulated sensors that post to a service as real ones should: in batches, each with a key that makes
//! it safe to retry, and no sooner than the service asks.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use marea::base::{Env, Error, ErrorKind, Result, SystemEnv};
use marea::runtime::StopSignal;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use crate::feed::{Next, Source};
use crate::generate::{Generator, Settings};
use crate::service::post::{BODY_BYTES, Report};
use crate::service::settings::{Secret, Span};

/// Batches per second, at rates that allow this many.
const BATCHES_PER_SECOND: u64 = 10;
/// Maximum number of readings in a batch.
const BATCH_MOST: u64 = 1_000;
/// The first pause after a failure, in milliseconds; each later one is twice as long.
const PAUSE_MS: u64 = 100;
/// The longest pause that it chooses itself, in milliseconds.
const PAUSE_MOST_MS: u64 = 5_000;
/// How long to retry a batch.
const PATIENCE_MS: u64 = 120_000;
/// How long to wait for an answer: the service gives one within 45 seconds.
const ANSWER: Duration = Duration::from_secs(60);
/// How soon a stop is noticed.
const TICK: Duration = Duration::from_millis(20);

/// What the sensors are told.
#[derive(Args, Clone, Debug)]
pub struct Sensors {
    /// Readings per second, of all sensors together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: u64,
    /// Where the service is
    #[arg(long, env = "OCEAN_URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// The token of the service
    #[arg(long, env = "OCEAN_TOKEN", hide_env_values = true)]
    pub token: Option<Secret>,
    /// How long to run, for example 30s [default: until a signal]
    #[arg(long = "for", value_name = "SPAN")]
    pub duration: Option<Span>,
    /// Readings per batch [default: a tenth of a second's, at most 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=2_000))]
    pub batch: Option<u64>,
    /// Batches in flight at a time
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub connections: u16,
    /// Seed of the readings
    #[arg(long, default_value = "1")]
    pub seed: u64,
    /// How much faster than the real clock the readings' clock runs
    #[arg(long, value_name = "TIMES", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub speed: u64,
    /// Time of the first reading, for example 2020-01-01T00:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_rfc3339)]
    pub start: Option<std::time::SystemTime>,
}

impl Sensors {
    fn batch(&self) -> u64 {
        let usual = (self.rate / BATCHES_PER_SECOND).clamp(1, BATCH_MOST);
        self.batch.unwrap_or(usual)
    }
}

/// The results of the batches.
#[derive(Debug, Default)]
struct Counts {
    acknowledged: AtomicU64,
    refused: AtomicU64,
    again: AtomicU64,
    given_up: AtomicU64,
    /// From the first attempt to the acknowledgement, in microseconds.
    took_us: Mutex<Vec<u64>>,
}

/// What all threads share.
struct Shared {
    asked: Sensors,
    env: Arc<dyn Env>,
    stop: StopSignal,
    counts: Counts,
    agent: Agent,
    source: Mutex<Readings>,
    started_ns: u64,
}

/// The readings, each given to one batch.
struct Readings {
    generator: Generator,
    given: u64,
    batches: u64,
    run: u64,
}

/// What came of the batches.
#[derive(Debug)]
pub struct Outcome {
    /// Readings that are in the log, as the service says.
    pub acknowledged: u64,
    /// Readings that the service refused.
    pub refused: u64,
    /// How often a batch was sent again.
    pub again: u64,
    /// Batches that were given up: whether their readings are in the log is unknown.
    pub given_up: u64,
    /// Readings in a batch.
    pub batch: u64,
    /// From the first to the last.
    pub duration: Duration,
    /// For each batch the time from the first attempt to the acknowledgement, in microseconds, sorted.
    pub took_us: Vec<u64>,
    /// Why a batch was given up.
    pub failure: Option<Error>,
}

impl Outcome {
    /// Acknowledged readings per second.
    pub fn per_second(&self) -> f64 {
        self.acknowledged as f64 / self.duration.as_secs_f64()
    }

    /// The smallest time within which at least this share of the batches was acknowledged, in milliseconds.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        quantile_ms(&self.took_us, share)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} readings acknowledged in {:.1} s, {:.0} per second; {} batches of {}, from send to acknowledgement \
             p50 {:.1} ms, p99 {:.1} ms, maximum {:.1} ms; {} readings refused, {} batches sent again, {} given up",
            self.acknowledged,
            self.duration.as_secs_f64(),
            self.per_second(),
            self.took_us.len(),
            self.batch,
            self.quantile_ms(0.5),
            self.quantile_ms(0.99),
            self.quantile_ms(1.0),
            self.refused,
            self.again,
            self.given_up,
        )
    }
}

/// Posts until the time is over or a signal arrives, and prints the results.
///
/// # Errors
/// `Invalid` if the address or the token is refused; `Unavailable` if a batch could not be delivered.
pub fn run(asked: &Sensors) -> Result<()> {
    let outcome = post(asked)?;
    println!("{outcome}");
    outcome.failure.map_or(Ok(()), Err)
}

/// Posts until the time is over or a signal arrives, printing a line a second.
///
/// # Errors
/// `Unavailable` if the system provides no threads.
pub fn post(asked: &Sensors) -> Result<Outcome> {
    let env: Arc<dyn Env> = SystemEnv::shared();
    let now_ms = env.wall_ms();
    let start_ms = asked.start.map_or(now_ms, |start| {
        let since = start.duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_millis() as i64)
    });
    let settings = Settings {
        seed: asked.seed,
        readings: u64::MAX,
        per_second: asked.rate,
        speed: asked.speed,
        start_ms,
        pause_ms: 0,
    };
    let tls = TlsConfig::builder()
        .provider(TlsProvider::NativeTls)
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    let agent = Agent::config_builder()
        .http_status_as_error(false)
        // Each keeps its connection.
        .max_idle_connections(usize::from(asked.connections))
        .max_idle_connections_per_host(usize::from(asked.connections))
        .timeout_global(Some(ANSWER))
        .tls_config(tls)
        .build()
        .new_agent();
    let shared = Arc::new(Shared {
        stop: StopSignal::listen()?,
        counts: Counts::default(),
        agent,
        source: Mutex::new(Readings {
            generator: Generator::new(settings, None)?,
            given: 0,
            batches: 0,
            run: env.random_u64(),
        }),
        started_ns: env.monotonic_ns(),
        asked: asked.clone(),
        env,
    });
    let failures: Arc<Mutex<VecDeque<Error>>> = Arc::default();
    let mut threads = Vec::new();
    for _ in 0..asked.connections {
        let (own, failures) = (Arc::clone(&shared), Arc::clone(&failures));
        let body = move || {
            if let Err(error) = own.post_all() {
                failures
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_back(error);
            }
        };
        threads.push(shared.env.spawn("ocean-sensors", Box::new(body))?);
    }
    let mut said = (shared.started_ns, 0);
    while threads.iter().any(|thread| !thread.is_finished()) {
        shared.env.sleep(TICK);
        let now_ns = shared.env.monotonic_ns();
        if now_ns - said.0 >= 1_000_000_000 {
            said = shared.say(said, now_ns);
        }
    }
    for thread in threads {
        thread.join();
    }
    let failure = failures
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .pop_front();
    Ok(shared.outcome(failure))
}

impl Shared {
    fn is_over(&self) -> bool {
        let ran = Duration::from_nanos(self.env.monotonic_ns() - self.started_ns);
        self.stop.is_set() || self.asked.duration.is_some_and(|most| ran >= most.0)
    }

    fn post_all(&self) -> Result<()> {
        let mut body = Vec::new();
        while !self.is_over() {
            let Some(key) = self.fill(&mut body)? else {
                self.env.sleep(TICK);
                continue;
            };
            self.post(&key, &body)?;
        }
        Ok(())
    }

    /// The next batch, if it is due, and its key.
    fn fill(&self, body: &mut Vec<u8>) -> Result<Option<String>> {
        let mut readings = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed_ns = self.env.monotonic_ns() - self.started_ns;
        let due = u128::from(elapsed_ns) * u128::from(self.asked.rate) / 1_000_000_000;
        let batch = self.asked.batch();
        if u128::from(readings.given + batch) > due {
            return Ok(None);
        }
        body.clear();
        let mut line = Vec::new();
        for _ in 0..batch {
            if readings.generator.next(&mut line, BODY_BYTES)? == Next::End {
                break;
            }
            body.extend_from_slice(&line);
            body.push(b'\n');
        }
        readings.given += batch;
        readings.batches += 1;
        Ok(Some(format!(
            "sensors-{:016x}-{}",
            readings.run, readings.batches
        )))
    }

    /// Posts a batch until it is acknowledged, with the same key each time.
    fn post(&self, key: &str, body: &[u8]) -> Result<()> {
        let begun_ns = self.env.monotonic_ns();
        let url = format!("{}/readings", self.asked.url.trim_end_matches('/'));
        let mut pause_ms = PAUSE_MS;
        loop {
            let mut request = (self.agent.post(&url))
                .header("Content-Type", "application/x-ndjson")
                .header("Idempotency-Key", key);
            if let Some(token) = &self.asked.token {
                request = request.header("Authorization", format!("Bearer {}", token.reveal()));
            }
            let (why, told_ms) = match request.send(body) {
                Ok(mut answer) => {
                    let status = answer.status().as_u16();
                    let text = answer.body_mut().read_to_string().unwrap_or_default();
                    if let (200 | 207 | 422, Ok(report)) = (status, serde_json::from_str(&text)) {
                        self.acknowledged(&report, begun_ns);
                        return Ok(());
                    }
                    let told = answer.headers().get("Retry-After");
                    let told = told.and_then(|told| told.to_str().ok()?.parse::<u64>().ok());
                    let why = format!("{status} {}", text.trim());
                    match status {
                        408 | 425 | 429 | 500..=599 => (why, told.map(|seconds| seconds * 1_000)),
                        _ => return Err(Error::invalid(format!("{url}: {why}"))),
                    }
                }
                Err(cause) => (cause.to_string(), None),
            };
            let waited_ms = (self.env.monotonic_ns() - begun_ns) / 1_000_000;
            if waited_ms > PATIENCE_MS || self.stop.is_set() {
                self.counts.given_up.fetch_add(1, Ordering::Relaxed);
                return Err(Error::new(ErrorKind::Unavailable, format!("{url}: {why}")));
            }
            tracing::debug!(why, key, "sending again");
            self.counts.again.fetch_add(1, Ordering::Relaxed);
            // The pause that the service asks for, plus a random part so that clients do not retry at the
            // same moment.
            let jitter_ms = self.env.random_u64() % (pause_ms / 2 + 1);
            self.wait(told_ms.unwrap_or(pause_ms) + jitter_ms);
            pause_ms = (2 * pause_ms).min(PAUSE_MOST_MS);
        }
    }

    fn wait(&self, pause_ms: u64) {
        let until_ms = self.env.monotonic_ms() + pause_ms;
        while self.env.monotonic_ms() < until_ms && !self.stop.is_set() {
            self.env.sleep(TICK);
        }
    }

    fn acknowledged(&self, report: &Report, begun_ns: u64) {
        let add = |count: &AtomicU64, by: usize| count.fetch_add(by as u64, Ordering::Relaxed);
        add(&self.counts.acknowledged, report.taken);
        add(&self.counts.refused, report.refused);
        let took_us = (self.env.monotonic_ns() - begun_ns) / 1_000;
        let mut all = self
            .counts
            .took_us
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.push(took_us);
    }

    /// A line a second.
    fn say(&self, (from_ns, before): (u64, u64), now_ns: u64) -> (u64, u64) {
        let now = self.counts.acknowledged.load(Ordering::Relaxed);
        let seconds = (now_ns - from_ns) as f64 / 1e9;
        println!(
            "{:>5} s  {:>8.0} acknowledged/s  {now} in total  {} sent again",
            (now_ns - self.started_ns) / 1_000_000_000,
            (now - before) as f64 / seconds,
            self.counts.again.load(Ordering::Relaxed),
        );
        (now_ns, now)
    }

    fn outcome(&self, failure: Option<Error>) -> Outcome {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let took_us = &self.counts.took_us;
        let mut took_us =
            std::mem::take(&mut *took_us.lock().unwrap_or_else(PoisonError::into_inner));
        took_us.sort_unstable();
        Outcome {
            acknowledged: count(&self.counts.acknowledged),
            refused: count(&self.counts.refused),
            again: count(&self.counts.again),
            given_up: count(&self.counts.given_up),
            batch: self.asked.batch(),
            duration: Duration::from_nanos(self.env.monotonic_ns() - self.started_ns),
            took_us,
            failure,
        }
    }
}

/// The smallest time within which at least this share of all finished.
fn quantile_ms(sorted_us: &[u64], share: f64) -> f64 {
    let rank = (sorted_us.len() as f64 * share).ceil() as usize;
    let found = sorted_us.get(rank.saturating_sub(1));
    found.map_or(0.0, |took_us| *took_us as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_nearest_rank() {
        let took: Vec<u64> = (1..=200).map(|number| number * 1_000).collect();
        assert_eq!(quantile_ms(&took, 0.5), 100.0);
        assert_eq!(quantile_ms(&took, 0.99), 198.0);
        assert_eq!(quantile_ms(&took, 1.0), 200.0);
        assert_eq!(quantile_ms(&[], 0.5), 0.0);
    }
}
