//! Brings a task's state to the end of its changelogs, from where its rows stand.
//!
//! Rows are kept where they are still good: reading begins at the stored position, or at the
//! beginning where there is none or where the log is shorter than it.

use std::time::Duration;

use super::hooks::{Hooks, Point};
use crate::base::{Offset, Result, TopicPartition};
use crate::log::{CommittedOffset, Fetched, Isolation, Log, Reader};
use crate::state::TaskState;

/// How much a restore fetches at a time, in bytes.
const FETCH_BYTES: usize = 4 << 20;
/// How long it waits for the log before it says that it lives.
const WAIT: Duration = Duration::from_millis(200);

/// Where each changelog of a task ended when its input offsets were committed, as the metadata of
/// the offsets says under at least once; `None` under exactly once, where the log's end is right.
pub(super) fn ends_from_metadata(
    committed: &[Option<CommittedOffset>],
    changelogs: usize,
) -> Option<Vec<Option<Offset>>> {
    committed.iter().flatten().find_map(|offset| {
        let ends = offset.metadata.strip_prefix(ENDS_PREFIX)?;
        let ends: Vec<Option<Offset>> = ends.split(',').map(|end| end.parse().ok()).collect();
        (ends.len() == changelogs).then_some(ends)
    })
}

/// Writes what [`ends_from_metadata`] reads.
pub(super) fn ends_to_metadata(ends: &[Option<Offset>]) -> String {
    let text = |end: &Option<Offset>| end.map_or_else(|| "-".to_owned(), |end| end.to_string());
    format!(
        "{ENDS_PREFIX}{}",
        ends.iter().map(text).collect::<Vec<_>>().join(",")
    )
}

const ENDS_PREFIX: &str = "changelog-ends=";

/// Restores every store of a task and returns the number of records read.
pub(super) fn restore(
    state: &mut TaskState,
    changelogs: &[Option<TopicPartition>],
    ends: Option<&[Option<Offset>]>,
    log: &dyn Log,
    hooks: &dyn Hooks,
    alive: &mut dyn FnMut() -> Result<()>,
) -> Result<u64> {
    let mut records = 0;
    for (store, partition) in changelogs.iter().enumerate() {
        let Some(partition) = partition else { continue };
        let log_end = log.end_offset(partition, Isolation::ReadUncommitted)?;
        // A changelog that no commit has written yet counts for nothing.
        let end = ends.map_or(log_end, |ends| ends[store].unwrap_or(0).min(log_end));
        let position = state.position(store).filter(|position| *position <= end);
        let from = match position {
            Some(position) => position,
            None => log.start_offset(partition)?,
        };
        if position.is_some() && from == end {
            continue;
        }
        state.begin_restore(store, position.is_none())?;
        let mut reader = log.reader()?;
        reader.assign(&[(partition.clone(), from)])?;
        let read = read_until(&mut *reader, partition, end, alive, &mut |fetched| {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record()? {
                if record.offset >= fetched.position && record.offset < end {
                    state.restore(store, &record)?;
                    records += 1;
                }
            }
            hooks.reached(Point::Restoring);
            Ok(())
        });
        read.map_err(|error| error.context(format!("restoring from {partition}")))?;
        state.end_restore(store, end)?;
    }
    Ok(records)
}

/// Reads a partition up to `end`.
pub(super) fn read_until(
    reader: &mut dyn Reader,
    partition: &TopicPartition,
    end: Offset,
    alive: &mut dyn FnMut() -> Result<()>,
    take: &mut dyn FnMut(&Fetched) -> Result<()>,
) -> Result<()> {
    while reader
        .position(partition)
        .is_some_and(|position| position < end)
    {
        let before = reader.position(partition);
        for fetched in reader.poll(FETCH_BYTES, WAIT)? {
            take(&fetched)?;
        }
        alive()?;
        // What compaction left may end before the end: a reader at the tail has seen all of it.
        if reader.position(partition) == before {
            tracing::debug!(%partition, end, "waiting for the log");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_survive_the_metadata() {
        let ends = [Some(7), None, Some(0)];
        let metadata = ends_to_metadata(&ends);
        let committed = [
            None,
            Some(CommittedOffset {
                offset: 1,
                metadata,
            }),
        ];
        assert_eq!(
            ends_from_metadata(&committed, 3).as_deref(),
            Some(&ends[..])
        );
        assert_eq!(ends_from_metadata(&committed, 2), None);
        assert_eq!(ends_from_metadata(&[None], 3), None);
    }
}
