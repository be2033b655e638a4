//! A join of two streams, each of whose pairs must come out once, and the feeder of both.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use marea::base::{SystemEnv, TopicPartition};
use marea::codec::{I64, Utf8};
use marea::dsl::{Consumed, JoinWindows, Produced, StreamBuilder, StreamJoined};
use marea::log::{
    BatchBuilder, Commit, CommitError, CommittedOffset, GroupCommit, Isolation, KafkaLog, Log,
    TopicSpec, Writer,
};
use marea::runtime::{Application, Settings, StopSignal};
use marea::topology::Topology;

use crate::broker::Broker;
use crate::patience::assign;

/// Set for a child process: the address of the brokers, and its directory.
pub const CHILD: &str = "MAREA_TEST_SOAK_CHILD";

const PARTITIONS: u32 = 4;
const SIDES: [&str; 2] = ["left", "right"];
const PAIRS: &str = "pairs";
const FEEDER: &str = "soak-feeder";
/// The topic of its group's tasks.
pub const TASKS: &str = "soak-join-marea-tasks";
const CLOSE: Duration = Duration::from_secs(60);

fn topology() -> Topology {
    let builder = StreamBuilder::new();
    let [left, right] = SIDES.map(|side| builder.stream_with(side, Consumed::with(Utf8, I64)));
    left.join(
        right,
        |_, left: &i64, right: &i64| left + right,
        JoinWindows::of(Duration::from_secs(3_600)),
        StreamJoined::with("joined", Utf8, I64, I64),
    )
    .to_with(PAIRS, Produced::with(Utf8, I64));
    builder.build().expect("a topology")
}

/// What a child process runs until it is told to end.
pub fn child(plan: &str) {
    let (url, directory) = plan.split_once('|').expect("a plan");
    let mut tries = 0;
    let log = loop {
        match KafkaLog::connect(url, SystemEnv::shared()) {
            Ok(log) => break log,
            // All brokers may be down at the moment when it starts.
            Err(error) => {
                tries += 1;
                assert!(tries < 40, "{error}");
            }
        }
    };
    std::fs::create_dir_all(Path::new(directory)).expect("a directory");
    let stop = StopSignal::listen().expect("signals");
    let start = || {
        Application::builder(topology(), "soak-join")
            .log(Arc::new(KafkaLog::connect(url, SystemEnv::shared())?))
            .state_directory(directory)
            .settings(Settings {
                workers: 2,
                session_timeout_ms: 10_000,
                memory_bytes: 64 << 20,
                ..Settings::default()
            })
            .start()
    };
    drop(log);
    let mut running = loop {
        match start() {
            Ok(running) => break running,
            Err(error) if error.kind() == marea::ErrorKind::Unavailable && !stop.is_set() => {
                eprintln!("starting again: {error}");
                std::thread::sleep(Duration::from_secs(1));
            }
            Err(error) => panic!("{error}"),
        }
    };
    running.run_until(&stop, CLOSE).expect("it runs");
}

/// Writes both sides, each number once, until it is told to end.
pub struct Feeder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Feeder {
    pub fn start(cluster: &Broker, rate: &str) -> Self {
        let log = cluster.log();
        let topics = SIDES.map(|side| TopicSpec::new(side, PARTITIONS));
        log.create_topics(&topics).expect("created");
        log.create_topics(&[TopicSpec::new(PAIRS, PARTITIONS)])
            .expect("created");
        let each = rate.parse::<u64>().expect("a number").div_ceil(5);
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut fed = 0;
            let mut writer = open(&*log);
            while !told.load(Ordering::SeqCst) {
                feed(&*log, &mut writer, fed, each);
                fed += each;
                std::thread::sleep(Duration::from_millis(200));
            }
            fed
        });
        Self { stop, thread }
    }

    /// How many numbers it has written on each side.
    pub fn finish(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("no panic")
    }
}

fn open(log: &dyn Log) -> Box<dyn Writer> {
    loop {
        match log.writer(FEEDER, 1 << 20) {
            Ok(writer) => return writer,
            Err(error) => eprintln!("the feeder waits: {error}"),
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Writes the numbers from `from` on; the number of records goes with them, which tells whether a commit with an
/// unknown outcome has happened.
fn feed(log: &dyn Log, writer: &mut Box<dyn Writer>, from: u64, count: u64) {
    let mark = TopicPartition::new(SIDES[0], 0);
    let commit = || {
        let mut builders: BTreeMap<TopicPartition, BatchBuilder> = BTreeMap::new();
        for number in from..from + count {
            let key = format!("n{number}");
            for side in SIDES {
                let place = TopicPartition::new(side, number as u32 % PARTITIONS);
                let value = (number as i64).to_be_bytes();
                let builder = builders.entry(place).or_default();
                builder.push(
                    Some(key.as_bytes()),
                    Some(&value),
                    1_000 + number as i64,
                    &[],
                );
            }
        }
        let appends = builders.into_iter();
        let appends = appends.filter_map(|(place, mut builder)| Some((place, builder.seal()?)));
        let committed = CommittedOffset {
            offset: (from + count) as i64,
            metadata: String::new(),
        };
        Commit {
            appends: appends.collect(),
            group: Some(GroupCommit {
                group: FEEDER.to_owned(),
                token: None,
                offsets: vec![(mark.clone(), committed)],
            }),
        }
    };
    let mut answer = writer.submit(commit()).map(|()| None);
    loop {
        answer = match answer {
            Ok(Some(_)) => return,
            Ok(None) | Err(CommitError::Unknown(_)) => writer.poll(Duration::from_secs(1)),
            Err(error) => {
                eprintln!("the feeder begins anew: {error}");
                *writer = open(log);
                let found = loop {
                    match log.committed(FEEDER, std::slice::from_ref(&mark)) {
                        Ok(found) => break found,
                        Err(error) => eprintln!("the feeder waits: {error}"),
                    }
                };
                let done = found[0].as_ref().map_or(0, |found| found.offset);
                if done == (from + count) as i64 {
                    return;
                }
                writer.submit(commit()).map(|()| None)
            }
        };
    }
}

/// How often each pair came out.
fn pairs(log: &dyn Log) -> BTreeMap<i64, u32> {
    let mut pairs = BTreeMap::new();
    for number in 0..PARTITIONS {
        let place = TopicPartition::new(PAIRS, number);
        let end = log
            .end_offset(&place, Isolation::ReadCommitted)
            .expect("an end");
        let mut reader = log.reader(1 << 20).expect("a reader");
        assign(&mut *reader, &[(place.clone(), 0)]);
        while reader.position(&place).is_some_and(|at| at < end) {
            for fetched in reader
                .poll(1 << 20, Duration::from_secs(1))
                .expect("readable")
            {
                let mut cursor = fetched.batch.cursor(fetched.base_offset);
                while let Some(record) = cursor.next_record().expect("whole") {
                    let sum = record
                        .value
                        .expect("a sum")
                        .try_into()
                        .expect("eight bytes");
                    *pairs.entry(i64::from_be_bytes(sum) / 2).or_default() += 1;
                }
            }
        }
    }
    pairs
}

/// Waits until as many pairs came out as went in.
pub fn wait_for_all(cluster: &Broker, fed: u64, until: Instant) {
    let log = cluster.log();
    loop {
        let found = pairs(&*log).len() as u64;
        if found >= fed {
            return;
        }
        assert!(Instant::now() < until, "{found} of {fed} pairs came out");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Every pair came out once.
pub fn check(cluster: &Broker, fed: u64) {
    let pairs = pairs(&*cluster.log());
    let wrong: Vec<_> = pairs
        .iter()
        .filter(|(_, times)| **times != 1)
        .take(10)
        .collect();
    assert!(
        wrong.is_empty(),
        "pairs that came more than once: {wrong:?}"
    );
    let numbers: Vec<i64> = pairs.into_keys().collect();
    assert!(
        numbers == (0..fed as i64).collect::<Vec<_>>(),
        "{} pairs of {fed}",
        numbers.len()
    );
}
