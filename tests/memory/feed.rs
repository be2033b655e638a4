//! Input, written as a feeder would: little at a time.

use std::time::Duration;

use marea::base::TopicPartition;
use marea::log::{BatchBuilder, Commit, Isolation, Log};

/// A record: key, value, timestamp.
pub type Row = (String, Vec<u8>, i64);

/// Writes rows to a partition.
pub fn put(log: &dyn Log, topic: &str, partition: u32, rows: impl Iterator<Item = Row>) {
    let mut writer = log.writer("feeder", 1 << 20).expect("a writer");
    let mut builder = BatchBuilder::default();
    let mut send = |builder: &mut BatchBuilder| {
        let Some(batch) = builder.seal() else { return };
        let commit = Commit {
            appends: vec![(TopicPartition::new(topic, partition), batch)],
            group: None,
        };
        writer.submit(commit).expect("submitted");
        let answer = writer.poll(Duration::from_secs(60)).expect("written");
        assert!(answer.is_some(), "an answer within a minute");
    };
    for (key, value, timestamp_ms) in rows {
        builder.push(Some(key.as_bytes()), Some(&value), timestamp_ms, &[]);
        if builder.byte_len() >= 48 << 10 {
            send(&mut builder);
        }
    }
    send(&mut builder);
}

/// The number of records of a topic.
pub fn count(log: &dyn Log, topic: &str) -> i64 {
    let spec = log.topic(topic).expect("asked").expect("a topic");
    let places = (0..spec.partitions).map(|number| TopicPartition::new(topic, number));
    places
        .map(|place| {
            log.end_offset(&place, Isolation::ReadCommitted)
                .expect("an end")
        })
        .sum()
}

/// What a log in memory holds, in bytes.
pub fn size(log: &dyn Log) -> usize {
    // The batch's number, its place in a tree, and the allocator's rounding.
    const EACH: usize = 256;
    let mut bytes = 0;
    for topic in log.topic_names().expect("topics") {
        let spec = log.topic(&topic).expect("asked").expect("a topic");
        for number in 0..spec.partitions {
            let place = TopicPartition::new(topic.as_str(), number);
            let end = log.end_offset(&place, Isolation::ReadCommitted);
            let end = end.expect("an end");
            let mut reader = log.reader(1 << 20).expect("a reader");
            reader.assign(&[(place.clone(), 0)]).expect("assigned");
            while reader.position(&place).is_some_and(|at| at < end) {
                let fetched = reader.poll(1 << 20, Duration::from_secs(10));
                let fetched = fetched.expect("batches").into_iter();
                bytes += fetched
                    .map(|fetched| fetched.batch.as_bytes().len() + EACH)
                    .sum::<usize>();
            }
        }
    }
    bytes
}
