//! How long an application takes until all its tasks are running: with state to be restored from the changelogs,
//! and again with its state in place. `cargo bench --bench restore -- [setting=value...]`:
//!
//! ```text
//! records=N keys=N value=BYTES   of each changelog partition; keys come one after another, repeatedly
//! partitions=N workers=N threads=N memory_mib=N (256) backend=rocksdb|memory log=memory|embedded
//! ```
//!
//! With `beside=1` only the first partition has a changelog, and the latency of records of the other partitions is
//! measured while it is restored, and then without a restore: `beside=1 partitions=4 records=8000000 keys=8000000`
//! restores a gigabyte. `commit_ms=N` sets the commit interval. With `moves=1` two instances share the partitions,
//! and the one that has the first leaves: measures the latency of the tasks that the other one had, before that
//! and until the restore ends.
//!
//! The changelogs are written directly, as an application would have left them. Prints one JSON line.

#![allow(clippy::disallowed_methods, reason = "a bench measures the real clock")]

#[path = "restore/beside.rs"]
mod beside;
#[path = "restore/moves.rs"]
mod moves;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use marea::base::{SystemEnv, TopicPartition};
use marea::codec::{I64, Utf8};
use marea::disk::Budget;
use marea::dsl::{Consumed, Grouped, Produced, StreamBuilder};
use marea::log::{
    self, BatchBuilder, Cleanup, Commit, CommittedOffset, GroupCommit, Log, OpenOptions, TopicSpec,
};
use marea::runtime::{Application, Settings, State, StateBackend};

type Outcome<T> = Result<T, Box<dyn Error>>;

const BATCH: u64 = 1_000;
const DEADLINE: Duration = Duration::from_secs(600);

struct Run {
    records: u64,
    keys: u64,
    value_bytes: usize,
    partitions: u32,
    log: String,
    beside: bool,
    moves: bool,
    settings: Settings,
}

impl Run {
    fn parse(args: &[String]) -> Outcome<Self> {
        let mut run = Self {
            records: 20_000,
            keys: 20_000,
            value_bytes: 100,
            partitions: 2,
            log: "memory".into(),
            beside: false,
            moves: false,
            settings: Settings::default(),
        };
        for setting in args {
            let (name, value) = setting.split_once('=').ok_or("a setting is name=value")?;
            match name {
                "records" => run.records = value.parse()?,
                "keys" => run.keys = value.parse()?,
                "value" => run.value_bytes = value.parse()?,
                "partitions" => run.partitions = value.parse()?,
                "log" => run.log = value.into(),
                "beside" => run.beside = value == "1",
                "moves" => run.moves = value == "1",
                "commit_ms" => run.settings.commit_interval_ms = value.parse()?,
                "threads" => run.settings.restore_threads = value.parse()?,
                "workers" => run.settings.workers = value.parse()?,
                "memory_mib" => run.settings.memory_bytes = value.parse::<usize>()? << 20,
                "backend" if value == "memory" => run.settings.state_backend = StateBackend::Memory,
                "backend" if value == "rocksdb" => {}
                _ => return Err(format!("no setting {setting}").into()),
            }
        }
        Ok(run)
    }

    fn run(&self) -> Outcome<()> {
        let place = tempfile::tempdir()?;
        let url = match &self.log[..] {
            "memory" => "memory:".to_owned(),
            _ => format!("embedded:{}", place.path().join("log").display()),
        };
        let options = OpenOptions::new(SystemEnv::shared(), Budget::new(128 << 20));
        let log = log::open(&url, &options)?;
        self.write_changelogs(&*log)?;
        let state = place.path().join("state");
        if self.beside {
            return beside::run(self, &log, &state);
        }
        if self.moves {
            return moves::run(self, &log, &state);
        }
        let (restore_s, restored, files) = self.start(&log, &state)?;
        let (reopen_s, again, _) = self.start(&log, &state)?;
        println!(
            "{{\"records\":{},\"keys\":{},\"value\":{},\"partitions\":{},\"log\":\"{}\",\"restored\":{restored},\
             \"restore_s\":{restore_s:.3},\"records_per_s\":{:.0},\"reopen_s\":{reopen_s:.3},\"read_again\":{again},\
             \"open_files\":{files}}}",
            self.records,
            self.keys,
            self.value_bytes,
            self.partitions,
            self.log,
            restored as f64 / restore_s,
        );
        Ok(())
    }

    fn write_changelogs(&self, log: &dyn Log) -> Outcome<()> {
        let changelog = "bench-counts-changelog";
        log.create_topics(&[
            TopicSpec::new("in", self.partitions),
            TopicSpec::new("out", 1),
            TopicSpec::new(changelog, self.partitions).with_cleanup(Cleanup::Compact),
        ])?;
        let mut writer = log.writer("feeder", 8 << 20)?;
        let value = vec![b'v'; self.value_bytes];
        for partition in 0..self.partitions {
            let records = match (self.beside || self.moves) && partition > 0 {
                true => 0,
                false => self.records,
            };
            for first in (0..records.max(1)).step_by(BATCH as usize) {
                let mut builder = BatchBuilder::default();
                for number in first..records.min(first + BATCH) {
                    // Spread like hashed keys; each comes once per round.
                    let key = (number % self.keys).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    let key = format!("sensor-{key:016x}");
                    builder.push(Some(key.as_bytes()), Some(&value), number as i64, &[]);
                }
                let batch = builder.seal().into_iter();
                let appends = batch.map(|batch| (TopicPartition::new(changelog, partition), batch));
                let offset = CommittedOffset {
                    offset: 0,
                    metadata: String::new(),
                };
                writer.submit(Commit {
                    appends: appends.collect(),
                    group: Some(GroupCommit {
                        group: "bench".into(),
                        token: None,
                        offsets: vec![(TopicPartition::new("in", partition), offset)],
                    }),
                })?;
                writer.poll(Duration::from_secs(60))?.ok_or("no answer")?;
            }
        }
        Ok(())
    }

    /// Starts, waits until all tasks are running, and closes. Returns the time until then, the records read and
    /// the number of open files.
    fn start(&self, log: &Arc<dyn Log>, state: &std::path::Path) -> Outcome<(f64, u64, usize)> {
        let builder = StreamBuilder::new();
        builder
            .stream_with("in", Consumed::with(Utf8, I64))
            .group_by_key(Grouped::with("by", Utf8, I64))
            .count("counts")
            .to_stream()
            .present()
            .to_with("out", Produced::with(Utf8, I64));
        let topology = builder.build()?;
        let began = Instant::now();
        let mut running = Application::builder(topology, "bench")
            .log(Arc::clone(log))
            .state_directory(state)
            .settings(self.settings.clone())
            .start()?;
        while running.snapshot().state == State::Starting {
            if began.elapsed() > DEADLINE {
                return Err("not at work in time".into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let seconds = began.elapsed().as_secs_f64();
        let snapshot = running.snapshot();
        if let Some(error) = snapshot.error {
            return Err(error.into());
        }
        let restored = snapshot.tasks.iter().map(|task| task.restored).sum();
        // If the system has such a directory.
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        running.close(Duration::from_secs(60))?;
        Ok((seconds, restored, files))
    }
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    Run::parse(&args)?.run()
}
