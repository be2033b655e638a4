//! How much is in a topic that is no longer used: enough of it is read to tell that it is not empty.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use serde::Serialize;

use crate::base::{Error, ErrorKind, Offset, Result, TopicPartition};
use crate::log::{Isolation, Log, RecordRef};
use crate::task::is_clock_alone;

/// How much is fetched at a time, in bytes.
const FETCH_BYTES: usize = 1 << 20;
/// How long and how often to wait for records.
const WAIT: Duration = Duration::from_millis(100);
const WAITS: usize = 100;
/// How much of a topic is looked at.
const LIMITS: Limits = Limits {
    records: 100_000,
    bytes: 64 << 20,
    read_bytes: 1 << 30,
};

/// Where a walk over a topic ends early.
#[derive(Clone, Copy)]
struct Limits {
    /// Of what is counted: records, and bytes of them.
    records: u64,
    bytes: usize,
    /// Of all that is read. A task changelog has the rows of many operators, and few of them may count.
    read_bytes: usize,
}

/// A number of rows, timers or records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RowCount {
    /// How many were seen.
    pub number: u64,
    /// Whether there are more, which were not counted.
    pub is_at_least: bool,
}

impl RowCount {
    /// Whether there is nothing at all.
    pub(super) fn is_empty(self) -> bool {
        self.number == 0 && !self.is_at_least
    }
}

/// The keys of a changelog that have a value, of the keys that `counts` selects.
pub(super) fn live_rows(
    log: &dyn Log,
    topic: &str,
    partitions: u32,
    counts: impl Fn(&[u8]) -> bool,
) -> Result<RowCount> {
    live_rows_within(LIMITS, log, topic, partitions, counts)
}

fn live_rows_within(
    limits: Limits,
    log: &dyn Log,
    topic: &str,
    partitions: u32,
    counts: impl Fn(&[u8]) -> bool,
) -> Result<RowCount> {
    let places = places(topic, partitions);
    let mut from = Vec::new();
    for place in &places {
        from.push(log.start_offset(place)?);
    }
    let mut live: BTreeSet<u64> = BTreeSet::new();
    let is_whole = walk(limits, log, &places, &from, &mut |partition, record| {
        let key = record.key.unwrap_or_default();
        let is_counted = counts(key);
        if is_counted {
            let key = hash(partition, key);
            match record.value {
                Some(_) => live.insert(key),
                None => live.remove(&key),
            };
        }
        Ok(is_counted)
    })?;
    Ok(RowCount {
        number: live.len() as u64,
        is_at_least: !is_whole,
    })
}

/// The records of a repartition topic that the application has not read, except records that only carry time.
pub(super) fn unread(
    log: &dyn Log,
    application: &str,
    topic: &str,
    partitions: u32,
) -> Result<RowCount> {
    let places = places(topic, partitions);
    let committed = log.committed(application, &places)?;
    let mut from = Vec::new();
    for (place, committed) in places.iter().zip(committed) {
        let start = log.start_offset(place)?;
        from.push(committed.map_or(start, |committed| committed.offset.max(start)));
    }
    let mut number = 0;
    let is_whole = walk(LIMITS, log, &places, &from, &mut |_, record| {
        let is_counted = !is_clock_alone(record)?;
        number += u64::from(is_counted);
        Ok(is_counted)
    })?;
    Ok(RowCount {
        number,
        is_at_least: !is_whole,
    })
}

fn places(topic: &str, partitions: u32) -> Vec<TopicPartition> {
    let place = |partition| TopicPartition::new(topic, partition);
    (0..partitions).map(place).collect()
}

fn hash(partition: u32, key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (partition, key).hash(&mut hasher);
    hasher.finish()
}

/// Passes on the records of partitions, each from its offset, to a function that says whether it counts them; `false` if
/// there are more than it passes on. Waits for commits in progress.
///
/// # Errors
/// `Unavailable` if the log returns nothing for a long time.
fn walk(
    limits: Limits,
    log: &dyn Log,
    places: &[TopicPartition],
    from: &[Offset],
    show: &mut dyn FnMut(u32, &RecordRef<'_>) -> Result<bool>,
) -> Result<bool> {
    let ends = log.end_offsets(places, Isolation::ReadUncommitted)?;
    let mut reader = log.reader(FETCH_BYTES)?;
    let (mut records, mut bytes, mut read_bytes) = (0, 0, 0);
    for ((place, from), end) in places.iter().zip(from).zip(ends) {
        if *from >= end {
            continue;
        }
        reader.assign(&[(place.clone(), *from)])?;
        let mut waits = 0;
        while reader.position(place).unwrap_or(end) < end {
            let fetched = reader.poll(FETCH_BYTES, WAIT)?;
            waits = if fetched.is_empty() { waits + 1 } else { 0 };
            if waits > WAITS {
                let message = format!(
                    "{place}: nothing was read for a long time; restart once the log answers"
                );
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            for fetched in fetched {
                let mut cursor = fetched.batch.cursor(fetched.base_offset);
                while let Some(record) = cursor.next_record()? {
                    if record.offset < *from {
                        continue;
                    }
                    read_bytes += record.byte_len();
                    if show(place.partition, &record)? {
                        records += 1;
                        bytes += record.byte_len();
                    }
                    let is_too_much = records > limits.records || bytes > limits.bytes;
                    if is_too_much || read_bytes > limits.read_bytes {
                        return Ok(false);
                    }
                }
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ManualEnv;
    use crate::log::{BatchBuilder, Commit, CommittedOffset, GroupCommit, MemoryLog, TopicSpec};
    use crate::task::CLOCK_HEADER;

    type Row<'a> = (&'a str, Option<&'a str>);

    fn log() -> MemoryLog {
        let log = MemoryLog::new(ManualEnv::new(0, 1));
        log.create_topics(&[TopicSpec::new("t", 2)])
            .expect("created");
        log
    }

    fn submit(log: &MemoryLog, commit: Commit) {
        let mut writer = log.writer("w", 0).expect("a writer");
        writer.submit(commit).expect("submitted");
        assert!(writer.poll(WAIT).expect("committed").is_some());
    }

    fn append(log: &MemoryLog, partition: u32, rows: &[Row<'_>], clock: Option<u8>) {
        let mut batch = BatchBuilder::default();
        for (key, value) in rows {
            let (key, value) = (Some(key.as_bytes()), value.map(str::as_bytes));
            match clock {
                None => batch.push(key, value, 0, &[]),
                Some(kind) => {
                    let mark = [&[kind][..], &[0; 12]].concat();
                    batch.push_marked(key, value, 0, &[], (CLOCK_HEADER, &mark));
                }
            }
        }
        let place = TopicPartition::new("t", partition);
        submit(
            log,
            Commit {
                appends: vec![(place, batch.seal().expect("records"))],
                group: None,
            },
        );
    }

    fn exactly(number: u64) -> RowCount {
        RowCount {
            number,
            is_at_least: false,
        }
    }

    #[test]
    fn rows_are_keys_with_a_value_of_each_partition() {
        let log = log();
        let count =
            |counts: &dyn Fn(&[u8]) -> bool| live_rows(&log, "t", 2, counts).expect("counted");
        assert_eq!(count(&|_| true), exactly(0));
        assert!(count(&|_| true).is_empty());
        append(
            &log,
            0,
            &[("a", Some("1")), ("b", Some("1")), ("a", Some("2"))],
            None,
        );
        append(&log, 1, &[("a", Some("1")), ("b", None)], None);
        assert_eq!(count(&|_| true), exactly(3));
        assert_eq!(count(&|key| key == b"b"), exactly(1));
        append(&log, 0, &[("b", None)], None);
        append(&log, 0, &[("a", None)], None);
        assert_eq!(count(&|_| true), exactly(1), "deleted ones are none");
    }

    #[test]
    fn what_is_too_much_to_be_read_is_not_empty() {
        let log = log();
        let gone = ("a", None);
        let rows = vec![gone; LIMITS.records as usize + 1];
        append(&log, 0, &rows[1..], None);
        let count = |log: &MemoryLog| live_rows(log, "t", 2, |_| true).expect("counted");
        assert!(count(&log).is_empty(), "all of it was read");
        append(&log, 0, &[gone], None);
        assert!(!count(&log).is_empty());
        let of_others = live_rows(&log, "t", 2, |key| key == b"timer").expect("counted");
        assert!(of_others.is_empty(), "what others have is read over");
        let limits = Limits {
            read_bytes: 50,
            ..LIMITS
        };
        let of_others = live_rows_within(limits, &log, "t", 2, |key| key == b"timer");
        let of_others = of_others.expect("counted");
        assert!(!of_others.is_empty(), "not without end");
    }

    #[test]
    fn unread_are_records_behind_what_the_group_has_committed_and_no_clocks() {
        let log = log();
        let unread = || unread(&log, "app", "t", 2).expect("counted");
        append(
            &log,
            0,
            &[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))],
            None,
        );
        assert_eq!(unread(), exactly(3), "nobody has read");
        let offset = CommittedOffset {
            offset: 2,
            metadata: String::new(),
        };
        let group = GroupCommit {
            group: "app".to_owned(),
            token: None,
            offsets: vec![(TopicPartition::new("t", 0), offset)],
        };
        submit(
            &log,
            Commit {
                appends: Vec::new(),
                group: Some(group),
            },
        );
        assert_eq!(unread(), exactly(1), "in the middle of a batch");
        append(&log, 1, &[("", None)], Some(1));
        append(&log, 1, &[("", None)], Some(2));
        assert_eq!(unread(), exactly(1), "clocks alone are no records");
        append(&log, 1, &[("d", Some("1"))], Some(0));
        assert_eq!(unread(), exactly(2));
    }
}
