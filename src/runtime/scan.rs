//! Reads compacted partitions: the last value of each key.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::base::{Error, ErrorKind, Offset, Result, TopicPartition};
use crate::log::{Isolation, Log, Reader};

/// How much is fetched at a time, in bytes.
const FETCH_BYTES: usize = 1 << 20;
/// How long and how often a blocking reader waits for records.
const WAIT: Duration = Duration::from_millis(100);
const WAITS: usize = 100;

/// Keys with their last values.
pub(super) type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// Partitions that are being read, each up to the end that it had at the beginning.
pub(super) struct Scan {
    reader: Box<dyn Reader>,
    left: VecDeque<(TopicPartition, Offset)>,
    is_assigned: bool,
    found: BTreeMap<TopicPartition, Contents>,
}

/// How far a scan has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    All,
    More,
    /// The log returned nothing.
    Waits,
}

impl Scan {
    /// Begins to read. Waits for commits in progress.
    pub(super) fn begin(log: &dyn Log, partitions: Vec<TopicPartition>) -> Result<Self> {
        let ends = log.end_offsets(&partitions, Isolation::ReadUncommitted)?;
        let found = partitions
            .iter()
            .map(|partition| (partition.clone(), Contents::new()));
        Ok(Self {
            reader: log.reader(FETCH_BYTES)?,
            found: found.collect(),
            left: partitions.into_iter().zip(ends).collect(),
            is_assigned: false,
        })
    }

    /// Reads some more.
    pub(super) fn step(&mut self, log: &dyn Log, wait: Duration) -> Result<Scanned> {
        let Some((partition, end)) = self.left.front() else {
            return Ok(Scanned::All);
        };
        if !self.is_assigned {
            let start = log.start_offset(partition)?;
            self.reader.assign(&[(partition.clone(), start)])?;
            self.is_assigned = true;
        }
        let position = |reader: &dyn Reader| reader.position(partition).unwrap_or(0);
        let before = position(&*self.reader);
        if before < *end {
            let contents = self.found.entry(partition.clone()).or_default();
            for fetched in self.reader.poll(FETCH_BYTES, wait)? {
                let mut cursor = fetched.batch.cursor(fetched.base_offset);
                while let Some(record) = cursor.next_record()? {
                    // This library never writes a null key.
                    let key = record.key.unwrap_or_default().to_vec();
                    match record.value {
                        Some(value) => contents.insert(key, value.to_vec()),
                        None => contents.remove(&key),
                    };
                }
            }
        }
        let now = position(&*self.reader);
        if now >= *end {
            self.left.pop_front();
            self.is_assigned = false;
        }
        Ok(match (self.left.is_empty(), now > before) {
            (true, _) => Scanned::All,
            (false, true) => Scanned::More,
            (false, false) if !self.is_assigned => Scanned::More,
            (false, false) => Scanned::Waits,
        })
    }

    /// What was found.
    pub(super) fn found(self) -> BTreeMap<TopicPartition, Contents> {
        self.found
    }

    /// Reads all of it now.
    ///
    /// # Errors
    /// `Unavailable` if the log returns nothing for a long time.
    pub(super) fn finish(mut self, log: &dyn Log) -> Result<BTreeMap<TopicPartition, Contents>> {
        let mut waits = 0;
        loop {
            match self.step(log, WAIT)? {
                Scanned::All => return Ok(self.found),
                Scanned::More => {}
                Scanned::Waits if waits < WAITS => waits += 1,
                Scanned::Waits => {
                    let partition = self
                        .left
                        .front()
                        .map(|(partition, _)| partition.to_string());
                    let message = format!(
                        "{}: nothing was read for a long time; restart once the log answers",
                        partition.unwrap_or_default()
                    );
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
            }
        }
    }
}
