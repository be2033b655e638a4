//! Typed producers and consumers, on any log: acknowledged, in order, exactly once with a position.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use marea::ErrorKind;
use marea::base::TopicPartition;
use marea::client::Start;
use marea::prelude::*;

/// Long enough for anything; it measures nothing.
const DEADLINE: Duration = Duration::from_secs(60);
const WAIT: Duration = Duration::from_millis(200);

/// Every case, by name, for a log that has no topic.
pub const CASES: &[(&str, fn(Arc<dyn Log>))] = &[
    ("what_is_sent_is_read_back", what_is_sent_is_read_back),
    (
        "a_group_goes_on_where_it_committed",
        a_group_goes_on_where_it_committed,
    ),
    (
        "two_consumers_share_the_partitions",
        two_consumers_share_the_partitions,
    ),
    ("a_source_is_fed_exactly_once", a_source_is_fed_exactly_once),
    (
        "what_does_not_decode_can_be_passed_over",
        what_does_not_decode_can_be_passed_over,
    ),
];

/// Polls until there are this many, and fails instead of waiting forever.
fn poll<K: 'static, V: 'static>(
    consumer: &mut Consumer<K, V>,
    wanted: usize,
) -> Vec<ConsumerRecord<K, V>> {
    let started = Instant::now();
    let mut records = Vec::new();
    while records.len() < wanted {
        assert!(
            started.elapsed() < DEADLINE,
            "{} of {wanted}",
            records.len()
        );
        records.extend(consumer.poll(WAIT).expect("polled"));
    }
    records
}

fn what_is_sent_is_read_back(log: Arc<dyn Log>) {
    log.create_topics(&[TopicSpec::new("t", 3)])
        .expect("created");
    let names: Vec<_> = log.topics().expect("topics").into_iter().collect();
    assert!(
        names
            .iter()
            .any(|topic| topic.name == "t" && topic.partitions == 3)
    );

    let mut producer = log
        .producer::<String, Option<i64>>("t")
        .expect("a producer");
    let mut headers = Headers::default();
    headers.add("trace", Some(vec![7]));
    let first = Record {
        headers,
        ..Record::new("a".to_owned(), Some(1), 5)
    };
    let sent = producer.send_record(&first).expect("acknowledged");
    assert_eq!(sent.offset, 0);
    // With the same key, so in the same partition, after the first.
    let again = producer
        .send_record(&Record::new("a".to_owned(), None, 4))
        .expect("acknowledged");
    assert_eq!(again.partition, sent.partition);
    assert!(again.offset > sent.offset);
    let many = (0..500).map(|n| Record::new(format!("k{n}"), Some(n), n));
    assert_eq!(producer.send_all(many).expect("acknowledged"), 500);

    let records = log.records::<String, Option<i64>>("t").expect("read");
    assert_eq!(records.len(), 502);
    let of_a: Vec<_> = records.iter().filter(|record| record.key == "a").collect();
    assert_eq!((of_a[0].value, of_a[0].timestamp_ms), (Some(1), 5));
    assert_eq!(of_a[0].headers, first.headers);
    assert_eq!((of_a[1].value, of_a[1].timestamp_ms), (None, 4));
    let partitions: BTreeSet<_> = records.iter().map(|record| &record.partition).collect();
    assert_eq!(partitions.len(), 3);

    let mut keyless = log
        .producer::<Option<String>, i64>("t")
        .expect("a producer");
    let places: BTreeSet<_> = (0..3)
        .map(|n| keyless.send(None, n).expect("sent").partition)
        .collect();
    assert_eq!(places.len(), 3, "records without a key take turns");

    let error = log
        .producer::<String, i64>("none")
        .expect_err("no such topic");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("create_topics"), "{error}");
}

fn a_group_goes_on_where_it_committed(log: Arc<dyn Log>) {
    log.create_topics(&[TopicSpec::new("t", 1)])
        .expect("created");
    let mut producer = log.producer::<String, i64>("t").expect("a producer");
    let records = |range: std::ops::Range<i64>| range.map(|n| Record::new("k".to_owned(), n, n));
    producer.send_all(records(0..10)).expect("sent");
    let open = || {
        log.consumer::<String, i64>("readers", ["t"])
            .expect("a consumer")
    };
    let values = |records: Vec<ConsumerRecord<String, i64>>| -> Vec<i64> {
        records.into_iter().map(|record| record.value).collect()
    };

    let mut consumer = open();
    assert_eq!(values(poll(&mut consumer, 10)), (0..10).collect::<Vec<_>>());
    consumer.commit().expect("committed");
    producer.send_all(records(10..15)).expect("sent");
    assert_eq!(values(poll(&mut consumer, 5)), (10..15).collect::<Vec<_>>());
    // Without a commit: these five come again.
    consumer.close();
    let mut consumer = open();
    assert_eq!(values(poll(&mut consumer, 5)), (10..15).collect::<Vec<_>>());
    consumer.commit().expect("committed");
    consumer.close();

    let committed = log
        .committed("readers", &[TopicPartition::new("t", 0)])
        .expect("committed");
    let end = committed[0].as_ref().expect("progress").offset;
    let ends = log.end_offsets(
        &[TopicPartition::new("t", 0)],
        marea::log::Isolation::ReadCommitted,
    );
    assert!(end <= ends.expect("ends")[0] && end >= 15);

    let options = ConsumerOptions::default().start(Start::Latest);
    let mut late = Consumer::open(&log, "late", ["t"], String::codec(), i64::codec(), options)
        .expect("a consumer");
    let started = Instant::now();
    while late.assignment().is_empty() {
        assert!(started.elapsed() < DEADLINE);
        assert!(late.poll(WAIT).expect("polled").is_empty());
    }
    producer.send("k".to_owned(), 99).expect("sent");
    assert_eq!(values(poll(&mut late, 1)), [99]);
    late.close();
}

fn two_consumers_share_the_partitions(log: Arc<dyn Log>) {
    log.create_topics(&[TopicSpec::new("t", 4)])
        .expect("created");
    let open = || {
        log.consumer::<String, i64>("pair", ["t"])
            .expect("a consumer")
    };
    let (mut first, mut second) = (open(), open());
    let started = Instant::now();
    while first.assignment().len() != 2 || second.assignment().len() != 2 {
        assert!(
            started.elapsed() < DEADLINE,
            "{:?} {:?}",
            first.assignment(),
            second.assignment()
        );
        first.poll(WAIT / 4).expect("polled");
        second.poll(WAIT / 4).expect("polled");
    }
    let mut producer = log.producer::<String, i64>("t").expect("a producer");
    producer
        .send_all((0..100).map(|n| Record::new(format!("{n}"), n, n)))
        .expect("sent");
    let mut seen = Vec::new();
    while seen.len() < 100 {
        assert!(started.elapsed() < 2 * DEADLINE, "{} of 100", seen.len());
        for consumer in [&mut first, &mut second] {
            seen.extend(
                consumer
                    .poll(WAIT / 4)
                    .expect("polled")
                    .into_iter()
                    .map(|r| r.value),
            );
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    first.commit().expect("committed");
    second.commit().expect("committed");

    // A client that reads other topics is no member of this group.
    log.create_topics(&[TopicSpec::new("u", 1)])
        .expect("created");
    let error = log
        .consumer::<String, i64>("pair", ["u"])
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    first.close();
    second.close();
}

/// Sends the numbers below `until`, five per commit, from where the log says.
pub fn feed(log: &Arc<dyn Log>, until: i64) -> marea::Result<()> {
    let options = ProducerOptions::default().source("numbers");
    let mut producer = Producer::open(log, "t", String::codec(), i64::codec(), options)?;
    let mut next = producer.position()?.map_or(0, |position| position.offset);
    while next < until {
        for number in next..next + 5 {
            producer.add(&Record::new(format!("{number}"), number, number))?;
        }
        next += 5;
        producer.commit_at(next)?;
    }
    Ok(())
}

pub fn fed(log: &Arc<dyn Log>) -> Vec<i64> {
    let records = log.records::<String, i64>("t").expect("read");
    let mut values: Vec<_> = records.into_iter().map(|record| record.value).collect();
    values.sort_unstable();
    values
}

fn a_source_is_fed_exactly_once(log: Arc<dyn Log>) {
    log.create_topics(&[TopicSpec::new("t", 2)])
        .expect("created");
    feed(&log, 10).expect("fed");
    let options = ProducerOptions::default().source("numbers");
    let mut zombie =
        Producer::open(&log, "t", String::codec(), i64::codec(), options).expect("open");
    feed(&log, 20).expect("fed");
    zombie
        .add(&Record::new("10".to_owned(), 10, 10))
        .expect("added");
    let error = zombie.commit_at(15).expect_err("another has taken over");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert_eq!(fed(&log), (0..20).collect::<Vec<_>>());

    zombie
        .add(&Record::new("10".to_owned(), 10, 10))
        .expect("added");
    assert_eq!(
        zombie.commit().expect_err("no position").kind(),
        ErrorKind::Invalid
    );
    let mut plain = log.producer::<String, i64>("t").expect("a producer");
    assert_eq!(
        plain.commit_at(1).expect_err("no source").kind(),
        ErrorKind::Invalid
    );
    assert_eq!(
        plain.position().expect_err("no source").kind(),
        ErrorKind::Invalid
    );
}

fn what_does_not_decode_can_be_passed_over(log: Arc<dyn Log>) {
    log.create_topics(&[TopicSpec::new("t", 1)])
        .expect("created");
    let mut producer = log.producer::<String, Vec<u8>>("t").expect("a producer");
    let number = |n: i64| n.to_be_bytes().to_vec();
    for value in [number(1), vec![1, 2, 3], number(2)] {
        producer
            .add(&Record::new("k".to_owned(), value, 0))
            .expect("added");
    }
    producer.commit().expect("committed");
    let mut consumer = log
        .consumer::<String, i64>("readers", ["t"])
        .expect("a consumer");
    assert_eq!(poll(&mut consumer, 1)[0].value, 1);
    let place = TopicPartition::new("t", 0);
    for _ in 0..2 {
        let error = consumer.poll(WAIT).expect_err("three bytes are no i64");
        assert_eq!(error.kind(), ErrorKind::User);
        assert!(error.message().contains("t-0 at offset 1"), "{error}");
    }
    consumer.seek(&place, 2).expect("assigned");
    assert_eq!(poll(&mut consumer, 1)[0].value, 2);
    consumer.commit().expect("committed");
    consumer.close();
}
