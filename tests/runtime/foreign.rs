//! Joins by a foreign key over several tasks: nothing is lost, doubled or stale, whoever dies and at whatever pace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use marea::Result;
use marea::base::{TopicPartition, partition_for_key};
use marea::dsl::{StreamBuilder, Suppressed, Table, TimeWindows};
use marea::log::{BatchBuilder, Commit, Isolation, Log, TopicSpec};
use marea::runtime::{Application, ApplicationBuilder, Settings, StateBackend};
use marea::task::DropReason;
use marea::testing::{Compare, InputRecord, Invariance};
use marea::topology::Topology;

use crate::counting::wait;
use crate::crash::{abort_at, open_log};

const DEADLINE: Duration = Duration::from_secs(120);
const PARTITIONS: u32 = 4;
const ORDERS: i64 = 6_000;
const KILLS: usize = 10;

/// Each order is `<customer>:<goods>`, or goods alone.
fn customer(order: &str) -> Option<String> {
    let (customer, _) = order.split_once(':')?;
    Some(customer.to_owned())
}

fn topology() -> Result<Topology> {
    let builder = StreamBuilder::new();
    let orders = builder.table::<String, String>("orders", "orders-rows");
    let customers = builder.table::<String, String>("customers", "customers-rows");
    let write = |table: Table<String, String>, topic: &str| table.to_stream().to(topic);
    let known = orders.clone().join_foreign(
        customers.clone(),
        |_, order| customer(order),
        |_, order, name| format!("{order}+{name}"),
        "known",
    );
    write(known, "known");
    let all = orders.left_join_foreign(
        customers,
        |_, order| customer(order),
        |_, order, name| format!("{order}+{name:?}"),
        "all",
    );
    write(all.materialized("all-rows"), "all");
    builder.build()
}

/// Rows of both tables that change, move to other customers, are deleted, and come again.
fn input(count: i64) -> Vec<InputRecord> {
    let mut input = Vec::new();
    let mut row = |topic: &str, key: String, value: Option<String>, timestamp_ms: i64| {
        input.push(InputRecord {
            topic: topic.to_owned(),
            key: Some(key.into_bytes()),
            value: value.map(String::into_bytes),
            timestamp_ms,
        });
    };
    for n in 0..count {
        let order = match n % 17 {
            0 => None,
            1 => Some(format!("goods-{n}")),
            2 => Some(format!("nobody:{n}")),
            _ => Some(format!("c{}:{}", n * 7 % 41, n % 5)),
        };
        row("orders", format!("o{}", n * 31 % 500), order, n * 3);
        if n % 2 == 0 {
            let name = (n % 22 != 0).then(|| format!("name-{n}"));
            row("customers", format!("c{}", n * 13 % 37), name, n * 3 + 1);
        }
    }
    input
}

/// What must come of it, of each order that has a result.
fn expected(input: &[InputRecord]) -> [BTreeMap<String, String>; 2] {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let rows = |topic: &str| {
        let mut rows = BTreeMap::new();
        for record in input.iter().filter(|record| record.topic == topic) {
            let key = text(record.key.as_deref().expect("a key"));
            match &record.value {
                Some(value) => drop(rows.insert(key, text(value))),
                None => drop(rows.remove(&key)),
            }
        }
        rows
    };
    let (orders, customers) = (rows("orders"), rows("customers"));
    let (mut known, mut all) = (BTreeMap::new(), BTreeMap::new());
    for (key, order) in orders {
        let name = customer(&order).and_then(|customer| customers.get(&customer));
        if let Some(name) = name {
            known.insert(key.clone(), format!("{order}+{name}"));
        }
        all.insert(key, format!("{order}+{name:?}"));
    }
    [known, all]
}

fn application(directory: &Path, log: Arc<dyn Log>) -> ApplicationBuilder {
    Application::builder(topology().expect("a topology"), "test")
        .log(log)
        .state_directory(directory.join("state"))
        .settings(Settings {
            workers: 2,
            commit_interval_ms: 3,
            records_per_step: 50,
            memory_bytes: 64 << 20,
            ..Settings::default()
        })
}

fn fill(directory: &Path, input: &[InputRecord]) {
    let log = open_log(directory);
    let topics = ["orders", "customers", "known", "all"];
    let topics = topics.map(|topic| TopicSpec::new(topic, PARTITIONS));
    log.create_topics(&topics).expect("topics");
    let mut builders: BTreeMap<TopicPartition, BatchBuilder> = BTreeMap::new();
    for record in input {
        let key = record.key.as_deref().expect("a key");
        let place = TopicPartition::new(&*record.topic, partition_for_key(key, PARTITIONS));
        let builder = builders.entry(place).or_default();
        builder.push(Some(key), record.value.as_deref(), record.timestamp_ms, &[]);
    }
    let sealed = builders.into_iter();
    let sealed = sealed.map(|(place, mut builder)| (place, builder.seal().expect("records")));
    let commit = Commit {
        appends: sealed.collect(),
        group: None,
    };
    let mut writer = log.writer("feeder").expect("a writer");
    writer.submit(commit).expect("submitted");
    assert!(writer.poll(DEADLINE).expect("committed").is_some());
}

fn run_to_the_end(directory: &Path) {
    let mut running = application(directory, open_log(directory)).start();
    let running = running.as_mut().expect("started");
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
}

/// The last row of each key, without the deleted ones.
fn last(log: &dyn Log, topic: &str) -> BTreeMap<String, String> {
    let places = (0..PARTITIONS).map(|partition| TopicPartition::new(topic, partition));
    let places: Vec<_> = places.collect();
    let ends = log.end_offsets(&places, Isolation::ReadCommitted);
    let ends = ends.expect("ends");
    let mut reader = log.reader().expect("a reader");
    let starts: Vec<_> = places.iter().map(|place| (place.clone(), 0)).collect();
    reader.assign(&starts).expect("assigned");
    let mut rows = BTreeMap::new();
    while places
        .iter()
        .zip(&ends)
        .any(|(place, end)| reader.position(place) < Some(*end))
    {
        for fetched in reader.poll(1 << 20, DEADLINE).expect("records") {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(raw) = cursor.next_record().expect("intact") {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
                let key = text(raw.key.expect("a key"));
                match raw.value {
                    Some(value) => drop(rows.insert(key, text(value))),
                    None => drop(rows.remove(&key)),
                }
            }
        }
    }
    rows
}

/// The rows are those that were expected; shows a few that are not.
fn check(what: &str, found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) {
    let keys = found.keys().chain(expected.keys());
    let differs = |key: &&String| found.get(*key) != expected.get(*key);
    let keys: BTreeSet<&String> = keys.filter(differs).collect();
    let shown = keys.iter().take(5);
    let shown: Vec<_> = shown
        .map(|key| (key, found.get(*key), expected.get(*key)))
        .collect();
    let (few, all) = (keys.len(), expected.len());
    assert!(few == 0, "{what}: {few} of {all} rows, such as {shown:?}");
}

/// Not a test of its own: what the child processes run.
#[test]
fn child() {
    let Ok(plan) = std::env::var("MAREA_TEST_FOREIGN") else {
        return;
    };
    let parts: Vec<&str> = plan.split('|').collect();
    let [directory, point, nth] = parts[..] else {
        panic!("{plan}")
    };
    let hooks = abort_at(point, nth.parse().expect("a number"), 0);
    let directory = Path::new(directory);
    let builder = application(directory, open_log(directory)).hooks(hooks);
    let mut running = builder.start().expect("started");
    running.drain(DEADLINE).expect("drained");
    running.close(DEADLINE).expect("closed");
}

/// Runs the child; `true` if it crashed, `false` if it came to the end first.
fn crashes(directory: &Path, point: &str, nth: usize) -> bool {
    let plan = format!("{}|{point}|{nth}", directory.display());
    let status = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "foreign::child", "--nocapture"])
        .env("MAREA_TEST_FOREIGN", plan)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the child runs");
    !status.success()
}

#[test]
fn ten_kills_leave_each_row_joined_as_an_undisturbed_run_does() {
    let input = input(ORDERS);
    let calm = tempfile::tempdir().expect("a directory");
    fill(calm.path(), &input);
    run_to_the_end(calm.path());
    let killed = tempfile::tempdir().expect("a directory");
    fill(killed.path(), &input);
    let points = ["before_commit", "asked", "committed", "applied"];
    for kill in 0..KILLS {
        let point = points[kill % points.len()];
        let crashed = crashes(killed.path(), point, 1 + kill % 3);
        assert!(crashed, "it came to the end before kill {kill} ({point})");
    }
    run_to_the_end(killed.path());

    let (calm_log, log) = (open_log(calm.path()), open_log(killed.path()));
    for (topic, expected) in ["known", "all"].into_iter().zip(expected(&input)) {
        assert!(expected.len() > 300, "{topic}: {}", expected.len());
        let undisturbed = last(&*calm_log, topic);
        check(&format!("{topic}, undisturbed"), &undisturbed, &expected);
        let after_kills = last(&*log, topic);
        check(
            &format!("{topic}, after the kills"),
            &after_kills,
            &undisturbed,
        );
    }
    let replay = application(killed.path(), log).replay(|_| ());
    let replay = replay.expect("replayed");
    assert!(
        replay.is_equal(),
        "{:?} rebuilt as {:?}",
        replay.before,
        replay.after
    );
}

/// The left join has a result of every order; what it is in the end does not depend on who was faster.
#[test]
fn results_do_not_depend_on_pace() {
    let invariance = Invariance {
        batch_sizes: vec![7],
        commit_intervals_ms: vec![2],
        restarts: vec![0, 2],
        // Both inputs must be partitioned by all of their partitions.
        empty_partitions: vec![0],
        idle_timeout_ms: None,
        ..Invariance::default()
    };
    let joined = || {
        let builder = StreamBuilder::new();
        let orders = builder.table::<String, String>("orders", "orders-rows");
        let customers = builder.table::<String, String>("customers", "customers-rows");
        let key = |_: &String, order: &String| customer(order);
        orders
            .left_join_foreign(
                customers,
                key,
                |_, order, name| format!("{order}+{name:?}"),
                "all",
            )
            .to_stream()
            .to("all");
        builder.build()
    };
    let outputs = [("all", Compare::LastOfEachKey)];
    let outcome = invariance.check(joined, &input(400), &outputs);
    outcome.expect("the same rows");
}

/// Windows behind the join close while it runs, and no result is late there.
#[test]
fn time_behind_a_join_waits_for_answers_on_their_way() {
    let builder = StreamBuilder::new();
    let orders = builder.table::<String, String>("orders", "orders-rows");
    let customers = builder.table::<String, String>("customers", "customers-rows");
    orders
        .left_join_foreign(
            customers,
            |_, order| customer(order),
            |_, order, _| order.clone(),
            "all",
        )
        .to_stream()
        .group_by("by-order", |key, _| key.clone())
        .windowed_by(TimeWindows::of(Duration::from_millis(500)))
        .count("counts")
        .suppress(Suppressed::until_window_closes("final"))
        .to_stream()
        .present()
        .map(|window, count| (window.key, count))
        .to("known");
    let directory = tempfile::tempdir().expect("a directory");
    fill(directory.path(), &input(ORDERS));
    let log = open_log(directory.path());
    let mut running = Application::builder(builder.build().expect("a topology"), "test")
        .log(log.clone())
        .settings(Settings {
            workers: 2,
            commit_interval_ms: 5,
            records_per_step: 50,
            idle_timeout_ms: None,
            state_backend: StateBackend::Memory,
            ..Settings::default()
        })
        .start()
        .expect("started");
    wait("windows to close before the end", || {
        !last(&*log, "known").is_empty()
    });
    running.drain(DEADLINE).expect("drained");
    let drops = running.snapshot().drops;
    assert_eq!(drops.of(DropReason::Late), 0, "{drops:?}");
    running.close(DEADLINE).expect("closed");
}
