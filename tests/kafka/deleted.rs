//! Internal topics and offsets that somebody deletes, full disks, and clocks that jump.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use marea::base::{Env, SystemEnv, Thread};
use marea::log::{KafkaLog, Log};
use marea::runtime::{Application, Settings};
use marea::{ErrorKind, Result};

use crate::broker::{Broker, tried};
use crate::cases::{Case, OwnCase};
use crate::crash::{application, check, id_of, prepared, settings};
use crate::patience::insist;

pub const CASES: &[(&str, Case)] = &[
    (
        "a_deleted_topic_of_tasks_is_made_anew",
        a_deleted_topic_of_tasks_is_made_anew,
    ),
    (
        "a_deleted_changelog_ends_the_application_with_its_name",
        a_deleted_changelog_ends_the_application_with_its_name,
    ),
    (
        "a_deleted_repartition_topic_ends_the_application_with_its_name",
        a_deleted_repartition_topic_ends_the_application_with_its_name,
    ),
    (
        "deleted_offsets_are_not_taken_for_a_beginning",
        deleted_offsets_are_not_taken_for_a_beginning,
    ),
    (
        "clocks_that_jump_change_nothing",
        clocks_that_jump_change_nothing,
    ),
];

pub const OWN_CASES: &[(&str, OwnCase)] = &[(
    "a_brokers_disk_is_full_and_has_room_again",
    a_brokers_disk_is_full_and_has_room_again,
)];

const SOON: Duration = Duration::from_secs(20);
const DEADLINE: Duration = Duration::from_secs(120);

/// Slow enough to be disturbed.
fn slow() -> Settings {
    Settings {
        records_per_step: 1,
        ..settings()
    }
}

fn wait_for_records(running: &Application, records: u64) {
    let until = Instant::now() + DEADLINE;
    while running.snapshot().records < records {
        assert!(Instant::now() < until, "{:?}", running.snapshot());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn drain(running: &Application) {
    let until = Instant::now() + DEADLINE;
    // A drain that took too long continues with the next call.
    while let Err(error) = running.drain(SOON) {
        assert!(Instant::now() < until, "drained: {error}");
    }
}

/// The topic holds nothing. Members lose their places, create it again, and continue from what is committed.
fn a_deleted_topic_of_tasks_is_made_anew(broker: &Broker) {
    let log = prepared(broker);
    let directory = tempfile::tempdir().expect("a directory");
    let builder = application(directory.path(), Arc::clone(&log)).settings(slow());
    let mut running = builder.start().expect("started");
    wait_for_records(&running, 500);
    let topic = format!("{}-marea-tasks", id_of(directory.path()));
    broker.log().delete_topics(&[topic]).expect("deleted");
    drain(&running);
    running.close(DEADLINE).expect("closed");
    drop(running);
    check(directory.path(), log);
}

/// State that cannot be kept is not created: the application ends and names what is missing. It does so before it
/// has committed anything more.
fn a_deleted_changelog_ends_the_application_with_its_name(broker: &Broker) {
    ends_without(broker, |name| {
        name.ends_with("-changelog") && !name.contains("-task-")
    });
}

/// The records in transit are lost, and nobody continues as if they were not.
fn a_deleted_repartition_topic_ends_the_application_with_its_name(broker: &Broker) {
    ends_without(broker, |name| name.ends_with("-repartition"));
}

fn ends_without(broker: &Broker, is_it: impl Fn(&str) -> bool) {
    let log = prepared(broker);
    let directory = tempfile::tempdir().expect("a directory");
    let builder = application(directory.path(), Arc::clone(&log)).settings(slow());
    let running = builder.start().expect("started");
    wait_for_records(&running, 500);
    let names = log.topic_names().expect("names");
    let topic = names.iter().find(|name| is_it(name)).expect("a topic");
    let other = broker.log();
    other
        .delete_topics(std::slice::from_ref(topic))
        .expect("deleted");
    let until = Instant::now() + DEADLINE;
    let error = loop {
        match running.drain(SOON) {
            Err(error) if error.kind() != ErrorKind::Unavailable => break error,
            drained => assert!(Instant::now() < until, "nothing is said: {drained:?}"),
        }
    };
    println!("    {error}");
    assert!(error.to_string().contains(topic), "{error}");
}

/// An application without offsets but with changelogs would count everything again: it refuses to start.
fn deleted_offsets_are_not_taken_for_a_beginning(broker: &Broker) {
    let log = prepared(broker);
    let directory = tempfile::tempdir().expect("a directory");
    let start = || {
        application(directory.path(), broker.log())
            .settings(slow())
            .start()
    };
    let mut running = start().expect("started");
    wait_for_records(&running, 500);
    running.leave(DEADLINE).expect("left");
    drop(running);
    let until = Instant::now() + SOON;
    let group = id_of(directory.path());
    while let Err(error) = log.delete_group(&group) {
        assert!(Instant::now() < until, "{error}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let ended = start().and_then(|running| {
        let until = Instant::now() + DEADLINE;
        loop {
            match running.drain(SOON) {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    assert!(Instant::now() < until, "nothing is said: {error}");
                }
                drained => break drained,
            }
        }
    });
    let error = ended.expect_err("it would count again");
    println!("    {error}");
    assert!(error.to_string().contains("offset"), "{error}");
}

/// A file system of its own for a broker.
struct Small(std::path::PathBuf);

impl Small {
    /// `None` without the permission to mount.
    fn mounted(at: &std::path::Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=192m", "tmpfs"])
            .arg(at)
            .output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }

    /// Uses up its free space, until that is released.
    fn fill(&self) {
        let ballast = std::fs::File::create(self.0.join("ballast"));
        let mut ballast = ballast.expect("a file");
        let block = vec![7; 1 << 20];
        while std::io::Write::write_all(&mut ballast, &block).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("ballast")).expect("removed");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            println!("{} stays mounted", self.0.display());
        }
    }
}

/// Brokers with a full disk end by themselves. The application waits, and continues once there is space and the
/// broker was restarted.
fn a_brokers_disk_is_full_and_has_room_again() {
    tried(|| {
        let place = tempfile::tempdir().expect("a directory");
        let data = place.path().join("data1");
        std::fs::create_dir(&data).expect("a directory");
        let Some(disk) = Small::mounted(&data) else {
            println!("    not done: no permission to mount");
            return crate::broker::Outcome::Passed;
        };
        // Its segments are no larger than the disk.
        let settings = "log.segment.bytes=8388608;log.index.size.max.bytes=65536;\
                        offsets.topic.segment.bytes=4194304;transaction.state.log.segment.bytes=4194304;\
                        log.initial.task.delay.ms=500";
        let broker = Broker::within(place, settings).expect("a broker");
        broker.outcome(|| the_disk_is_full(&broker, &disk))
    });
}

fn the_disk_is_full(broker: &Broker, disk: &Small) {
    let log = prepared(broker);
    let directory = tempfile::tempdir().expect("a directory");
    let builder = application(directory.path(), Arc::clone(&log)).settings(slow());
    let mut running = builder.start().expect("started");
    wait_for_records(&running, 500);
    disk.fill();
    let until = Instant::now() + DEADLINE;
    while broker.is_alive(1) {
        assert!(Instant::now() < until, "a broker of a full disk ends");
        std::thread::sleep(Duration::from_millis(100));
    }
    println!(
        "    the broker ended after {} records",
        running.snapshot().records
    );
    std::thread::sleep(Duration::from_secs(3));
    disk.make_room();
    broker.tell("restart", 1);
    let until = Instant::now() + DEADLINE;
    while let Err(error) = running.drain(SOON) {
        let in_vain = broker.has_forgotten_a_transaction() || Instant::now() > until;
        assert!(!in_vain, "drained: {error}");
    }
    running.close(DEADLINE).expect("closed");
    drop(running);
    check(directory.path(), log);
}

/// The real environment, except for a wall clock that somebody sets.
#[derive(Debug)]
struct Jumping {
    real: Arc<SystemEnv>,
    ahead_ms: AtomicI64,
}

impl Env for Jumping {
    fn wall_ms(&self) -> i64 {
        self.real.wall_ms() + self.ahead_ms.load(Ordering::Relaxed)
    }

    fn monotonic_ns(&self) -> u64 {
        self.real.monotonic_ns()
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

/// Neither while it runs nor between two runs: a second one that begins a day before the first ended still has its
/// places and offsets.
fn clocks_that_jump_change_nothing(broker: &Broker) {
    const HOUR_MS: i64 = 3_600_000;
    prepared(broker);
    let directory = tempfile::tempdir().expect("a directory");
    let env = Arc::new(Jumping {
        real: SystemEnv::shared(),
        ahead_ms: AtomicI64::new(0),
    });
    let mut records = 0;
    for (number, jumps) in [[1, -1], [48, -24], [-24, -72]].into_iter().enumerate() {
        let clock: Arc<dyn Env> = Arc::clone(&env) as Arc<dyn Env>;
        let connect = || KafkaLog::connect(&broker.url, Arc::clone(&clock));
        let log: Arc<dyn Log> = Arc::new(insist("the first contact", connect));
        let builder = application(directory.path(), log)
            .env(clock)
            .settings(slow());
        let mut running = builder.start().expect("started");
        for hours in jumps {
            wait_for_records(&running, 200);
            env.ahead_ms.store(hours * HOUR_MS, Ordering::Relaxed);
            let before = running.snapshot().records;
            wait_for_records(&running, before + 200);
        }
        if number == 2 {
            drain(&running);
        }
        running.close(DEADLINE).expect("closed");
        records += running.snapshot().records;
    }
    println!("    {records} records");
    check(directory.path(), broker.log());
}
