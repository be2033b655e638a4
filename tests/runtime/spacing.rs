//! When a worker that has caught up commits.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use marea::base::TopicPartition;
use marea::codec::{I64, Utf8};
use marea::dsl::{Consumed, Produced, StreamBuilder};
use marea::log::{BatchesBuilder, Commit, Isolation, Log, Records, TopicSpec};
use marea::runtime::{Application, Hooks, Point, Settings};

use crate::committing::commit;
use crate::counting::{DEADLINE, SteppedEnv, wait};
use crate::faulty::{Fault, FaultyLog};
use crate::pipeline::memory_log;

const RECORDS: i64 = 1_800;
const HOUR_MS: u64 = 3_600_000;

/// A log with a topic `in` that holds the records, and an empty one `out`.
fn filled() -> Arc<dyn Log> {
    let log = memory_log();
    let topics = ["in", "out"].map(|name| TopicSpec::new(name, 1));
    log.create_topics(&topics).expect("created");
    let input = TopicPartition::new("in", 0);
    let mut builder = BatchesBuilder::default();
    let value = "v".repeat(400);
    for number in 0..RECORDS {
        builder.push(
            Some(&number.to_be_bytes()),
            Some(value.as_bytes()),
            number,
            &[],
        );
    }
    let appends = builder
        .seal()
        .into_iter()
        .map(|batch| (input.clone(), batch));
    let whole = Commit {
        appends: appends.collect(),
        group: None,
    };
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    commit(&mut *writer, whole);
    log
}

/// A commit of a backlog that took long does not delay the next one, of the records after it.
#[test]
fn a_commit_of_a_backlog_says_nothing_of_the_next_one() {
    let log = filled();
    let output = TopicPartition::new("out", 0);
    let builder = StreamBuilder::new();
    let stream = builder.stream_with("in", Consumed::with(I64, Utf8));
    stream.to_with("out", Produced::with(I64, Utf8));
    let env = SteppedEnv::shared();
    let held = Arc::new(FaultyLog::new(Arc::clone(&log), Fault::Held));
    let mut running = Application::builder(builder.build().expect("a topology"), "app")
        .log(held.clone())
        .env(env.clone())
        .settings(Settings {
            commit_interval_ms: HOUR_MS,
            commit_spacing_ms: Some(1),
            // Two thirds of the records are half of what may wait for a commit.
            memory_bytes: 4 << 20,
            records_per_step: 50,
            session_timeout_ms: HOUR_MS,
            max_poll_interval_ms: HOUR_MS,
            ..Settings::in_memory()
        })
        .start()
        .expect("started");
    wait("a commit of the first records", || held.commits() > 0);
    wait("the others to be processed", || {
        running.snapshot().records == RECORDS.cast_unsigned()
    });
    // Four times this long is more than this test waits.
    env.pass(Duration::from_secs(30));
    assert_eq!(held.commits(), 1);
    held.release();
    wait("a commit of the others", || {
        let end = log.end_offset(&output, Isolation::ReadCommitted);
        end.expect("an end") == RECORDS
    });
    assert_eq!(held.commits(), 2);
    running.close(DEADLINE).expect("closed");
}

/// How long after the end of a commit the next one begins.
#[derive(Debug, Default)]
struct Rests {
    ended: Mutex<Option<Instant>>,
    rests: Mutex<Vec<Duration>>,
}

impl Hooks for Rests {
    fn reached(&self, point: Point) {
        let mut ended = self.ended.lock().expect("sound");
        match point {
            Point::Applied => *ended = Some(Instant::now()),
            Point::BeforeCommit => {
                let mut rests = self.rests.lock().expect("sound");
                rests.extend(ended.take().map(|ended| ended.elapsed()));
            }
            _ => {}
        }
    }
}

/// With a backlog and an interval that is shorter than what a commit takes.
#[test]
fn the_next_commit_rests_after_the_answer() {
    const COMMITS: usize = 20;
    let builder = StreamBuilder::new();
    let stream = builder.stream_with("in", Consumed::with(I64, Utf8));
    let slow = stream.peek(|_, _| std::thread::sleep(Duration::from_millis(1)));
    slow.to_with("out", Produced::with(I64, Utf8));
    let rests = Arc::new(Rests::default());
    let mut running = Application::builder(builder.build().expect("a topology"), "app")
        .log(filled())
        .hooks(rests.clone())
        .settings(Settings {
            commit_interval_ms: 1,
            commit_spacing_ms: Some(5),
            records_per_step: 1,
            ..Settings::in_memory()
        })
        .start()
        .expect("started");
    let seen = || rests.rests.lock().expect("sound").clone();
    wait("commits", || seen().len() >= COMMITS);
    let seen = seen();
    running.close(DEADLINE).expect("closed");
    // The worker counts whole milliseconds.
    let short = seen.iter().filter(|rest| **rest < Duration::from_millis(4));
    assert_eq!(short.count(), 0, "{seen:?}");
}
