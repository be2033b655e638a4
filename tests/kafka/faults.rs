//! Brokers that die and come back, and members that the brokers refuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use marea::ErrorKind;
use marea::base::{TaskId, TopicPartition};
use marea::log::{
    BatchBuilder, Commit, CommitError, CommittedOffset, GroupCommit, Isolation, JoinRequest, Log,
    MemberToken, Membership, TaskPlan, TopicSpec,
};
use marea::runtime::Settings;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::broker::{Broker, tried};
use crate::cases::{Case, OwnCase};
use crate::crash::{application, check, prepared, settings};
use crate::patience::{LONG, assign, outcome};
use crate::staging::log_with_timeout;
use crate::tasks::{POLL_MS, SESSION_MS};

pub const CASES: &[(&str, Case)] = &[
    ("the_brokers_refuse_a_zombie", the_brokers_refuse_a_zombie),
    (
        "a_broker_that_stalls_leaves_no_doubt",
        a_broker_that_stalls_leaves_no_doubt,
    ),
    (
        "a_transaction_that_stays_open_is_named",
        a_transaction_that_stays_open_is_named,
    ),
];

pub const OWN_CASES: &[(&str, OwnCase)] = &[
    (
        "a_broker_is_away_for_a_moment",
        a_broker_is_away_for_a_moment,
    ),
    (
        "a_broker_is_away_for_longer_than_a_transaction_may_be_open",
        a_broker_is_away_for_longer_than_a_transaction_may_be_open,
    ),
];

const SOON: Duration = Duration::from_secs(20);
const DEADLINE: Duration = LONG;

fn join(log: &dyn Log, member: &str) -> Box<dyn Membership> {
    let request = JoinRequest {
        group: "g".into(),
        member: member.into(),
        tasks: vec![TaskPlan {
            task: TaskId::new("sub", 0),
            inputs: vec![TopicPartition::new("t", 0)],
        }],
        session_timeout_ms: SESSION_MS,
        max_poll_interval_ms: POLL_MS,
    };
    let mut member = log.join(request).expect("joined");
    let until = Instant::now() + DEADLINE;
    while member
        .poll()
        .expect("a member")
        .is_none_or(|given| given.tasks.is_empty())
    {
        assert!(Instant::now() < until, "it gets the task");
        std::thread::sleep(Duration::from_millis(10));
    }
    member
}

fn commit_as(log: &dyn Log, writer: &str, token: MemberToken) -> Result<(), CommitError> {
    let mut builder = BatchBuilder::default();
    builder.push(None, Some(b"x"), 1, &[]);
    let committed = CommittedOffset {
        offset: 1,
        metadata: String::new(),
    };
    let mut writer = log.writer(writer, 1 << 20).expect("a writer");
    let commit = Commit {
        appends: vec![(
            TopicPartition::new("t", 0),
            builder.seal().expect("a record"),
        )],
        group: Some(GroupCommit {
            group: "g".into(),
            token: Some(token),
            offsets: vec![(TopicPartition::new("t", 0), committed)],
        }),
    };
    outcome(&mut *writer, commit).map(|_| ())
}

/// Two logs know nothing of each other, like two processes: the group's coordinator distinguishes them.
fn the_brokers_refuse_a_zombie(broker: &Broker) {
    let (one, other) = (broker.fresh_log(), broker.log());
    one.create_topics(&[TopicSpec::new("t", 1)])
        .expect("created");
    let before = join(&*one, "a");
    commit_as(&*one, "w1", before.token()).expect("its own");
    let after = join(&*other, "a");
    let refused = commit_as(&*one, "w1", before.token()).expect_err("replaced");
    let CommitError::Fenced(error) = refused else {
        panic!("fenced, not {refused}");
    };
    assert_eq!(error.kind(), ErrorKind::Fenced);
    commit_as(&*other, "w2", after.token()).expect("its own");
    before.leave();
    commit_as(&*other, "w2", after.token()).expect("a zombie that leaves takes nobody along");
    after.leave();
}

/// Numbers are committed one after another while the broker stalls: each is there once, whatever the answers were.
fn a_broker_that_stalls_leaves_no_doubt(broker: &Broker) {
    const BETWEEN: u32 = 5;
    let log = broker.fresh_log();
    log.create_topics(&[TopicSpec::new("t", 1)])
        .expect("created");
    let place = TopicPartition::new("t", 0);
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU32::new(0));
    let (writing, ended, at) = (Arc::clone(&log), Arc::clone(&stop), place.clone());
    let counted = Arc::clone(&done);
    let thread = std::thread::spawn(move || {
        let mut writer = writing.writer("w", 1 << 20).expect("a writer");
        let (mut number, mut aborted, mut unknown) = (0_u32, 0, 0);
        while !ended.load(Ordering::SeqCst) {
            let mut builder = BatchBuilder::default();
            builder.push(None, Some(&number.to_be_bytes()), 1, &[]);
            let commit = Commit {
                appends: vec![(at.clone(), builder.seal().expect("a record"))],
                group: None,
            };
            let mut answer = writer.submit(commit).map(|()| None);
            loop {
                answer = match answer {
                    Ok(Some(_)) => {
                        number += 1;
                        counted.store(number, Ordering::SeqCst);
                        break;
                    }
                    Ok(None) => writer.poll(Duration::from_secs(1)),
                    Err(CommitError::Unknown(_)) => {
                        unknown += 1;
                        writer.poll(Duration::from_secs(1))
                    }
                    Err(CommitError::Aborted(_)) => {
                        aborted += 1;
                        break;
                    }
                    Err(error) => panic!("{error}"),
                };
            }
        }
        (number, aborted, unknown)
    });
    // It has recovered before it stalls again, and in the end.
    let wait_for_more = || {
        let before = done.load(Ordering::SeqCst);
        let until = Instant::now() + DEADLINE;
        while done.load(Ordering::SeqCst) < before + BETWEEN {
            assert!(Instant::now() < until, "no commit after {before}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    for _ in 0..5 {
        wait_for_more();
        broker.stall(Duration::from_millis(3_500));
    }
    wait_for_more();
    stop.store(true, Ordering::SeqCst);
    let (count, aborted, unknown) = thread.join().expect("no panic");
    println!("    {count} commits, {aborted} aborted, {unknown} unknown for a while");
    let end = log
        .end_offset(&place, Isolation::ReadUncommitted)
        .expect("an end");
    let mut reader = log.reader(1 << 20).expect("a reader");
    assign(&mut *reader, &[(place.clone(), 0)]);
    let mut numbers = Vec::new();
    while reader.position(&place).expect("assigned") < end {
        for fetched in reader
            .poll(1 << 20, Duration::from_secs(1))
            .expect("records")
        {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record().expect("intact") {
                let value = record
                    .value
                    .expect("a value")
                    .try_into()
                    .expect("four bytes");
                numbers.push(u32::from_be_bytes(value));
            }
        }
    }
    assert!(
        numbers == (0..count).collect::<Vec<_>>(),
        "{count}: {numbers:?}"
    );
}

fn a_broker_is_away_for_a_moment() {
    broker_is_away(2, 60_000);
}

fn a_broker_is_away_for_longer_than_a_transaction_may_be_open() {
    broker_is_away(14, 10_000);
}

fn broker_is_away(seconds: u64, transaction_ms: u64) {
    tried(|| {
        let broker = Broker::own("").expect("a broker");
        broker.outcome(|| the_broker_is_away(&broker, seconds, transaction_ms))
    });
}

fn the_broker_is_away(broker: &Broker, seconds: u64, transaction_ms: u64) {
    prepared(broker);
    let log = log_with_timeout(broker, transaction_ms);
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
    broker.tell("kill", 1);
    let records = running.snapshot().records;
    println!("    killed after {records} records");
    std::thread::sleep(Duration::from_secs(seconds));
    broker.tell("restart", 1);
    let until = Instant::now() + DEADLINE;
    // A drain that took too long continues with the next call.
    while let Err(error) = running.drain(SOON) {
        let in_vain = broker.has_forgotten_a_transaction() || Instant::now() > until;
        assert!(!in_vain, "drained: {error}");
    }
    running.close(DEADLINE).expect("closed");
    drop(running);
    check(directory.path(), log);
}

/// A transaction that nobody ends holds up whoever asks for the group's offsets, and is named.
fn a_transaction_that_stays_open_is_named(broker: &Broker) {
    let log = broker.fresh_log();
    log.create_topics(&[TopicSpec::new("t", 1)])
        .expect("created");
    let mut config = ClientConfig::new();
    let address = broker.url.trim_start_matches("kafka://");
    config.set("bootstrap.servers", address);
    config.set("group.id", "g");
    let member: BaseConsumer = config.create().expect("a client");
    let metadata = member.group_metadata().expect("it has a group");
    config.set("transactional.id", "forgetful");
    config.set("transaction.timeout.ms", "90000");
    let producer: BaseProducer = config.create().expect("a client");
    producer.init_transactions(SOON).expect("opened");
    producer.begin_transaction().expect("begun");
    let mut offsets = TopicPartitionList::new();
    let offset = offsets.add_partition_offset("t", 0, Offset::Offset(1));
    offset.expect("an offset");
    let sent = producer.send_offsets_to_transaction(&offsets, &metadata, SOON);
    sent.expect("sent");
    let place = TopicPartition::new("t", 0);
    let error = log.committed("g", &[place]).expect_err("it is not known");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    for word in ["group g", "t-0", "kafka-transactions.sh"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    producer.abort_transaction(SOON).expect("aborted");
}
