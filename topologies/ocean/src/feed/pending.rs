//! Lines that are about to be committed: each goes to the partition of its sensor.

use marea::base::{Header, TopicPartition, partition_for_key};
use marea::prelude::Producer;
use serde_json::Value;

use super::Settings;
use crate::check::check;
use crate::topology::{DEAD_LETTERS, READINGS};

/// How much of an overlong line is shown in a dead letter, in bytes.
const RAW_SHOWN: usize = 200;

/// The lines of a commit.
pub(crate) struct Pending<'a> {
    producer: &'a mut Producer<Vec<u8>, Vec<u8>>,
    pub(crate) lines: u64,
    pub(crate) oversized: u64,
    pub(crate) bytes: usize,
    /// The partition of the last valid line.
    pub(crate) timed: Option<u32>,
}

impl<'a> Pending<'a> {
    /// The lines of a commit that follows one whose last valid line went to that partition.
    pub(crate) fn after(timed: Option<u32>, producer: &'a mut Producer<Vec<u8>, Vec<u8>>) -> Self {
        Self {
            producer,
            lines: 0,
            oversized: 0,
            bytes: 0,
            timed,
        }
    }

    pub(crate) fn line(&mut self, line: &[u8], limit: usize, settings: &Settings) {
        let Line {
            sensor,
            timestamp_ms,
            is_valid,
        } = Line::of(line, settings.latest_ms);
        let key = sensor.as_ref().map(String::as_bytes);
        if line.len() + key.map_or(0, <[u8]>::len) > limit {
            return self.oversized(line, line.len() as u64, limit);
        }
        let own = key.map_or(0, |key| partition_for_key(key, settings.partitions));
        // A line that will be rejected advances no clock. It goes to a partition that has valid ones: a partition
        // with nothing else would hold back all others.
        let partition = match is_valid {
            false => self.timed.unwrap_or(own),
            true => *self.timed.insert(own),
        };
        let place = TopicPartition::new(READINGS, partition);
        (self.producer).add_bytes(&place, key, Some(line), timestamp_ms, &[]);
        self.lines += 1;
        self.bytes += line.len();
    }

    pub(crate) fn oversized(&mut self, line: &[u8], bytes: u64, limit: usize) {
        let shown = &line[..line.len().min(RAW_SHOWN)];
        let reason =
            format!("a line has {bytes} bytes, but {READINGS} accepts records of at most {limit}");
        // As the engine's dead letters, but without a topic: this line was never a record, and cannot be sent again.
        let said = |name: &str, said: String| Header {
            key: format!("marea.error.{name}"),
            value: Some(said.into_bytes()),
        };
        let headers = [said("stage", "feed".to_owned()), said("message", reason)];
        let place = TopicPartition::new(DEAD_LETTERS, 0);
        (self.producer).add_bytes(&place, None, Some(shown), 0, &headers);
        self.lines += 1;
        self.oversized += 1;
        self.bytes += shown.len();
    }
}

/// The record of a line.
struct Line {
    sensor: Option<String>,
    /// 0, which advances no clock, if the line has no usable time.
    timestamp_ms: i64,
    is_valid: bool,
}

impl Line {
    /// Key and timestamp, also of an invalid reading as far as it can be parsed: the topology rejects it.
    fn of(line: &[u8], latest_ms: i64) -> Self {
        if let Ok(reading) = check(Some(line), latest_ms) {
            return Self {
                sensor: Some(reading.sensor),
                timestamp_ms: reading.timestamp_ms,
                is_valid: true,
            };
        }
        let value = serde_json::from_slice(line).unwrap_or(Value::Null);
        let timestamp_ms = value["timestamp_ms"].as_i64();
        Self {
            sensor: value["sensor"].as_str().map(str::to_owned),
            timestamp_ms: timestamp_ms
                .filter(|timestamp_ms| (0..=latest_ms).contains(timestamp_ms))
                .unwrap_or(0),
            is_valid: false,
        }
    }
}
