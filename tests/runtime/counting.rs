//! Counts in small windows behind a filter and a repartition: the topology of the tests of time.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use marea::base::{Env, Result, SystemEnv, Thread, TopicPartition};
use marea::codec::{Codec, I64, Utf8, WindowedCodec};
use marea::dsl::{
    Consumed, Grouped, GroupedStream, Idle, Produced, StreamBuilder, Suppressed, TimeWindows,
};
use marea::log::{BatchBuilder, Commit, Isolation, Log, TopicSpec};
use marea::runtime::{Application, Settings, StateBackend};
use marea::topology::Topology;

use crate::committing::commit;

pub const DEADLINE: Duration = Duration::from_secs(60);

/// The real clock, plus the time that a test lets pass: so a test of minutes takes seconds, and is not in a hurry
/// while it feeds.
#[derive(Debug)]
pub struct SteppedEnv {
    real: Arc<SystemEnv>,
    passed_ms: AtomicU64,
    /// How often each worker has read the clock.
    looks: Mutex<HashMap<ThreadId, u64>>,
}

/// How much time passes at once, in milliseconds; the workers check in between.
const STEP_MS: u64 = 500;
/// A worker that has read the clock this often has had a turn in the meantime.
const TURN: u64 = 24;

impl SteppedEnv {
    pub fn shared() -> Arc<Self> {
        Arc::new(Self {
            real: SystemEnv::shared(),
            passed_ms: AtomicU64::new(0),
            looks: Mutex::default(),
        })
    }

    fn looks(&self) -> HashMap<ThreadId, u64> {
        self.looks.lock().expect("no panic").clone()
    }

    /// Lets time pass, step by step.
    pub fn pass(&self, time: Duration) {
        for _ in 0..time.as_millis() as u64 / STEP_MS {
            self.passed_ms.fetch_add(STEP_MS, Ordering::SeqCst);
            let before = self.looks();
            wait("the workers to look at the clock", || {
                let now = self.looks();
                before
                    .iter()
                    .all(|(worker, looks)| now[worker] >= looks + TURN)
            });
        }
    }

    /// Lets time pass until a condition holds.
    pub fn pass_until(&self, what: &str, done: impl Fn() -> bool) {
        wait(what, || {
            self.pass(Duration::from_millis(STEP_MS));
            done()
        });
    }
}

impl Env for SteppedEnv {
    fn wall_ms(&self) -> i64 {
        self.real.wall_ms() + self.passed_ms.load(Ordering::SeqCst) as i64
    }

    fn monotonic_ns(&self) -> u64 {
        if std::thread::current().name() == Some("marea-worker") {
            let mut looks = self.looks.lock().expect("no panic");
            *looks.entry(std::thread::current().id()).or_insert(0) += 1;
        }
        self.real.monotonic_ns() + self.passed_ms.load(Ordering::SeqCst) * 1_000_000
    }

    fn random_u64(&self) -> u64 {
        self.real.random_u64()
    }

    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Thread> {
        self.real.spawn(name, body)
    }

    fn sleep(&self, duration: Duration) {
        self.real.sleep(duration);
    }
}

pub type Row = (&'static str, i64, i64);

pub fn put(log: &dyn Log, partition: u32, rows: &[Row]) {
    put_to_each(log, partition..partition + 1, rows);
}

/// The same rows to each of the partitions, in one commit: none is silent while another has them.
pub fn put_to_each(log: &dyn Log, partitions: Range<u32>, rows: &[Row]) {
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    let mut builder = BatchBuilder::default();
    for (key, value, timestamp_ms) in rows {
        let (key, value) = (key.as_bytes(), value.to_be_bytes());
        builder.push(Some(key), Some(&value), *timestamp_ms, &[]);
    }
    let batch = builder.seal().expect("records");
    let places = partitions.map(|partition| TopicPartition::new("in", partition));
    let whole = Commit {
        appends: places.map(|place| (place, batch.clone())).collect(),
        group: None,
    };
    commit(&mut *writer, whole);
}

/// Counts by the value's remainder in windows of 100 ms, of the records whose key is not `drop`.
pub fn topology(idle: Option<Idle>) -> Topology {
    let builder = StreamBuilder::new();
    let mut consumed = Consumed::with(Utf8, I64);
    if let Some(idle) = idle {
        consumed = consumed.idle_timeout(idle);
    }
    let kept = builder
        .stream_with("in", consumed)
        .filter(|key: &String, _| key != "drop");
    final_counts(kept.group_by(Grouped::with("by", Utf8, I64), |_, value| {
        (value % 3).to_string()
    }));
    builder.build().expect("a topology")
}

/// Counts in windows of 100 ms; the final ones go to `out`.
pub fn final_counts(grouped: GroupedStream<String, i64>) {
    grouped
        .windowed_by(TimeWindows::of(Duration::from_millis(100)))
        .count("counts")
        .suppress(Suppressed::until_window_closes_with("final", I64))
        .to_stream()
        .present()
        .to_with("out", Produced::with(WindowedCodec::new(Utf8, 100), I64));
}

pub fn settings() -> Settings {
    Settings {
        commit_interval_ms: 10,
        state_backend: StateBackend::Memory,
        ..Settings::default()
    }
}

pub fn start(
    log: &Arc<dyn Log>,
    partitions: u32,
    topology: Topology,
    env: Arc<dyn Env>,
) -> Application {
    start_with(log, partitions, topology, env, settings())
}

pub fn start_with(
    log: &Arc<dyn Log>,
    partitions: u32,
    topology: Topology,
    env: Arc<dyn Env>,
    settings: Settings,
) -> Application {
    let topics = [TopicSpec::new("in", partitions), TopicSpec::new("out", 1)];
    log.create_topics(&topics).expect("topics");
    Application::builder(topology, "app")
        .log(log.clone())
        .env(env)
        .settings(settings)
        .start()
        .expect("started")
}

pub fn finals(log: &dyn Log) -> i64 {
    let out = TopicPartition::new("out", 0);
    log.end_offset(&out, Isolation::ReadCommitted)
        .expect("an end")
}

/// All final counts, each of which must be there once.
pub fn counts(log: &dyn Log) -> BTreeMap<(String, i64), i64> {
    let out = TopicPartition::new("out", 0);
    let mut reader = log.reader(1 << 20).expect("a reader");
    reader.assign(&[(out.clone(), 0)]).expect("assigned");
    let mut counts = BTreeMap::new();
    while reader.position(&out) < Some(finals(log)) {
        for fetched in reader.poll(1 << 20, DEADLINE).expect("records") {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(raw) = cursor.next_record().expect("intact") {
                let window = WindowedCodec::new(Utf8, 100)
                    .decode(raw.key)
                    .expect("a window");
                let count = I64.decode(raw.value).expect("a count");
                let again = counts.insert((window.key, window.start_ms), count);
                assert_eq!(again, None, "a window was final twice");
            }
        }
    }
    counts
}

pub fn wait(what: &str, done: impl Fn() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < DEADLINE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
