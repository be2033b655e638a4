//! Networks that are slow, cut connections, or let nothing through for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use marea::base::TopicPartition;
use marea::log::{BatchBuilder, Commit, Reader, TopicSpec};
use marea::runtime::Settings;

use crate::broker::Broker;
use crate::cases::OwnCase;
use crate::crash::{application, check, prepared, settings};
use crate::patience::{self, LONG, update};

pub const CASES: &[(&str, OwnCase)] = &[
    (
        "a_slow_network_changes_nothing",
        a_slow_network_changes_nothing,
    ),
    (
        "connections_that_are_cut_change_nothing",
        connections_that_are_cut_change_nothing,
    ),
    (
        "a_network_that_lets_nothing_through_is_waited_out",
        a_network_that_lets_nothing_through_is_waited_out,
    ),
    (
        "an_update_fetches_nothing_again",
        an_update_fetches_nothing_again,
    ),
];

const SOON: Duration = Duration::from_secs(20);
const DEADLINE: Duration = LONG;

/// Runs the pipeline while something happens to the network, and checks everything that came out.
fn disturbed(happens: impl Fn(&Broker)) {
    let broker = Broker::proxied(1).expect("a broker");
    let log = prepared(&broker);
    let directory = tempfile::tempdir().expect("a directory");
    let settings = Settings {
        // Slow enough to be disturbed.
        records_per_step: 1,
        ..settings()
    };
    let builder = application(directory.path(), Arc::clone(&log)).settings(settings);
    let mut running = builder.start().expect("started");
    while running.snapshot().records < 500 {
        std::thread::sleep(Duration::from_millis(5));
    }
    happens(&broker);
    println!(
        "    it was over after {} records",
        running.snapshot().records
    );
    let until = Instant::now() + DEADLINE;
    // A drain that took too long continues with the next call.
    while let Err(error) = running.drain(SOON) {
        assert!(Instant::now() < until, "drained: {error}");
    }
    running.close(DEADLINE).expect("closed");
    drop(running);
    check(directory.path(), log);
}

fn a_slow_network_changes_nothing() {
    disturbed(|broker| {
        broker.proxies[0].delay(Duration::from_millis(300));
        std::thread::sleep(Duration::from_secs(8));
        broker.proxies[0].delay(Duration::ZERO);
    });
}

fn connections_that_are_cut_change_nothing() {
    disturbed(|broker| {
        for pause_ms in [300, 50, 700, 20, 500, 1_000, 100].repeat(3) {
            broker.proxies[0].cut();
            std::thread::sleep(Duration::from_millis(pause_ms));
        }
    });
}

/// For less time than a session and an open transaction may last, and for longer than both.
fn a_network_that_lets_nothing_through_is_waited_out() {
    disturbed(|broker| {
        for pause in [4, 14] {
            broker.proxies[0].close(true);
            std::thread::sleep(Duration::from_secs(pause));
            broker.proxies[0].close(false);
            std::thread::sleep(Duration::from_secs(3));
        }
    });
}

/// What the client has fetched ahead from a partition that stays comes over the network once, however often other
/// partitions come and go.
fn an_update_fetches_nothing_again() {
    const BYTES: usize = 4 << 20;
    let broker = Broker::proxied(1).expect("a broker");
    let log = broker.log();
    log.create_topics(&[TopicSpec::new("t", 2)])
        .expect("created");
    let (p, q) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
    let mut builder = BatchBuilder::default();
    // Does not compress.
    let mut random = 1_u64;
    let mut value = Vec::with_capacity(1_000);
    for _ in 0..BYTES / 1_000 {
        value.clear();
        value.resize_with(1_000, || {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) as u8
        });
        builder.push(None, Some(&value), 1, &[]);
    }
    let commit = Commit {
        appends: vec![(p.clone(), builder.seal().expect("records"))],
        group: None,
    };
    let mut writer = log.writer("w", 1 << 20).expect("a writer");
    patience::commit(&mut *writer, commit);
    let mut reader = log.reader(1 << 20).expect("a reader");
    update(&mut *reader, &[(p.clone(), 0)]);
    let take = |reader: &mut dyn Reader| {
        let until = Instant::now() + DEADLINE;
        loop {
            let fetched = reader.poll(1, Duration::from_secs(1)).expect("readable");
            let records: u32 = fetched.iter().map(|one| one.batch.record_count()).sum();
            if records > 0 {
                return records;
            }
            assert!(Instant::now() < until, "records");
        }
    };
    let mut records = take(&mut *reader);
    // Until it has fetched as much ahead as it may; then there are only answers without records.
    let until = Instant::now() + DEADLINE;
    let mut quiet = 0;
    while quiet < 2 {
        let before = broker.proxies[0].answered();
        std::thread::sleep(Duration::from_secs(1));
        let is_quiet = broker.proxies[0].answered() - before < 64 << 10;
        quiet = if is_quiet { quiet + 1 } else { 0 };
        assert!(Instant::now() < until, "it fetches for ever");
    }
    let before = broker.proxies[0].answered();
    for round in 0..20 {
        let mut wanted = vec![(p.clone(), reader.position(&p).expect("assigned"))];
        if round % 2 == 0 {
            wanted.push((q.clone(), 0));
        }
        update(&mut *reader, &wanted);
        records += take(&mut *reader);
    }
    std::thread::sleep(Duration::from_secs(1));
    let again = broker.proxies[0].answered() - before;
    println!("    {again} bytes of {BYTES} while {records} records were read");
    assert!(again < BYTES as u64 / 2, "{again} bytes came again");
    while records < (BYTES / 1_000) as u32 {
        records += take(&mut *reader);
    }
    assert_eq!(
        records,
        (BYTES / 1_000) as u32,
        "none is lost, none comes twice"
    );
}
