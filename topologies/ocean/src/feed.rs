//! Feeds lines into the readings topic, on a thread of its own, each exactly once.
//!
//! A batch of lines and the position after it are one commit of the log, in the group
//! [`GROUP`]: so a program that dies continues after the last line that the log has, and neither
//! loses nor repeats one. Where lines come from is a [`Source`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use marea::base::{Env, Error, ErrorKind, Result, Thread, TopicPartition, partition_for_key};
use marea::log::{
    Batch, BatchBuilder, Commit, CommitError, CommittedOffset, GroupCommit, Log, Writer,
};
use serde::Deserialize;

use crate::topology::{DEAD_LETTERS, READINGS};

/// The group whose committed offset on the readings' partition 0 is the number of lines fed; its
/// note says of what.
pub const GROUP: &str = "ocean-feeder";

/// Lines of a commit when there is no rate to keep.
const BATCH_LINES: usize = 1_000;
/// Bytes of a commit, about.
const BATCH_BYTES: usize = 512 << 10;
/// With a rate to keep: how often something is due, and how long a stop may go unheard.
const TICK: Duration = Duration::from_millis(20);
/// How long a commit's answer is waited for.
const ANSWER: Duration = Duration::from_secs(60);
/// How much of a line that is too long a dead letter shows, in bytes.
const RAW_SHOWN: usize = 200;

/// What a [`Source`] gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A line, without its end.
    Line,
    /// The beginning of a line that is longer than was asked for; the whole has so many bytes.
    Oversized(u64),
    /// There is no more.
    End,
}

/// Where lines come from.
pub trait Source: Send {
    /// Puts the next line into `line`, at most `limit` bytes of it.
    ///
    /// # Errors
    /// What keeps it from reading on. Lines given before stand.
    fn next(&mut self, line: &mut Vec<u8>, limit: usize) -> Result<Next>;

    /// The position after the last line given, as it is committed.
    fn position(&self) -> CommittedOffset;

    /// How much of the source has been given, from 0 to 1.
    fn done(&self) -> f64;
}

/// How a [`Feeder`] feeds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Partitions of the readings topic.
    pub partitions: u32,
    /// Lines a second; as fast as the log takes them if there is none.
    pub rate: Option<u64>,
    /// A later `timestamp_ms` does not become the record's timestamp.
    pub latest_ms: i64,
}

/// How far a feeder is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Lines committed by this feeder; those of earlier runs are not counted.
    pub lines: u64,
    /// Lines that went to the dead letters because the topic takes none of their length.
    pub oversized: u64,
    /// How much of the source is committed, from 0 to 1.
    pub done: f64,
    /// Whether it has ended: everything is fed, it was stopped, or it failed.
    pub ended: bool,
}

/// The position that the log has of this group.
///
/// # Errors
/// As [`Log::committed`].
pub fn committed(log: &dyn Log) -> Result<Option<CommittedOffset>> {
    let found = log.committed(GROUP, &[TopicPartition::new(READINGS, 0)])?;
    Ok(found.into_iter().next().flatten())
}

/// A thread that feeds. It is stopped and joined when dropped.
pub struct Feeder {
    shared: Arc<Shared>,
    /// Until it is joined.
    thread: Option<Thread>,
}

struct Shared {
    stop: AtomicBool,
    ended: AtomicBool,
    lines: AtomicU64,
    oversized: AtomicU64,
    /// The bits of [`Progress::done`].
    done: AtomicU64,
    /// What ended it, until [`Feeder::finish`] takes it.
    error: Mutex<Option<Error>>,
}

impl Feeder {
    /// Begins to feed. The topics must exist.
    ///
    /// # Errors
    /// As [`Log::writer`] and [`Env::spawn`].
    pub fn start(
        log: Arc<dyn Log>,
        env: Arc<dyn Env>,
        source: Box<dyn Source>,
        settings: Settings,
    ) -> Result<Self> {
        let writer = log.writer(GROUP)?;
        let limit = match log.topic(READINGS)? {
            Some(spec) => spec.max_record_bytes,
            None => return Err(Error::invalid(format!("there is no topic {READINGS}"))),
        };
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            lines: AtomicU64::new(0),
            oversized: AtomicU64::new(0),
            done: AtomicU64::new(source.done().to_bits()),
            error: Mutex::new(None),
        });
        let mut work = Work {
            shared: Arc::clone(&shared),
            env: Arc::clone(&env),
            source,
            writer,
            limit,
            settings,
            line: Vec::new(),
        };
        let body = move || {
            if let Err(error) = work.run() {
                *lock(&work.shared.error) = Some(error);
            }
            work.shared.ended.store(true, Ordering::Release);
        };
        let thread = env.spawn("ocean-feeder", Box::new(body))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        // First, so that what is read after it is final when it is true.
        let ended = self.shared.ended.load(Ordering::Acquire);
        Progress {
            lines: self.shared.lines.load(Ordering::Relaxed),
            oversized: self.shared.oversized.load(Ordering::Relaxed),
            done: f64::from_bits(self.shared.done.load(Ordering::Relaxed)),
            ended,
        }
    }

    /// Whether something ended it before its source did; [`Feeder::finish`] says what.
    pub fn has_failed(&self) -> bool {
        lock(&self.shared.error).is_some()
    }

    /// Asks it to end after the batch in hand. What it has not fed, the next run feeds.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// What ended it before its source did; what it read before that is fed.
    pub fn finish(mut self) -> Result<Progress> {
        if let Some(thread) = self.thread.take()
            && !thread.join()
        {
            let message = "the feeder panicked; its message is on standard error";
            return Err(Error::internal(message));
        }
        lock(&self.shared.error)
            .take()
            .map_or_else(|| Ok(self.progress()), Err)
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

/// What the thread owns.
struct Work {
    shared: Arc<Shared>,
    env: Arc<dyn Env>,
    source: Box<dyn Source>,
    writer: Box<dyn Writer>,
    /// Largest record that the readings topic takes, in bytes.
    limit: usize,
    settings: Settings,
    line: Vec<u8>,
}

impl Work {
    fn run(&mut self) -> Result<()> {
        let started_ns = self.env.monotonic_ns();
        let mut fed = 0u64;
        while !self.shared.stop.load(Ordering::Acquire) {
            let due = match self.settings.rate {
                None => BATCH_LINES,
                Some(rate) => {
                    let elapsed_ns = self.env.monotonic_ns() - started_ns;
                    let due = u128::from(elapsed_ns) * u128::from(rate) / 1_000_000_000;
                    (due as u64).saturating_sub(fed).min(BATCH_LINES as u64) as usize
                }
            };
            if due == 0 {
                self.env.sleep(TICK);
                continue;
            }
            let (lines, end) = self.feed(due)?;
            fed += lines;
            if end {
                break;
            }
            if self.settings.rate.is_some() && lines < BATCH_LINES as u64 {
                self.env.sleep(TICK);
            }
        }
        Ok(())
    }

    /// Feeds a commit of up to `due` lines; their number, and whether the source has ended.
    fn feed(&mut self, due: usize) -> Result<(u64, bool)> {
        let mut pending = Pending::default();
        let outcome = loop {
            if pending.lines as usize >= due || pending.bytes >= BATCH_BYTES {
                break Ok(false);
            }
            match self.source.next(&mut self.line, self.limit) {
                Ok(Next::Line) => pending.line(&self.line, self.limit, &self.settings),
                Ok(Next::Oversized(bytes)) => pending.oversized(&self.line, bytes, self.limit),
                Ok(Next::End) => break Ok(true),
                // What came before it is fed first.
                Err(error) => break Err(error),
            }
        };
        let (lines, oversized) = (pending.lines, pending.oversized);
        if lines > 0 {
            let position = self.source.position();
            self.commit(pending.into_commit(position))?;
            self.shared.lines.fetch_add(lines, Ordering::Relaxed);
            self.shared
                .oversized
                .fetch_add(oversized, Ordering::Relaxed);
        }
        self.shared
            .done
            .store(self.source.done().to_bits(), Ordering::Relaxed);
        outcome.map(|end| (lines, end))
    }

    fn commit(&mut self, commit: Commit) -> Result<()> {
        let until_ms = self.env.monotonic_ms() + ANSWER.as_millis() as u64;
        let mut answer = self
            .writer
            .submit(commit)
            .and_then(|()| self.writer.poll(TICK));
        loop {
            match answer {
                Ok(Some(_)) => return Ok(()),
                Ok(None) | Err(CommitError::Unknown(_)) if self.env.monotonic_ms() >= until_ms => {
                    let message = format!(
                        "appending to {READINGS}: no answer for {} s; start again, nothing is lost",
                        ANSWER.as_secs()
                    );
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
                Ok(None) => answer = self.writer.poll(TICK),
                Err(CommitError::Unknown(_)) => answer = self.writer.resolve(TICK),
                Err(error) => return Err(error.into_error()),
            }
        }
    }
}

/// The lines of a commit.
#[derive(Default)]
struct Pending {
    readings: BTreeMap<u32, BatchBuilder>,
    dead: BatchBuilder,
    lines: u64,
    oversized: u64,
    bytes: usize,
}

impl Pending {
    fn line(&mut self, line: &[u8], limit: usize, settings: &Settings) {
        let (sensor, timestamp_ms) = key_and_time(line, settings.latest_ms);
        let key = sensor.as_ref().map(String::as_bytes);
        if line.len() + key.map_or(0, <[u8]>::len) > limit {
            return self.oversized(line, line.len() as u64, limit);
        }
        let partition = key.map_or(0, |key| partition_for_key(key, settings.partitions));
        let builder = self.readings.entry(partition).or_default();
        builder.push(key, Some(line), timestamp_ms, &[]);
        self.lines += 1;
        self.bytes += line.len();
    }

    fn oversized(&mut self, line: &[u8], bytes: u64, limit: usize) {
        let shown = String::from_utf8_lossy(&line[..line.len().min(RAW_SHOWN)]);
        let letter = serde_json::json!({
            "reason": format!("a line of {bytes} bytes; {READINGS} takes records of {limit}"),
            "raw": shown,
        });
        let letter = letter.to_string();
        self.dead.push(None, Some(letter.as_bytes()), 0, &[]);
        self.lines += 1;
        self.oversized += 1;
        self.bytes += letter.len();
    }

    fn into_commit(mut self, position: CommittedOffset) -> Commit {
        let readings = self.readings.iter_mut().filter_map(|(partition, builder)| {
            Some((TopicPartition::new(READINGS, *partition), builder.seal()?))
        });
        let mut appends: Vec<(TopicPartition, Batch)> = readings.collect();
        let dead = self.dead.seal();
        appends.extend(dead.map(|batch| (TopicPartition::new(DEAD_LETTERS, 0), batch)));
        Commit {
            appends,
            group: Some(GroupCommit {
                group: GROUP.to_owned(),
                token: None,
                offsets: vec![(TopicPartition::new(READINGS, 0), position)],
            }),
        }
    }
}

/// The record's key and timestamp, as far as the line can be understood: whether it is a reading is
/// for the topology to say. A line without a usable time gets 0, which moves no clock.
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
