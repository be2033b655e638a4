//! Idempotency keys: the answers of the last day.
//!
//! A key and its answer are a record of the topic [`REQUESTS`], in the commit that appends the readings:
//! both are in the log, or neither is. The data in memory is an index of that topic, read again at each
//! start. See ADR 0031.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use marea::base::{Error, ErrorKind, Offset, Result, TopicPartition};
use marea::log::{Log, TopicSpec};
use serde::{Deserialize, Serialize};

use super::post::Report;
use crate::results::{Follower, WAIT};

/// Answers by idempotency key, in one partition, in the order of their commits.
pub const REQUESTS: &str = "ocean-requests";
/// How long a key is remembered, in milliseconds.
pub const REMEMBERED_MS: i64 = 86_400_000;
/// How long its record is kept, in milliseconds: longer, because retention uses another clock.
const RETENTION_MS: i64 = REMEMBERED_MS + 3_600_000;
/// Answers that are kept complete until they have been read back from the log.
const RECENT: usize = 10_000;

/// The topic of answers.
pub fn topic() -> TopicSpec {
    let mut spec = TopicSpec::new(REQUESTS, 1);
    spec.retention_ms = Some(RETENTION_MS);
    spec
}

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The key, as the client sent it.
    pub key: String,
    /// When it was answered, in milliseconds since 1970.
    pub at_ms: i64,
    /// A mark of the body, see [`mark`].
    pub body: u64,
    /// The answer.
    pub report: Report,
}

/// Distinguishes bodies by their length and their CRC-32C: against mistakes, not against attacks.
pub fn mark(body: &[u8], strict: bool) -> u64 {
    let length = ((body.len() as u64) << 1) | u64::from(strict);
    (length << 32) | u64::from(crc32c::crc32c(body))
}

/// What is known about a key.
#[derive(Debug)]
pub enum Found<'a> {
    /// The answer.
    Answer(&'a Request),
    /// The mark of its body, and where the answer is on [`REQUESTS`].
    At(u64, Offset),
}

struct Entry {
    body: u64,
    offset: Offset,
    at_ms: i64,
}

/// The keys of the last day.
///
/// ```text
///  committed --> recent, whole --> read back from the log --> index: hash, mark, offset
/// ```
pub struct Known {
    index: Index,
    /// Answered, but not read back yet.
    recent: HashMap<String, Request>,
    follower: Follower,
}

impl Known {
    /// Reads the topic up to its end. The writer must have been opened before: this settles what an
    /// earlier one left open.
    ///
    /// # Errors
    /// As [`Follower::read_to_end`].
    pub fn load(log: &dyn Log, most: usize, now_ms: i64) -> Result<Self> {
        let start = log.start_offset(&TopicPartition::new(REQUESTS, 0))?;
        let mut known = Self {
            index: Index::new(most),
            recent: HashMap::new(),
            follower: Follower::new(log, REQUESTS, start)?,
        };
        let index = &mut known.index;
        (known.follower).read_to_end_with(log, |offset, request: Request| {
            index.forget(now_ms);
            if request.at_ms + REMEMBERED_MS > now_ms {
                index.add(&request, offset);
            }
        })?;
        if index.entries.len() > most {
            // Their keys were promised to be remembered.
            tracing::warn!(
                most,
                "there are more idempotency keys than `keys` allows; raise it"
            );
        }
        Ok(known)
    }

    /// Drops keys older than a day, and adds what the log now returns to the index.
    ///
    /// # Errors
    /// As [`Follower::poll`].
    pub fn catch_up(&mut self, now_ms: i64) -> Result<()> {
        self.index.forget(now_ms);
        if self.recent.is_empty() {
            return Ok(());
        }
        let wait = match self.recent.len() {
            0..RECENT => Duration::ZERO,
            _ => WAIT,
        };
        let (index, recent) = (&mut self.index, &mut self.recent);
        self.follower.poll_with(wait, |offset, request: Request| {
            recent.remove(&request.key);
            index.add(&request, offset);
        })
    }

    /// Whether this many more can be remembered.
    pub fn has_room(&self, more: usize) -> bool {
        self.index.entries.len() + self.recent.len() + more < self.index.most
    }

    /// How long until there is room again, in seconds.
    pub fn room_in_seconds(&self, now_ms: i64) -> u64 {
        self.index.room_in_seconds(now_ms)
    }

    /// What is known about a key.
    pub fn find(&self, key: &str) -> Option<Found<'_>> {
        let logged = || {
            self.index
                .find(key)
                .map(|entry| Found::At(entry.body, entry.offset))
        };
        self.recent.get(key).map(Found::Answer).or_else(logged)
    }

    /// Remembers a committed answer.
    pub fn add(&mut self, request: Request) {
        self.recent.insert(request.key.clone(), request);
    }
}

/// The data in memory for a key that was read from the log.
struct Index {
    /// Keys are hashed with secret numbers, so that nobody can construct two with the same hash.
    seeds: (RandomState, RandomState),
    entries: HashMap<u128, Entry>,
    /// From the oldest.
    order: VecDeque<(i64, u128)>,
    most: usize,
}

impl Index {
    fn new(most: usize) -> Self {
        Self {
            seeds: (RandomState::new(), RandomState::new()),
            entries: HashMap::new(),
            order: VecDeque::new(),
            most,
        }
    }

    fn room_in_seconds(&self, now_ms: i64) -> u64 {
        let oldest_ms = self.order.front().map_or(now_ms, |(at_ms, _)| *at_ms);
        let left_ms = (oldest_ms + REMEMBERED_MS - now_ms).max(1_000);
        left_ms.unsigned_abs().div_ceil(1_000)
    }

    fn find(&self, key: &str) -> Option<&Entry> {
        self.entries.get(&self.hash(key))
    }

    fn add(&mut self, request: &Request, offset: Offset) {
        let hash = self.hash(&request.key);
        let entry = Entry {
            body: request.body,
            offset,
            at_ms: request.at_ms,
        };
        self.entries.insert(hash, entry);
        self.order.push_back((request.at_ms, hash));
    }

    fn forget(&mut self, now_ms: i64) {
        while let Some((at_ms, hash)) = self.order.front().copied() {
            if at_ms + REMEMBERED_MS > now_ms {
                break;
            }
            self.order.pop_front();
            // A key that was used again after its day has a newer entry.
            if self
                .entries
                .get(&hash)
                .is_some_and(|entry| entry.at_ms == at_ms)
            {
                self.entries.remove(&hash);
            }
        }
    }

    fn hash(&self, key: &str) -> u128 {
        let (high, low) = &self.seeds;
        (u128::from(high.hash_one(key)) << 64) | u128::from(low.hash_one(key))
    }
}

/// The answer, from the log.
///
/// # Errors
/// As [`Follower::poll`]; `Unavailable` if the log does not return it now.
pub fn answer(log: &dyn Log, offset: Offset) -> Result<Request> {
    let mut follower = Follower::new(log, REQUESTS, offset)?;
    let mut found = None;
    follower.poll_with(WAIT, |at, request: Request| {
        if at == offset {
            found = Some(request);
        }
    })?;
    found.ok_or_else(|| {
        let message = format!("{REQUESTS}: no record at offset {offset}; try again");
        Error::new(ErrorKind::Unavailable, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &str, at_ms: i64) -> Request {
        Request {
            key: key.to_owned(),
            at_ms,
            body: mark(key.as_bytes(), false),
            report: Report::default(),
        }
    }

    #[test]
    fn a_key_is_known_for_a_day_and_then_may_be_used_again() {
        let mut known = Index::new(2);
        known.add(&request("a", 1_000), 0);
        known.add(&request("b", 2_000), 1);
        assert_eq!(known.room_in_seconds(1_000), 86_400);
        known.forget(1_000 + REMEMBERED_MS - 1);
        assert_eq!(known.find("a").map(|entry| entry.offset), Some(0));
        known.forget(1_000 + REMEMBERED_MS);
        assert!(known.find("a").is_none());
        known.add(&request("a", 1_000 + REMEMBERED_MS), 2);
        known.forget(2_000 + REMEMBERED_MS);
        assert_eq!(known.find("a").map(|entry| entry.offset), Some(2));
        assert!(known.find("b").is_none());
    }

    #[test]
    fn bodies_are_told_apart() {
        assert_ne!(mark(b"a", false), mark(b"b", false));
        assert_ne!(mark(b"a", false), mark(b"a", true));
        assert_eq!(mark(b"a", true), mark(b"a", true));
    }
}
