//! Whole applications on a whole log: `cargo bench --bench end_to_end -- run TOPOLOGY RECORDS
//! [setting=value...]`.
//!
//! Topologies: `pass`, `sensor` (averages of 10 s by key, every update out), `count`. Settings:
//! `log=memory:|embedded:DIR|kafka://HOST:PORT` (or `bootstrap=HOST:PORT`, whose topics `in`, `out` and
//! `bench-*` are made anew), `keys=N`, `partitions=N`, `workers=N`, `commit_interval_ms=N`,
//! `guarantee=exactly_once|at_least_once`, `state=DIR`. The clock runs from the first record to
//! everything committed. Prints one JSON line.

#![allow(clippy::disallowed_methods, reason = "a bench measures the real clock")]

use std::error::Error;
use std::time::{Duration, Instant};

use marea::base::{SystemEnv, TopicPartition};
use marea::codec::{Bytes, Codec, Encoded, I64, Utf8};
use marea::disk::Budget;
use marea::dsl::{Consumed, Grouped, Materialized, Produced, StreamBuilder, TimeWindows};
use marea::log::{self, BatchBuilder, Commit, Log, OpenOptions, TopicSpec};
use marea::runtime::{Application, Guarantee, Settings};
use marea::topology::Topology;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A sensor's reading, 24 bytes.
#[derive(Clone, Debug, PartialEq)]
struct Reading {
    temperature: f64,
    salinity: f64,
    volume: f64,
}

/// Sums of readings, 32 bytes.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sums {
    count: i64,
    temperature: f64,
    salinity: f64,
    volume: f64,
}

struct Fields;

impl Codec<Reading> for Fields {
    fn encode(&self, value: &Reading, out: &mut Vec<u8>) -> marea::Result<Encoded> {
        for field in [value.temperature, value.salinity, value.volume] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> marea::Result<Reading> {
        let bytes = bytes.unwrap_or_default();
        Ok(Reading {
            temperature: field(bytes, 0)?,
            salinity: field(bytes, 1)?,
            volume: field(bytes, 2)?,
        })
    }

    fn name(&self) -> String {
        "reading".into()
    }
}

impl Codec<Sums> for Fields {
    fn encode(&self, value: &Sums, out: &mut Vec<u8>) -> marea::Result<Encoded> {
        out.extend_from_slice(&value.count.to_be_bytes());
        for field in [value.temperature, value.salinity, value.volume] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> marea::Result<Sums> {
        let bytes = bytes.unwrap_or_default();
        Ok(Sums {
            count: field(bytes, 0)?.to_bits() as i64,
            temperature: field(bytes, 1)?,
            salinity: field(bytes, 2)?,
            volume: field(bytes, 3)?,
        })
    }

    fn name(&self) -> String {
        "sums".into()
    }
}

fn field(bytes: &[u8], position: usize) -> marea::Result<f64> {
    let bytes = bytes
        .get(position * 8..position * 8 + 8)
        .and_then(|bytes| bytes.try_into().ok());
    bytes
        .map(f64::from_be_bytes)
        .ok_or_else(|| marea::Error::user("too few bytes"))
}

fn topology(name: &str) -> Outcome<Topology> {
    let builder = StreamBuilder::new();
    match name {
        "pass" => builder
            .stream("in", Consumed::with(Bytes, Bytes))
            .to("out", Produced::with(Bytes, Bytes)),
        "count" => builder
            .stream("in", Consumed::with(Utf8, Bytes))
            .group_by_key(Grouped::with("by-key", Utf8, Bytes))
            .count("counts")
            .to_stream()
            .present()
            .to("out", Produced::with(Utf8, I64)),
        "sensor" => builder
            .stream("in", Consumed::with(Utf8, Fields))
            .group_by_key(Grouped::with("by-sensor", Utf8, Fields))
            .windowed_by(TimeWindows::of(Duration::from_secs(10)).grace(Duration::from_secs(5)))
            .aggregate(
                Sums::default,
                |_sensor, reading: Reading, mut sums: Sums| {
                    sums.count += 1;
                    sums.temperature += reading.temperature;
                    sums.salinity += reading.salinity;
                    sums.volume += reading.volume;
                    sums
                },
                Materialized::with("sums", Fields).retention(Duration::from_secs(60)),
            )
            .to_stream()
            .present()
            .map(|window, sums| (window.key, sums))
            .to("out", Produced::with(Utf8, Fields)),
        other => return Err(format!("no topology {other}; try pass, sensor or count").into()),
    }
    Ok(builder.build()?)
}

struct Run {
    topology: String,
    records: u64,
    log: String,
    keys: u64,
    partitions: u32,
    state: Option<String>,
    settings: Settings,
}

impl Run {
    fn parse(args: &[String]) -> Outcome<Self> {
        let [topology, records, settings @ ..] = args else {
            return Err("usage: run TOPOLOGY RECORDS [setting=value...]".into());
        };
        let mut run = Self {
            topology: topology.clone(),
            records: records.parse()?,
            log: "memory:".into(),
            keys: 10_000,
            partitions: 1,
            state: None,
            settings: Settings::default(),
        };
        for setting in settings {
            let (name, value) = setting.split_once('=').ok_or("a setting is name=value")?;
            match name {
                "log" => run.log = value.into(),
                "bootstrap" => run.log = format!("kafka://{value}"),
                "keys" => run.keys = value.parse()?,
                "partitions" => run.partitions = value.parse()?,
                "state" => run.state = Some(value.into()),
                "workers" => run.settings.workers = value.parse()?,
                "commit_interval_ms" => run.settings.commit_interval_ms = value.parse()?,
                "guarantee" if value == "at_least_once" => {
                    run.settings.guarantee = Guarantee::AtLeastOnce;
                }
                "guarantee" if value == "exactly_once" => {}
                _ => return Err(format!("no setting {setting}").into()),
            }
        }
        Ok(run)
    }

    fn run(&self) -> Outcome<()> {
        let scratch = tempfile::tempdir()?;
        let url = self.log.replace(
            "embedded:TMP",
            &format!("embedded:{}", scratch.path().join("log").display()),
        );
        let log = log::open(
            &url,
            &OpenOptions::new(SystemEnv::shared(), Budget::new(128 << 20)),
        )?;
        if url.starts_with("kafka:") {
            let mut old = log.topic_names()?;
            old.retain(|name| name == "in" || name == "out" || name.starts_with("bench-"));
            log.delete_topics(&old)?;
            log.delete_group("bench")?;
        }
        log.create_topics(&[
            TopicSpec::new("in", self.partitions),
            TopicSpec::new("out", self.partitions),
        ])?;
        self.load(&*log)?;
        let state = self
            .state
            .clone()
            .map_or(scratch.path().join("state"), Into::into);
        let started = Instant::now();
        let mut application = Application::builder(topology(&self.topology)?, "bench")
            .log(log)
            .state_directory(state)
            .settings(self.settings.clone())
            .start()?;
        while application.snapshot().records == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
        let first = Instant::now();
        application.drain(Duration::from_secs(600))?;
        // The status lags, so the clock runs from the start: it counts what opening the tasks takes.
        let seconds = started.elapsed().as_secs_f64();
        let snapshot = application.snapshot();
        application.close(Duration::from_secs(60))?;
        println!(
            "{{\"peer\":\"marea\",\"topology\":\"{}\",\"records\":{},\"seconds\":{seconds:.3},\"records_per_s\":{:.0},\
             \"startup_s\":{:.3},\"commits\":{},\"cpu_s\":{:.2},\"rss_mib\":{}}}",
            self.topology,
            self.records,
            self.records as f64 / seconds,
            (first - started).as_secs_f64(),
            snapshot.commits,
            cpu_seconds(),
            peak_rss_mib(),
        );
        Ok(())
    }

    /// Appends the input, spread over the partitions, twenty readings a millisecond.
    fn load(&self, log: &dyn Log) -> Outcome<()> {
        let mut writer = log.writer("loader")?;
        let mut value = Vec::new();
        let mut at = 0;
        while at < self.records {
            let mut builders: Vec<_> = (0..self.partitions)
                .map(|_| BatchBuilder::default())
                .collect();
            let until = (at + 10_000).min(self.records);
            for number in at..until {
                let key = number.wrapping_mul(0x9e37_79b9) % self.keys;
                let partition = (key % u64::from(self.partitions)) as usize;
                let reading = Reading {
                    temperature: 10.0 + (number % 100) as f64 / 10.0,
                    salinity: 35.0,
                    volume: 700.0,
                };
                value.clear();
                Fields.encode(&reading, &mut value)?;
                let key = format!("sensor-{key:05}");
                let timestamp_ms = (number / 20) as i64;
                builders[partition].push(Some(key.as_bytes()), Some(&value), timestamp_ms, &[]);
            }
            at = until;
            let batches = builders
                .iter_mut()
                .enumerate()
                .filter_map(|(partition, builder)| {
                    Some((TopicPartition::new("in", partition as u32), builder.seal()?))
                });
            let appends = batches.collect();
            let asked = writer.submit(Commit {
                appends,
                group: None,
            });
            asked.map_err(|error| error.into_error())?;
            while writer
                .poll(Duration::from_secs(1))
                .map_err(|error| error.into_error())?
                .is_none()
            {}
        }
        Ok(())
    }
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |position: usize| {
        fields
            .get(position)
            .and_then(|field| field.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / 100.0
}

fn peak_rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let digits: String = line
        .unwrap_or("0")
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse::<u64>().unwrap_or(0) / 1024
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    match args.split_first() {
        Some((verb, rest)) if verb == "run" => Run::parse(rest)?.run(),
        // As a test, or as a plain bench: every topology, tiny.
        _ => ["pass", "count", "sensor"].iter().try_for_each(|name| {
            let run = [name.to_string(), "20000".into()];
            Run::parse(&run)?.run()
        }),
    }
}
