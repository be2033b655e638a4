//! Under at least once a crash can leave changelog records whose input was never committed. Before
//! the task works again they are answered: each of their keys gets the row that it had at the
//! committed end, so that reading the whole changelog gives the committed state once more.

use std::collections::HashMap;

use super::restore::read_until;
use crate::base::{Header, Offset, Result, TopicPartition};
use crate::log::{Batch, BatchBuilder, Log};

/// A row as it stands on a changelog: value and timestamp.
type Row = Option<(Option<Vec<u8>>, i64)>;

/// The records that answer everything from `end` on; `None` where there is nothing to answer.
pub(super) fn answer(
    log: &dyn Log,
    partition: &TopicPartition,
    end: Offset,
    log_end: Offset,
    alive: &mut dyn FnMut() -> Result<()>,
) -> Result<Option<Batch>> {
    if end >= log_end {
        return Ok(None);
    }
    let mut rows: HashMap<Vec<u8>, Row> = HashMap::new();
    let mut reader = log.reader()?;
    reader.assign(&[(partition.clone(), end)])?;
    read_until(&mut *reader, partition, log_end, alive, &mut |fetched| {
        let mut cursor = fetched.batch.cursor(fetched.base_offset);
        while let Some(record) = cursor.next_record()? {
            if let Some(key) = record.key.filter(|_| record.offset >= end) {
                rows.entry(key.to_vec()).or_default();
            }
        }
        Ok(())
    })?;
    if rows.is_empty() {
        return Ok(None);
    }
    reader.assign(&[(partition.clone(), log.start_offset(partition)?)])?;
    read_until(&mut *reader, partition, end, alive, &mut |fetched| {
        let mut cursor = fetched.batch.cursor(fetched.base_offset);
        while let Some(record) = cursor.next_record()? {
            if record.offset >= end {
                break;
            }
            if let Some(row) = record.key.and_then(|key| rows.get_mut(key)) {
                *row = Some((record.value.map(<[u8]>::to_vec), record.timestamp_ms));
            }
        }
        Ok(())
    })?;
    let mut answer = BatchBuilder::default();
    let mut keys: Vec<_> = rows.into_iter().collect();
    keys.sort();
    const NO_HEADERS: &[Header] = &[];
    for (key, row) in &keys {
        match row {
            Some((value, timestamp_ms)) => {
                answer.push(Some(key), value.as_deref(), *timestamp_ms, NO_HEADERS);
            }
            None => answer.push(Some(key), None, 0, NO_HEADERS),
        }
    }
    Ok(answer.seal())
}
