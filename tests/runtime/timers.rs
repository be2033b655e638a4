//! Timers of processors in an application: they fire without input, and survive the death of the process and the
//! loss of the disk.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use marea::base::{Record, SystemEnv, TopicPartition};
use marea::codec::{Codec, I64, Utf8};
use marea::disk::Budget;
use marea::dsl::{Clock, Consumed, Processor, ProcessorContext, Produced, StreamBuilder};
use marea::log::{Log, OpenOptions, TopicSpec};
use marea::runtime::{Application, Settings};
use marea::topology::Topology;
use marea::{Error, Result};

use crate::counting::{Row, finals, put, wait};
use crate::pipeline::memory_log;

type Context<'a> = ProcessorContext<'a, String, i64>;

/// A record sets a timer of its key that fires once, its value in milliseconds after the record's time by the wall
/// clock, and is passed on.
struct Alarms;

impl Processor for Alarms {
    type KeyIn = String;
    type ValueIn = i64;
    type KeyOut = String;
    type ValueOut = i64;

    fn process(&mut self, record: Record<String, i64>, context: &mut Context<'_>) -> Result<()> {
        let due_ms = record.timestamp_ms + record.value;
        let once = Duration::from_secs(3_600);
        context.schedule_from(&record.key, due_ms, once, Clock::Wall)?;
        context.forward(record)
    }

    fn punctuate(&mut self, timer: &str, time_ms: i64, context: &mut Context<'_>) -> Result<()> {
        context.cancel(timer)?;
        context.forward(Record::new(format!("fired {timer}"), time_ms, time_ms))
    }
}

fn alarms() -> Topology {
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .process(|| Alarms, "alarms")
        .to_with("out", Produced::with(Utf8, I64));
    builder.build().expect("a topology")
}

fn create_topics(log: &dyn Log) {
    let topics = [TopicSpec::new("in", 1), TopicSpec::new("out", 1)];
    log.create_topics(&topics).expect("topics");
}

fn start(log: &Arc<dyn Log>, directory: &Path, topology: Topology) -> Application {
    Application::builder(topology, "app")
        .log(log.clone())
        .state_directory(directory.join("state"))
        .settings(Settings {
            commit_interval_ms: 5,
            memory_bytes: 64 << 20,
            ..Settings::default()
        })
        .start()
        .expect("started")
}

/// All results, keys with values.
fn results(log: &dyn Log) -> Vec<(String, i64)> {
    let out = TopicPartition::new("out", 0);
    let mut reader = log.reader(1 << 20).expect("a reader");
    reader.assign(&[(out.clone(), 0)]).expect("assigned");
    let mut results = Vec::new();
    while reader.position(&out) < Some(finals(log)) {
        for fetched in reader
            .poll(1 << 20, crate::counting::DEADLINE)
            .expect("records")
        {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(raw) = cursor.next_record().expect("intact") {
                let key = Utf8.decode(raw.key).expect("a key");
                results.push((key, I64.decode(raw.value).expect("a value")));
            }
        }
    }
    results
}

fn now_ms() -> i64 {
    marea::base::Env::wall_ms(&*SystemEnv::shared())
}

#[test]
fn a_timer_by_the_wall_clock_fires_without_input() {
    /// Ticks from the start.
    struct Ticks;
    impl Processor for Ticks {
        type KeyIn = String;
        type ValueIn = i64;
        type KeyOut = String;
        type ValueOut = i64;

        fn init(&mut self, context: &mut Context<'_>) -> Result<()> {
            context.schedule("tick", Duration::from_millis(7), Clock::Wall)
        }

        fn process(&mut self, _record: Record<String, i64>, _: &mut Context<'_>) -> Result<()> {
            Err(Error::user("there is no input"))
        }

        fn punctuate(
            &mut self,
            timer: &str,
            time_ms: i64,
            context: &mut Context<'_>,
        ) -> Result<()> {
            assert_eq!(context.stream_time_ms(), -1);
            context.forward(Record::new(timer.to_owned(), time_ms, time_ms))
        }
    }
    let builder = StreamBuilder::new();
    builder
        .stream_with("in", Consumed::with(Utf8, I64))
        .process(|| Ticks, "ticks")
        .to_with("out", Produced::with(Utf8, I64));
    let topology = builder.build().expect("a topology");
    let log = memory_log();
    create_topics(&*log);
    let directory = tempfile::tempdir().expect("a directory");
    let began_ms = now_ms();
    let mut running = start(&log, directory.path(), topology);
    wait("ticks", || finals(&*log) >= 5);
    running.close(crate::counting::DEADLINE).expect("closed");
    let times: Vec<i64> = results(&*log).into_iter().map(|(_, time)| time).collect();
    assert!(times[0] >= began_ms + 7, "an interval after the start");
    assert!(times.windows(2).all(|two| two[0] < two[1]), "{times:?}");
    let intervals = (times[times.len() - 1] - times[0]) / 7 + 1;
    assert!(times.len() as i64 <= intervals + 1, "none twice: {times:?}");
}

fn open_log(directory: &Path) -> Arc<dyn Log> {
    let options = OpenOptions::new(SystemEnv::shared(), Budget::new(16 << 20));
    let url = format!("embedded:{}", directory.join("log").display());
    marea::log::open(&url, &options).expect("the log opens")
}

/// Not a test of its own: sets a timer, and dies when it is committed.
#[test]
fn child() {
    let Ok(plan) = std::env::var("MAREA_TEST_TIMERS") else {
        return;
    };
    let (due_in_ms, directory) = plan.split_once('|').expect("a plan");
    let log = open_log(Path::new(directory));
    create_topics(&*log);
    let before = finals(&*log);
    let _running = start(&log, Path::new(directory), alarms());
    let value: i64 = due_in_ms.parse().expect("a number");
    let rows: [Row; 1] = [("once", value, now_ms())];
    put(&*log, 0, &rows);
    wait("the commit", || finals(&*log) > before);
    std::process::abort();
}

/// A child sets a timer that is due in this many milliseconds, and dies.
fn set_and_die(directory: &Path, due_in_ms: i64) {
    let plan = format!("{due_in_ms}|{}", directory.display());
    let status = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "timers::child", "--nocapture"])
        .env("MAREA_TEST_TIMERS", plan)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the child runs");
    assert!(!status.success(), "it was to die");
}

/// The timer fires once in the following life, not before it is due, and not again in the one after that.
fn fires_once_after(directory: &Path, due_in_ms: i64) {
    for _life in 0..2 {
        let log = open_log(directory);
        let mut running = start(&log, directory, alarms());
        let fired = |key: &str| key == "fired once";
        let has_fired = || results(&*log).iter().any(|(key, _)| fired(key));
        wait("the timer", has_fired);
        // A record after it shows that the timer was not fired again together with it.
        let rows: [Row; 1] = [("after", 3_600_000, now_ms())];
        let before = finals(&*log);
        put(&*log, 0, &rows);
        wait("a record", || finals(&*log) > before);
        running.close(crate::counting::DEADLINE).expect("closed");
        let results = results(&*log);
        let (_, due_after_ms) = results.iter().find(|(key, _)| key == "once").expect("set");
        assert_eq!(*due_after_ms, due_in_ms);
        let times: Vec<_> = results.iter().filter(|(key, _)| fired(key)).collect();
        assert_eq!(times.len(), 1, "{results:?}");
    }
}

#[test]
fn a_timer_survives_the_death_of_the_process() {
    let directory = tempfile::tempdir().expect("a directory");
    // A process starts within hundreds of milliseconds, so the timer is due not in this life but in the next.
    let began_ms = now_ms();
    set_and_die(directory.path(), 3_000);
    fires_once_after(directory.path(), 3_000);
    let log = open_log(directory.path());
    let results = results(&*log);
    let fired = results.iter().find(|(key, _)| key == "fired once");
    let (_, fired_ms) = fired.expect("it fired");
    assert!(*fired_ms >= began_ms + 3_000, "not before it is due");
}

#[test]
fn a_timer_survives_the_loss_of_the_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    set_and_die(directory.path(), 1_500);
    std::fs::remove_dir_all(directory.path().join("state")).expect("removed");
    fires_once_after(directory.path(), 1_500);
}

#[test]
fn timers_that_were_missed_while_nothing_ran_fire_once() {
    let directory = tempfile::tempdir().expect("a directory");
    set_and_die(directory.path(), 800);
    // It becomes due while nothing is running.
    std::thread::sleep(Duration::from_millis(800));
    fires_once_after(directory.path(), 800);
}
