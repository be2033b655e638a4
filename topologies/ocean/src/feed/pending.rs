//! Lines that are about to be committed: each goes to the partition of its sensor.

use marea::base::{TopicPartition, partition_for_key};
use marea::prelude::Producer;
use serde::Deserialize;

use super::Settings;
use crate::topology::{DEAD_LETTERS, READINGS};

/// How much of an overlong line is shown in a dead letter, in bytes.
const RAW_SHOWN: usize = 200;

/// The lines of a commit.
pub(crate) struct Pending<'a> {
    producer: &'a mut Producer<Vec<u8>, Vec<u8>>,
    pub(crate) lines: u64,
    pub(crate) oversized: u64,
    pub(crate) bytes: usize,
    /// The partition of the last line with a time.
    pub(crate) timed: Option<u32>,
}

impl<'a> Pending<'a> {
    /// The lines of a commit that follows one whose last line with a time went to that partition.
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
        let (sensor, timestamp_ms) = key_and_time(line, settings.latest_ms);
        let key = sensor.as_ref().map(String::as_bytes);
        if line.len() + key.map_or(0, <[u8]>::len) > limit {
            return self.oversized(line, line.len() as u64, limit);
        }
        let own = key.map_or(0, |key| partition_for_key(key, settings.partitions));
        // Lines without a time go to a partition that has some with one: a partition with nothing else
        // would hold back all others.
        let partition = match timestamp_ms {
            0 => self.timed.unwrap_or(own),
            _ => *self.timed.insert(own),
        };
        let place = TopicPartition::new(READINGS, partition);
        (self.producer).add_bytes(&place, key, Some(line), timestamp_ms, &[]);
        self.lines += 1;
        self.bytes += line.len();
    }

    pub(crate) fn oversized(&mut self, line: &[u8], bytes: u64, limit: usize) {
        let shown = String::from_utf8_lossy(&line[..line.len().min(RAW_SHOWN)]);
        let letter = serde_json::json!({
            "reason": format!("a line has {bytes} bytes, but {READINGS} accepts records of at most {limit}"),
            "raw": shown,
        });
        let letter = letter.to_string();
        let place = TopicPartition::new(DEAD_LETTERS, 0);
        (self.producer).add_bytes(&place, None, Some(letter.as_bytes()), 0, &[]);
        self.lines += 1;
        self.oversized += 1;
        self.bytes += letter.len();
    }
}

/// The record's key and timestamp, as far as the line can be parsed: the topology decides whether it is a
/// reading. A line without a usable time gets 0, which advances no clock.
fn key_and_time(line: &[u8], latest_ms: i64) -> (Option<String>, i64) {
    #[derive(Deserialize)]
    struct Reading {
        sensor: String,
        timestamp_ms: i64,
    }
    let in_range = |timestamp_ms: i64| match timestamp_ms {
        0.. if timestamp_ms <= latest_ms => timestamp_ms,
        _ => 0,
    };
    if let Ok(reading) = serde_json::from_slice::<Reading>(line) {
        return (Some(reading.sensor), in_range(reading.timestamp_ms));
    }
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) else {
        return (None, 0);
    };
    let sensor = value.get("sensor").and_then(|sensor| sensor.as_str());
    let timestamp_ms = value.get("timestamp_ms").and_then(|time| time.as_i64());
    (sensor.map(str::to_owned), timestamp_ms.map_or(0, in_range))
}
