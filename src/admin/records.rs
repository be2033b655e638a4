//! Reads a stretch of a partition at once.

use std::time::Duration;

use crate::base::{Error, ErrorKind, Offset, Result, TopicPartition};
use crate::log::{Log, RecordRef};

/// How much is fetched at a time, in bytes.
const FETCH_BYTES: usize = 1 << 20;
/// How often to wait for records, and how long each time: a page is not worth more.
const WAITS: u32 = 50;
const WAIT: Duration = Duration::from_millis(100);

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
    let message = format!("{place} could not be read to its end in time; ask again");
    Err(Error::new(ErrorKind::Unavailable, message))
}
