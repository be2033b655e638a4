//! Reads of stores while a worker is busy: how long they take, and what they cost the worker.
//!
//! `cargo bench --bench queries -- run RECORDS [setting=value...]` counts RECORDS by key and by key and minute, state
//! in RocksDB, one worker, the memory log, and prints one JSON line: records per second, and for the point reads and
//! window fetches how many were made and their p50, p99 and longest in microseconds, from the time when each was due.
//! Each read makes its own view.
//!
//! `cargo bench --bench queries -- compare RECORDS [setting=value...]` does so without reads and with them, in turn,
//! `rounds` times, and ends with a line of the medians and of how much slower it is with reads.
//!
//! | setting | default | |
//! |---|---|---|
//! | `rate` | 0 | records that are produced per second while they are counted; with 0 all are there at the start; with a rate, `compare` shows only whether it is kept |
//! | `reads`, `fetches` | 1000, 10 | point reads and window fetches due per second |
//! | `keys` | 100000 | |
//! | `memory_mib` | 256 | |
//! | `rounds` | 3 | of `compare` |

#![allow(clippy::disallowed_methods, reason = "a bench measures the real clock")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use marea::prelude::*;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const DEADLINE: Duration = Duration::from_secs(600);
/// Records per commit of the producer, without a rate.
const PART: i64 = 5_000;
/// Its commits per second, with a rate.
const PARTS_PER_SECOND: i64 = 100;

#[derive(Clone, Copy)]
struct Run {
    records: i64,
    /// Records per second, 0 without a limit.
    rate: i64,
    keys: i64,
    reads: u64,
    fetches: u64,
    memory_bytes: usize,
    rounds: usize,
}

impl Run {
    fn parse(args: &[String]) -> Outcome<Self> {
        let [records, settings @ ..] = args else {
            return Err("usage: run|compare RECORDS [setting=value...]".into());
        };
        let mut run = Self {
            records: records.parse()?,
            rate: 0,
            keys: 100_000,
            reads: 1_000,
            fetches: 10,
            memory_bytes: 256 << 20,
            rounds: 3,
        };
        for setting in settings {
            match setting.split_once('=') {
                Some(("rate", value)) => run.rate = value.parse()?,
                Some(("rounds", value)) => run.rounds = value.parse::<usize>()?.max(1),
                Some(("keys", value)) => run.keys = value.parse()?,
                Some(("reads", value)) => run.reads = value.parse()?,
                Some(("fetches", value)) => run.fetches = value.parse()?,
                Some(("memory_mib", value)) => run.memory_bytes = value.parse::<usize>()? << 20,
                _ => return Err(format!("no setting {setting}").into()),
            }
        }
        Ok(run)
    }

    /// Prints a line, and returns the number of records per second.
    fn run(&self) -> Outcome<f64> {
        let log = marea::open("memory:")?;
        log.create_topics(&[TopicSpec::new("in", 1)])?;
        let place = tempfile::tempdir()?;
        let producer = log.producer::<i64, i64>("in")?;
        let feed = Feed {
            run: *self,
            producer,
        };
        let feed = match self.rate {
            0 => {
                feed.all()?;
                None
            }
            _ => Some(feed),
        };
        let started = Instant::now();
        let mut application = Application::builder(topology()?, "queries")
            .log(log)
            .state_directory(place.path())
            .settings(Settings {
                memory_bytes: self.memory_bytes,
                ..Settings::default()
            })
            .start()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let readers = [(self.reads, false), (self.fetches, true)].map(|(rate, fetches)| {
            let reader = Reader {
                queries: application.queries(),
                stopped: stopped.clone(),
                rate,
                keys: self.keys,
                fetches,
            };
            std::thread::spawn(move || reader.read())
        });
        let fed = match feed {
            Some(feed) => feed.all(),
            None => Ok(()),
        };
        let result = application.drain(DEADLINE);
        let elapsed = started.elapsed();
        stopped.store(true, Ordering::Release);
        let [reads, fetches] = readers.map(|reader| reader.join().map_err(|_| "a reader panicked"));
        fed?;
        result?;
        let (reads, fetches) = (summary(reads??), summary(fetches??));
        application.close(DEADLINE)?;
        let rate = self.records as f64 / elapsed.as_secs_f64();
        println!("{{\"records_per_s\":{rate:.0},\"reads\":{reads},\"fetches\":{fetches}}}");
        Ok(rate)
    }

    /// Runs without reads and with them in turn, so that both have the same share of a busy machine.
    fn compare(&self) -> Outcome<()> {
        let without = Self {
            reads: 0,
            fetches: 0,
            ..*self
        };
        let (mut bare, mut read) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            bare.push(without.run()?);
            read.push(self.run()?);
        }
        let (bare, read) = (median(bare), median(read));
        let slower = 100.0 * (1.0 - read / bare);
        println!(
            "{{\"records_per_s_without_reads\":{bare:.0},\"records_per_s_with_reads\":{read:.0},\"slower_percent\":{slower:.1}}}"
        );
        Ok(())
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Produces the records, at the rate of the run.
struct Feed {
    run: Run,
    producer: Producer<i64, i64>,
}

impl Feed {
    fn all(mut self) -> Outcome<()> {
        let Run {
            records,
            rate,
            keys,
            ..
        } = self.run;
        let part = match rate {
            0 => PART,
            rate => (rate / PARTS_PER_SECOND).max(1),
        };
        let begun = Instant::now();
        for first in (0..records).step_by(part as usize) {
            if rate > 0 {
                let due = begun + Duration::from_secs_f64(first as f64 / rate as f64);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            // A prime step visits the keys in an order that is hard to predict.
            let record = |n: i64| Record::new(n * 7_919 % keys, 1, n / 100);
            let part = first..(first + part).min(records);
            self.producer.send_all(part.map(record))?;
        }
        Ok(())
    }
}

fn topology() -> marea::Result<Topology> {
    let builder = StreamBuilder::new();
    let records = builder.stream::<i64, i64>("in");
    records.clone().group_by_key("by-key").count("counts");
    records
        .group_by_key("by-minute")
        .windowed_by(TimeWindows::of(Duration::from_secs(60)))
        .count("minutes");
    builder.build()
}

struct Reader {
    queries: Queries,
    stopped: Arc<AtomicBool>,
    rate: u64,
    keys: i64,
    fetches: bool,
}

impl Reader {
    /// How long each read took. The next one is due at its time, however long the last one took.
    fn read(&self) -> Outcome<Vec<Duration>> {
        let mut taken = Vec::new();
        if self.rate == 0 {
            return Ok(taken);
        }
        let every = Duration::from_secs(1) / u32::try_from(self.rate)?;
        let begun = Instant::now();
        let mut due = begun;
        while !self.stopped.load(Ordering::Acquire) {
            if let Some(wait) = due.checked_duration_since(Instant::now()) {
                std::thread::sleep(wait);
            }
            let key = taken.len() as i64 * 104_729 % self.keys;
            let asked = due.max(begun);
            let view = self.queries.view()?;
            if view.is_complete("counts")? {
                match self.fetches {
                    false => {
                        view.key_value::<i64, i64>("counts")?.get(&key)?;
                    }
                    true => {
                        let minutes = view.windows::<i64, i64>("minutes")?;
                        minutes.fetch(&key, 0..=i64::MAX)?.count();
                    }
                }
                taken.push(asked.elapsed());
            }
            due += every;
        }
        Ok(taken)
    }
}

fn summary(mut taken: Vec<Duration>) -> String {
    taken.sort_unstable();
    let at = |share: f64| {
        let place = (taken.len() as f64 * share) as usize;
        let found = taken.get(place.min(taken.len().saturating_sub(1)));
        found.map_or(0, Duration::as_micros)
    };
    format!(
        "{{\"made\":{},\"p50_us\":{},\"p99_us\":{},\"max_us\":{}}}",
        taken.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    )
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<String> = args.into_iter().filter(|arg| arg != "--bench").collect();
    match args.split_first() {
        Some((first, rest)) if first == "run" => Run::parse(rest)?.run().map(drop),
        Some((first, rest)) if first == "compare" => Run::parse(rest)?.compare(),
        // As a test: few records.
        _ => {
            let tiny = ["20000", "keys=100", "rounds=1"].map(str::to_owned);
            Run::parse(&tiny)?.compare()?;
            let paced = ["2000", "keys=100", "rate=10000"].map(str::to_owned);
            Run::parse(&paced)?.run().map(drop)
        }
    }
}
