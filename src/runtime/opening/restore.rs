//! What the rows of a task lack of its changelogs, read part by part.
//!
//! Rows are kept as long as they are valid: reading begins at the stored position, or at the beginning if there is
//! none, or if the log is shorter than the position or may have lost deletions since.

use std::time::Duration;

use tracing::Span;

use super::kept_reader::KeptReader;
use super::ticket::{Ready, Ticket};
use crate::base::{Error, Offset, Result, TopicPartition};
use crate::log::{Cleanup, Isolation, Log};
use crate::runtime::context::Context;
use crate::runtime::hooks::Point;
use crate::runtime::spans;
use crate::state::StoredState;

/// How much a restore fetches at a time, in bytes.
const FETCH_BYTES: usize = 4 << 20;
/// Rows that were last known to be fresh this long ago are flushed when they are fresh again, in milliseconds:
/// after a crash they must not look old.
const FLUSH_AFTER_MS: i64 = 60 * 60 * 1_000;

/// The time of a position is not written again while it is younger than this, in milliseconds: a start that finds
/// everything in place writes nothing.
const FRESH_FOR_MS: i64 = 60 * 1_000;

/// The restore of one task.
pub(super) struct Restore {
    ready: Ready,
    stores: Vec<ToRestore>,
    /// The index of the next one.
    at: usize,
    /// Whether to flush the rows at the end.
    flush: bool,
}

struct ToRestore {
    store: usize,
    partition: TopicPartition,
    next: Offset,
    end: Offset,
    from_scratch: bool,
    /// Once it has begun; closed when this is dropped.
    span: Option<Span>,
    records: u64,
}

impl Restore {
    /// Decides what to read of each changelog.
    pub(super) fn plan(ready: Ready, log: &dyn Log) -> Result<Self> {
        let mut restore = Self {
            ready,
            stores: Vec::new(),
            at: 0,
            flush: false,
        };
        restore.look(log)?;
        Ok(restore)
    }

    /// How many records are left to read, counted by their offsets.
    pub(super) fn records_left(&self) -> Offset {
        let stores = self.stores[self.at..].iter();
        stores.map(|store| store.end - store.next).sum()
    }

    /// Whether everything has been read.
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.stores.len()
    }

    /// The restored task.
    pub(super) fn into_ready(mut self) -> Result<Box<Ready>> {
        if self.flush {
            self.ready.stored.flush()?;
        }
        Ok(Box::new(self.ready))
    }

    /// Compares rows and changelogs. A store whose rows are at the end of its changelog is fresh as of now.
    fn look(&mut self, log: &dyn Log) -> Result<()> {
        let Ready {
            stored, changelogs, ..
        } = &mut self.ready;
        let logged = changelogs.iter().enumerate();
        let logged: Vec<(usize, &TopicPartition)> = logged
            .filter_map(|(store, changelog)| Some((store, changelog.as_ref()?)))
            .collect();
        let asked: Vec<_> = logged
            .iter()
            .map(|(_, changelog)| (*changelog).clone())
            .collect();
        let ends = log.end_offsets(&asked, Isolation::ReadUncommitted)?;
        for ((store, partition), end) in logged.into_iter().zip(ends) {
            let mut position = stored.position(store).filter(|position| *position <= end);
            if position.is_some_and(|position| position < end)
                && has_forgotten(stored, store, log, partition)?
            {
                position = None;
            }
            let age_ms = stored
                .position_at_ms(store)
                .map(|at_ms| stored.wall_ms() - at_ms);
            self.flush |= age_ms.is_some_and(|age_ms| age_ms > FLUSH_AFTER_MS);
            let next = match position {
                Some(position) => position,
                None => log.start_offset(partition)?,
            };
            let from_scratch = position.is_none();
            if next >= end {
                let fresh = age_ms.is_some_and(|age_ms| (0..FRESH_FOR_MS).contains(&age_ms));
                if fresh && !from_scratch {
                    continue;
                }
                stored.begin_restore(store, from_scratch)?;
                stored.end_restore(store, end)?;
                continue;
            }
            self.stores.push(ToRestore {
                store,
                partition: partition.clone(),
                next,
                end,
                from_scratch,
                span: None,
                records: 0,
            });
        }
        Ok(())
    }

    /// Reads a part of the next changelog, for the job of that number; `false` if the log returned nothing.
    pub(super) fn read(
        &mut self,
        (job, ticket): (u64, &Ticket),
        reader: &mut KeptReader,
        context: &Context,
        wait: Duration,
    ) -> Result<bool> {
        let stored = &mut self.ready.stored;
        let ToRestore {
            store,
            partition,
            next,
            end,
            from_scratch,
            span,
            records,
        } = &mut self.stores[self.at];
        let span = match span {
            Some(span) => span.clone(),
            none => {
                stored.begin_restore(*store, *from_scratch)?;
                let name = stored.store_name(*store);
                none.insert(spans::restore(stored.task(), name, partition))
                    .clone()
            }
        };
        let reader = reader.read(context, (job, self.at), partition, *next)?;
        let named = |error: Error| error.context(format!("restoring from {partition}"));
        let bytes = context.settings.restore_part_bytes().min(FETCH_BYTES);
        let fetched = reader.poll(bytes, wait).map_err(named)?;
        // Time spent waiting for the log does not count as work.
        let _entered = span.enter();
        for fetched in &fetched {
            let mut cursor = fetched.batch.cursor(fetched.base_offset);
            while let Some(record) = cursor.next_record().map_err(named)? {
                if record.offset >= fetched.position && record.offset < *end {
                    stored.restore(*store, &record).map_err(named)?;
                    *records += 1;
                }
            }
            context.hooks.reached(Point::Restoring);
        }
        // Compaction and aborted transactions leave gaps: everything before the reader's position is done.
        let position = reader.position(partition).unwrap_or(*next).min(*end);
        let moved = position - *next;
        ticket.advance(moved);
        *next = position;
        if position >= *end {
            stored.end_restore(*store, *end)?;
            spans::restored(&span, *records);
            self.ready.restored += *records;
            self.at += 1;
        }
        Ok(moved > 0)
    }
}

/// Whether the changelog may have lost deletions that came after the store's position: then only reading from the
/// beginning leaves out what was deleted.
fn has_forgotten(
    stored: &StoredState,
    store: usize,
    log: &dyn Log,
    partition: &TopicPartition,
) -> Result<bool> {
    let (Some(at_ms), Some(topic)) = (stored.position_at_ms(store), log.topic(&partition.topic)?)
    else {
        return Ok(false);
    };
    let age_ms = stored.wall_ms().saturating_sub(at_ms);
    let compacts = topic.cleanup != Cleanup::Delete;
    if compacts && age_ms > topic.delete_retention_ms {
        tracing::info!(
            %partition,
            age_ms,
            "the rows are older than the deletions that the changelog keeps; rebuilding them"
        );
        return Ok(true);
    }
    Ok(false)
}
