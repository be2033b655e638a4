//! The cost of a record depending on the number of keys: `count` by key, state in RocksDB, one worker, the memory
//! log.
//!
//! `cargo bench --bench keys -- run KEYS RECORDS [memory_mib=256] [state=DIRECTORY]` prints one JSON line: first
//! every key comes once, in an order that is hard to predict, then RECORDS records with keys drawn uniformly. The
//! clock runs over the second part; `load_records_per_s` is for the first. Records that the log would keep are
//! purged along the way.
//!
//! With `log=DIRECTORY` it runs on the embedded log there, which is not purged, and with `value_bytes=N` it keeps
//! the last value of each key, of that size. When it is killed and run again over the same directories with
//! `resume=1`, it prints how long it took from the start of the process to the first record.
//!
//! `cargo bench --bench keys -- series RECORDS > LINES` makes the runs of README.md, each in its own process, and
//! `cargo bench --bench keys -- plot LINES > benches/keys.svg` draws them.

#![allow(clippy::disallowed_methods, reason = "a bench measures the real clock")]

#[path = "keys/plot.rs"]
mod plot;
#[path = "end_to_end/process.rs"]
mod process;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use marea::base::{SystemEnv, TopicPartition};
use marea::codec::{Bytes, I64, Utf8};
use marea::disk::Budget;
use marea::dsl::{Consumed, Grouped, Materialized, Produced, StreamBuilder};
use marea::log::{
    self, BatchBuilder, Commit, Isolation, Log, MemoryLog, OpenOptions, TopicSpec, Writer,
};
use marea::runtime::{Application, Settings};
use marea::topology::Topology;

type Outcome<T> = Result<T, Box<dyn Error>>;

const BATCH: u64 = 5_000;
/// The most records that wait for the application.
const AHEAD: u64 = 100_000;

struct Run {
    keys: u64,
    records: u64,
    memory_bytes: usize,
    state: Option<PathBuf>,
    log: Option<String>,
    value_bytes: usize,
    resume: bool,
}

impl Run {
    fn parse(args: &[String]) -> Outcome<Self> {
        let [keys, records, settings @ ..] = args else {
            return Err("usage: run KEYS RECORDS [setting=value...]".into());
        };
        let mut run = Self {
            keys: keys.parse()?,
            records: records.parse()?,
            memory_bytes: 256 << 20,
            state: None,
            log: None,
            value_bytes: 0,
            resume: false,
        };
        for setting in settings {
            match setting.split_once('=') {
                Some(("memory_mib", value)) => run.memory_bytes = value.parse::<usize>()? << 20,
                Some(("state", value)) => run.state = Some(value.into()),
                Some(("log", value)) => run.log = Some(format!("embedded:{value}")),
                Some(("value_bytes", value)) => run.value_bytes = value.parse()?,
                Some(("resume", value)) => run.resume = value == "1",
                _ => return Err(format!("no setting {setting}").into()),
            }
        }
        Ok(run)
    }

    fn run(&self) -> Outcome<()> {
        let born = Instant::now();
        let place = tempfile::tempdir()?;
        let log: Arc<dyn Log> = match &self.log {
            None => Arc::new(MemoryLog::new(SystemEnv::shared())),
            Some(url) => log::open(
                url,
                &OpenOptions::new(SystemEnv::shared(), Budget::new(128 << 20)),
            )?,
        };
        let opened = born.elapsed();
        log.create_topics(&[TopicSpec::new("in", 1), TopicSpec::new("out", 1)])?;
        let state = self.state.clone();
        let mut application = Application::builder(topology(self.value_bytes)?, "keys")
            .log(Arc::clone(&log))
            .state_directory(state.unwrap_or(place.path().join("state")))
            .settings(Settings {
                memory_bytes: self.memory_bytes,
                ..Settings::default()
            })
            .start()?;
        let mut feed = Feed {
            log: &*log,
            writer: log.writer("feeder", 8 << 20)?,
            application: &application,
            value: vec![1; self.value_bytes.max(8)],
            purges: self.log.is_none(),
            sent: 0,
        };
        if self.resume {
            // Records that were sent but not processed when the process died come first.
            feed.send(1, || 0)?;
            println!(
                "{{\"log_open_s\":{:.2},\"first_record_s\":{:.2},\"restored\":{}}}",
                opened.as_secs_f64(),
                born.elapsed().as_secs_f64(),
                application
                    .snapshot()
                    .tasks
                    .iter()
                    .map(|task| task.restored)
                    .sum::<u64>(),
            );
            return Ok(());
        }
        let started = Instant::now();
        let mut at = 0;
        feed.send(self.keys, || {
            at = (at + step(self.keys)) % self.keys;
            at
        })?;
        let loaded = started.elapsed();
        let cpu_before = process::cpu_seconds();
        let started = Instant::now();
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        feed.send(self.records, || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % self.keys
        })?;
        let seconds = started.elapsed().as_secs_f64();
        let cpu_s = process::cpu_seconds() - cpu_before;
        println!(
            "{{\"keys\":{},\"memory_mib\":{},\"state_over_memory\":{:.2},\"records\":{},\"records_per_s\":{:.0},\
             \"us_a_record\":{:.2},\"cpu_us_a_record\":{:.2},\"load_records_per_s\":{:.0},\"rss_mib\":{}}}",
            self.keys,
            self.memory_bytes >> 20,
            (self.keys * ROW_BYTES) as f64 / self.memory_bytes as f64,
            self.records,
            self.records as f64 / seconds,
            seconds * 1e6 / self.records as f64,
            cpu_s * 1e6 / self.records as f64,
            self.keys as f64 / loaded.as_secs_f64(),
            process::peak_rss_mib(),
        );
        application.close(Duration::from_secs(60))?;
        Ok(())
    }
}

/// A key of 19 bytes, a timestamp and a count.
const ROW_BYTES: u64 = 35;

/// A step that is coprime to `keys`, so that walking by it visits each key once.
fn step(keys: u64) -> u64 {
    let mut step = (keys as f64 * 0.618) as u64 | 1;
    let common = |mut one: u64, mut other: u64| {
        while other != 0 {
            (one, other) = (other, one % other);
        }
        one
    };
    while common(step, keys) != 1 {
        step += 2;
    }
    step
}

fn topology(value_bytes: usize) -> Outcome<Topology> {
    let builder = StreamBuilder::new();
    if value_bytes > 0 {
        builder
            .stream_with("in", Consumed::with(Utf8, Bytes))
            .group_by_key(Grouped::with("by-key", Utf8, Bytes))
            .reduce(|_, new| new, Materialized::with("counts", Bytes))
            .to_stream()
            .for_each(|_, _| {});
        return Ok(builder.build()?);
    }
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .group_by_key(Grouped::with("by-key", Utf8, I64))
        .count("counts")
        .to_stream()
        .present()
        .to_with("out", Produced::with(Utf8, I64));
    Ok(builder.build()?)
}

struct Feed<'a> {
    log: &'a dyn Log,
    writer: Box<dyn Writer>,
    application: &'a Application,
    value: Vec<u8>,
    purges: bool,
    sent: u64,
}

impl Feed<'_> {
    /// Sends records with these keys and waits until all are processed.
    fn send(&mut self, records: u64, mut key: impl FnMut() -> u64) -> Outcome<()> {
        let until = self.sent + records;
        while self.sent < until {
            let len = BATCH.min(until - self.sent);
            let mut batch = BatchBuilder::default();
            for number in 0..len {
                let key = format!("sensor-{:012}", key());
                let timestamp_ms = (self.sent + number) as i64;
                batch.push(Some(key.as_bytes()), Some(&self.value), timestamp_ms, &[]);
            }
            let appends = batch
                .seal()
                .map(|batch| (TopicPartition::new("in", 0), batch));
            let commit = Commit {
                appends: appends.into_iter().collect(),
                group: None,
            };
            self.writer
                .submit(commit)
                .map_err(|error| error.into_error())?;
            while self
                .writer
                .poll(Duration::from_secs(10))
                .map_err(|error| error.into_error())?
                .is_none()
            {}
            self.sent += len;
            self.wait_for(self.sent.saturating_sub(AHEAD))?;
            if self.purges && self.sent % 1_000_000 < BATCH {
                self.purge()?;
            }
        }
        self.wait_for(until)
    }

    fn wait_for(&self, records: u64) -> Outcome<()> {
        loop {
            let snapshot = self.application.snapshot();
            if let Some(error) = snapshot.error {
                return Err(error.into());
            }
            if snapshot.records >= records {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn purge(&self) -> Outcome<()> {
        let mut before = Vec::new();
        for topic in ["in", "out", "keys-counts-changelog"] {
            let partition = TopicPartition::new(topic, 0);
            let end = self.log.end_offset(&partition, Isolation::ReadCommitted)?;
            // Uncommitted records may be read again.
            before.push((partition, end.saturating_sub(3 * AHEAD as i64)));
        }
        Ok(self.log.delete_records(&before)?)
    }
}

/// Over keys with the default memory; then over memory, from a tenth of the state's size to ten times as much.
fn series(records: &str) -> Outcome<()> {
    let over_keys = ["10000", "100000", "1000000", "10000000"].map(|keys| (keys, "256"));
    let over_memory = ["1001", "300", "100", "30", "10"].map(|memory| ("3000000", memory));
    for (keys, memory) in over_keys.into_iter().chain(over_memory) {
        let mut run = std::process::Command::new(std::env::current_exe()?);
        let ended = run
            .args(["run", keys, records, &format!("memory_mib={memory}")])
            .status()?;
        if !ended.success() {
            return Err(format!("{keys} keys in {memory} MiB: {ended}").into());
        }
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    match args.split_first() {
        Some((verb, rest)) if verb == "run" => {
            process::with_few_arenas()?;
            Run::parse(rest)?.run()
        }
        Some((verb, [records])) if verb == "series" => series(records),
        Some((verb, [lines])) if verb == "plot" => {
            print!("{}", plot::svg(&std::fs::read_to_string(lines)?)?);
            Ok(())
        }
        // As a test, or as a plain bench: with few records.
        _ => Run::parse(&["2000".into(), "10000".into()])?.run(),
    }
}
