//! Reads results from their topics, and writes them to files in an order that does not depend on the run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use marea::base::{Error, ErrorKind, Offset, Result, TopicPartition};
use marea::log::{Isolation, Log, Reader};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{Alert, AlertKind, Average};

/// How long a reader waits for existing records.
pub(crate) const WAIT: Duration = Duration::from_secs(10);
const FETCH_BYTES: usize = 1 << 20;

/// A final result: there is one for each key.
pub trait Final: Serialize + DeserializeOwned {
    /// The key that orders and identifies results.
    type Key: Ord;

    /// The key: window first, then ocean.
    fn key(&self) -> Self::Key;
}

impl Final for Average {
    type Key = (i64, String);

    fn key(&self) -> Self::Key {
        (self.window_start_ms, self.ocean.clone())
    }
}

impl Final for Alert {
    type Key = (i64, String, AlertKind, Option<String>);

    fn key(&self) -> Self::Key {
        let ocean = self.ocean.clone();
        (
            self.window_start_ms,
            ocean,
            self.alert,
            self.quantity.clone(),
        )
    }
}

/// Follows a topic of one partition from an offset on.
pub struct Follower {
    reader: Box<dyn Reader>,
    place: TopicPartition,
}

impl Follower {
    /// Follows `topic` from `offset` on.
    ///
    /// # Errors
    /// As [`Log::reader`] and [`Reader::assign`].
    pub fn new(log: &dyn Log, topic: &str, offset: i64) -> Result<Self> {
        let place = TopicPartition::new(topic, 0);
        let mut reader = log.reader(1 << 20)?;
        reader.assign(&[(place.clone(), offset)])?;
        Ok(Self { reader, place })
    }

    /// Passes the records that exist by now to `each`, waiting up to `wait` for the first.
    ///
    /// # Errors
    /// `Corrupt` if a record is not something the pipeline writes.
    pub fn poll<T: DeserializeOwned>(
        &mut self,
        wait: Duration,
        mut each: impl FnMut(T),
    ) -> Result<()> {
        self.poll_with(wait, |_, value| each(value))
    }

    /// The same, with the offset of each.
    ///
    /// # Errors
    /// As [`Follower::poll`].
    pub fn poll_with<T: DeserializeOwned>(
        &mut self,
        wait: Duration,
        mut each: impl FnMut(Offset, T),
    ) -> Result<()> {
        for fetched in self.reader.poll(FETCH_BYTES, wait)? {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record()? {
                if record.offset < fetched.position {
                    continue;
                }
                let value = record.value.unwrap_or_default();
                let value = serde_json::from_slice(value).map_err(|cause| {
                    let place = format!("{} at offset {}", self.place, record.offset);
                    Error::corrupt(format!(
                        "{place}: the record was not written by the pipeline"
                    ))
                    .with_source(cause)
                })?;
                each(record.offset, value);
            }
        }
        Ok(())
    }

    /// The next offset.
    pub fn position(&self) -> Option<Offset> {
        self.reader.position(&self.place)
    }

    /// Continues at another offset.
    ///
    /// # Errors
    /// As [`Reader::assign`].
    pub fn seek(&mut self, offset: Offset) -> Result<()> {
        self.reader.assign(&[(self.place.clone(), offset)])
    }

    /// Passes everything up to the topic's current end.
    ///
    /// # Errors
    /// As [`Follower::poll`]; `Unavailable` if it takes too long: call it again, and it continues where
    /// it was.
    pub fn read_to_end<T: DeserializeOwned>(
        &mut self,
        log: &dyn Log,
        mut each: impl FnMut(T),
    ) -> Result<()> {
        self.read_to_end_with(log, |_, value| each(value))
    }

    /// The same, with the offset of each.
    ///
    /// # Errors
    /// As [`Follower::read_to_end`].
    pub fn read_to_end_with<T: DeserializeOwned>(
        &mut self,
        log: &dyn Log,
        mut each: impl FnMut(Offset, T),
    ) -> Result<()> {
        let end = log.end_offset(&self.place, Isolation::ReadCommitted)?;
        let mut position = self.reader.position(&self.place);
        while position.is_some_and(|position| position < end) {
            self.poll_with(WAIT, &mut each)?;
            let now = self.reader.position(&self.place);
            if now == position {
                let message = format!("{}: no record before its end at {end}", self.place);
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            position = now;
        }
        Ok(())
    }
}

/// All results on a topic, in order. `repeats` says whether one may be repeated, as after a crash with at
/// least once; the last one counts.
///
/// # Errors
/// `Internal` if one is repeated that must not be; else as [`Follower::read_to_end`].
pub fn finals<T: Final>(log: &dyn Log, topic: &str, repeats: bool) -> Result<Vec<T>> {
    let mut found = BTreeMap::new();
    let mut repeated = 0u64;
    let mut follower = Follower::new(log, topic, 0)?;
    follower.read_to_end(log, |result: T| {
        repeated += u64::from(found.insert(result.key(), result).is_some());
    })?;
    if repeated > 0 && !repeats {
        let message = format!("{topic}: {repeated} final results were written more than once");
        return Err(Error::internal(message));
    }
    Ok(found.into_values().collect())
}

/// Writes results as JSON lines. A file is complete or, if this fails, unchanged.
///
/// # Errors
/// `Full` or `Unavailable` if the file cannot be written, naming it.
pub fn write_lines<T: Serialize>(path: &Path, results: &[T]) -> Result<()> {
    let fail = |cause: std::io::Error| {
        let kind = match cause.kind() {
            std::io::ErrorKind::StorageFull => ErrorKind::Full,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, format!("writing {}", path.display())).with_source(cause)
    };
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let write = || -> std::io::Result<()> {
        // A pipe or a device is written to; it must not be replaced.
        let direct = fs::metadata(path).is_ok_and(|found| !found.is_file());
        let target = if direct { path.as_os_str() } else { &aside };
        let mut file = BufWriter::new(File::create(target)?);
        for result in results {
            serde_json::to_writer(&mut file, result)?;
            file.write_all(b"\n")?;
        }
        let file = file.into_inner()?;
        if direct {
            return Ok(());
        }
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    write().map_err(fail)
}
