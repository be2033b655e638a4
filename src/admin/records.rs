//! Reads a stretch of a partition at once, and writes a commit and waits for it.

use std::time::Duration;

use crate::base::{Env, Error, ErrorKind, Offset, Result, TopicPartition};
use crate::log::{Commit, CommitError, Log, RecordRef, Writer};

/// How much is fetched at a time, in bytes.
const FETCH_BYTES: usize = 1 << 20;
/// How often to wait for records, and how long each time: a page is not worth more.
const WAITS: u32 = 50;
const WAIT: Duration = Duration::from_millis(100);
/// How long to wait at a time for the answer to a commit.
const ANSWER_WAIT: Duration = Duration::from_millis(20);

/// Passes on the committed records from one offset up to another, exclusive, which is at most the end.
pub(super) fn each_record(
    log: &dyn Log,
    place: &TopicPartition,
    from: Offset,
    to: Offset,
    visit: &mut dyn FnMut(&RecordRef<'_>) -> Result<()>,
) -> Result<()> {
    if from >= to {
        return Ok(());
    }
    let mut reader = log.reader(FETCH_BYTES)?;
    reader.assign(&[(place.clone(), from)])?;
    for _ in 0..WAITS {
        if reader
            .position(place)
            .is_some_and(|position| position >= to)
        {
            return Ok(());
        }
        for fetched in reader.poll(FETCH_BYTES, WAIT)? {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record()? {
                if (from.max(fetched.position)..to).contains(&record.offset) {
                    visit(&record)?;
                }
            }
        }
    }
    if reader
        .position(place)
        .is_some_and(|position| position >= to)
    {
        return Ok(());
    }
    let message = format!("{place} could not be read to its end in time; try again");
    Err(Error::new(ErrorKind::Unavailable, message))
}

/// Submits a commit and waits until it is definite.
///
/// # Errors
/// `Unknown` if it is not within this time; those of the writer.
pub(super) fn deliver(
    writer: &mut dyn Writer,
    commit: Commit,
    env: &dyn Env,
    patience_ms: u64,
) -> Result<(), CommitError> {
    let until_ms = env.monotonic_ms() + patience_ms;
    let mut answer = writer.submit(commit).map(|()| None);
    loop {
        match answer {
            Ok(Some(_)) => return Ok(()),
            Ok(None) | Err(CommitError::Unknown(_)) if env.monotonic_ms() < until_ms => {}
            Ok(None) => {
                let message = "the log did not acknowledge a commit in time";
                let error = Error::new(ErrorKind::Unavailable, message);
                return Err(CommitError::Unknown(error));
            }
            Err(error) => return Err(error),
        }
        answer = writer.poll(ANSWER_WAIT);
    }
}
