//! Brings a task's state to the end of its changelogs, from where its rows stand.
//!
//! Rows are kept where they are still good: reading begins at the stored position, or at the
//! beginning where there is none or where the log is shorter than it.

use std::time::Duration;

use super::hooks::{Hooks, Point};
use crate::base::{Offset, Result, TopicPartition};
use crate::log::{Cleanup, Fetched, Isolation, Log, Reader};
use crate::state::StoredState;

/// How much a restore fetches at a time, in bytes.
const FETCH_BYTES: usize = 4 << 20;
/// How long it waits for the log before it says that it lives.
const WAIT: Duration = Duration::from_millis(200);

/// Restores every store of a task and returns the number of records read.
pub(super) fn restore(
    state: &mut StoredState,
    changelogs: &[Option<TopicPartition>],
    log: &dyn Log,
    hooks: &dyn Hooks,
    alive: &mut dyn FnMut() -> Result<()>,
) -> Result<u64> {
    let mut records = 0;
    // One for all stores: to make one takes a while on some logs.
    let mut reader: Option<Box<dyn Reader>> = None;
    for (store, partition) in changelogs.iter().enumerate() {
        let Some(partition) = partition else { continue };
        let end = log.end_offset(partition, Isolation::ReadUncommitted)?;
        let mut position = state.position(store).filter(|position| *position <= end);
        if position.is_some_and(|position| position < end)
            && has_forgotten(state, store, log, partition)?
        {
            position = None;
        }
        let from = match position {
            Some(position) => position,
            None => log.start_offset(partition)?,
        };
        state.begin_restore(store, position.is_none())?;
        if position.is_some() && from == end {
            // Nothing is missing: the rows are as fresh as now.
            state.end_restore(store, end)?;
            continue;
        }
        let reader = match &mut reader {
            Some(reader) => reader,
            none => none.insert(log.reader()?),
        };
        reader.assign(&[(partition.clone(), from)])?;
        let read = read_until(&mut **reader, partition, end, alive, &mut |fetched| {
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

/// Whether the changelog may have lost deletions that came after the store's position: then only
/// reading from the beginning leaves out what was deleted.
fn has_forgotten(
    state: &StoredState,
    store: usize,
    log: &dyn Log,
    partition: &TopicPartition,
) -> Result<bool> {
    let (Some(at_ms), Some(topic)) = (state.position_at_ms(store), log.topic(&partition.topic)?)
    else {
        return Ok(false);
    };
    let age_ms = state.wall_ms().saturating_sub(at_ms);
    let compacts = topic.cleanup != Cleanup::Delete;
    if compacts && age_ms > topic.delete_retention_ms {
        tracing::info!(
            %partition,
            age_ms,
            "the rows are older than the changelog keeps deletions; rebuilding them"
        );
        return Ok(true);
    }
    Ok(false)
}

/// Whether a partition has any committed record. That its end has moved does not say so: in some logs
/// what was aborted leaves a gap.
pub(super) fn holds_records(
    log: &dyn Log,
    partition: &TopicPartition,
    alive: &mut dyn FnMut() -> Result<()>,
) -> Result<bool> {
    let end = log.end_offset(partition, Isolation::ReadCommitted)?;
    if end <= log.start_offset(partition)? {
        // Purged or not, it once held some if it has an end.
        return Ok(end > 0);
    }
    let mut reader = log.reader()?;
    reader.assign(&[(partition.clone(), 0)])?;
    while reader
        .position(partition)
        .is_some_and(|position| position < end)
    {
        if !reader.poll(1, WAIT)?.is_empty() {
            return Ok(true);
        }
        alive()?;
    }
    Ok(false)
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
    use std::sync::Arc;

    use super::*;
    use crate::base::{ManualEnv, TaskId};
    use crate::log::{BatchBuilder, Commit, MemoryLog, TopicSpec};
    use crate::runtime::NoHooks;
    use crate::state::{Identity, MemoryBackend, StoreKind, StoreSpec};

    const DELETE_RETENTION_MS: i64 = 1_000;

    fn append(log: &dyn Log, key: &str) {
        let mut builder = BatchBuilder::default();
        builder.push(Some(key.as_bytes()), Some(b"row"), 0, &[]);
        let batch = builder.seal().expect("a record");
        let mut writer = log.writer("w").expect("a writer");
        let appends = vec![(TopicPartition::new("changelog", 0), batch)];
        let commit = Commit {
            appends,
            group: None,
        };
        writer.submit(commit).expect("submitted");
        let receipt = writer.poll(Duration::from_secs(5)).expect("committed");
        assert!(receipt.is_some(), "an answer in time");
    }

    fn bring_up(state: &mut StoredState, log: &dyn Log, wall_ms: i64) -> u64 {
        state.set_wall_ms(wall_ms);
        let changelogs = [Some(TopicPartition::new("changelog", 0)), None];
        restore(state, &changelogs, log, &NoHooks, &mut || Ok(())).expect("restored")
    }

    #[test]
    fn rows_older_than_the_changelog_keeps_deletions_are_rebuilt() {
        // Idle for a while, rows that are not behind are kept, however old.
        for (idle_ms, expected) in [(DELETE_RETENTION_MS, 2), (DELETE_RETENTION_MS + 1, 1)] {
            let log: Arc<dyn Log> = Arc::new(MemoryLog::new(ManualEnv::new(0, 1)));
            let mut topic = TopicSpec::new("changelog", 1).with_cleanup(Cleanup::Compact);
            topic.delete_retention_ms = DELETE_RETENTION_MS;
            log.create_topics(&[topic]).expect("created");
            let spec = StoreSpec {
                name: "store".into(),
                kind: StoreKind::KeyValue,
                medium: crate::state::Medium::Persistent,
                timestamped: true,
                logged: true,
                codecs: ("utf8".into(), "utf8".into()),
            };
            let identity = Identity {
                application: "a".into(),
                log_incarnation: 1,
            };
            let backend = Box::new(MemoryBackend::new());
            let task = TaskId::new("t", 0);
            let mut state = StoredState::open(&task, &[spec], backend, &identity).expect("opens");
            append(&*log, "gone");
            assert_eq!(bring_up(&mut state, &*log, 5_000), 1);
            let later_ms = 5_000 + idle_ms;
            assert_eq!(bring_up(&mut state, &*log, later_ms), 0);
            // Compaction has removed the key's row, and then its deletion.
            let partition = TopicPartition::new("changelog", 0);
            log.delete_records(&[(partition, 1)]).expect("deleted");
            append(&*log, "there");
            bring_up(&mut state, &*log, later_ms);
            let rows = state.into_state().checksum().expect("rows")[0].1;
            assert_eq!(rows, expected, "{idle_ms}");
        }
    }
}
