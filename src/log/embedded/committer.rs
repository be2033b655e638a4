//! The thread that commits: it alone appends.
//!
//! One round, [`commit_round`]:
//! 1. take all waiting jobs; 2. refuse those that are fenced, unknown or over the quota; 3. assign
//!    offsets to the others, on copies of the partitions' rows; 4. one RocksDB write, synced according to
//!    the policy; 5. publish ends and tails under one lock; 6. wake readers, answer the writers.
//!
//! If the write fails, nothing was published, and RocksDB accepts no write after it, so the offsets
//! assigned in step 3 are never reused while the process lives; the answer is `Fatal`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::format::{self, BATCHES, OFFSETS, PARTITIONS, PartitionRow};
use super::partition::{Partition, after};
use super::queue::{Job, Queue};
use super::settings::Fsync;
use super::shared::{Shared, Writing};
use crate::base::{Error, ErrorKind, Offset, Result};
use crate::disk::WriteBatch;
use crate::log::{Batch, CommitError, Receipt, check};

impl Shared {
    pub(super) fn enqueue(&self, job: Job) -> Result<(), CommitError> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.closed {
            return Err(CommitError::Fatal(check::closed()));
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.queued.notify_one();
        Ok(())
    }

    /// Accepts no more jobs; waiting ones are still done.
    pub(super) fn close_queue(&self) {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
        self.queued.notify_all();
    }
}

/// The committer's thread.
pub(super) fn run(shared: Arc<Shared>) {
    let _ending = Ending(Arc::clone(&shared));
    let sync_after_ms = match shared.settings.fsync {
        Fsync::EveryMs(ms) => Some(ms),
        Fsync::EveryCommit | Fsync::Never => None,
    };
    // Since when there has been unsynced data.
    let mut unsynced_since_ms = None;
    loop {
        let left = sync_after_ms
            .zip(unsynced_since_ms)
            .map(|(after_ms, since_ms): (u64, u64)| {
                let due_ms = since_ms.saturating_add(after_ms);
                Duration::from_millis(due_ms.saturating_sub(shared.env.monotonic_ms()))
            });
        let jobs = match next_jobs(&shared, left) {
            Next::Jobs(jobs) => jobs,
            Next::Due => {
                // The database remembers a failure and returns it for the next commit.
                if let Err(error) = shared.sync() {
                    tracing::error!(%error, "commits of the log may not be on the disk");
                }
                unsynced_since_ms = None;
                continue;
            }
            Next::Closed => break,
        };
        let due = left.is_some_and(|left| left.is_zero());
        let synced = due || shared.settings.fsync == Fsync::EveryCommit;
        commit_round(&shared, jobs, synced);
        if synced {
            unsynced_since_ms = None;
        } else {
            unsynced_since_ms.get_or_insert_with(|| shared.env.monotonic_ms());
        }
    }
    if unsynced_since_ms.is_some()
        && let Err(error) = shared.sync()
    {
        *shared
            .sync_failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

enum Next {
    Jobs(VecDeque<Job>),
    /// Nothing arrived in time, and a sync is due.
    Due,
    Closed,
}

fn next_jobs(shared: &Shared, left: Option<Duration>) -> Next {
    let queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
    let idle = |queue: &mut Queue| queue.jobs.is_empty() && !queue.closed;
    let mut queue = match left {
        Some(left) => {
            let waited = shared.queued.wait_timeout_while(queue, left, idle);
            waited.unwrap_or_else(PoisonError::into_inner).0
        }
        None => shared
            .queued
            .wait_while(queue, idle)
            .unwrap_or_else(PoisonError::into_inner),
    };
    if !queue.jobs.is_empty() {
        return Next::Jobs(std::mem::take(&mut queue.jobs));
    }
    if queue.closed {
        Next::Closed
    } else {
        Next::Due
    }
}

/// Answers all waiting writers when the thread ends, even by a panic: without an answer they would hang.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.close_queue();
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        for job in queue.jobs.drain(..) {
            job.answer(Err(CommitError::Fatal(check::closed())));
        }
    }
}

/// The changes of a round in a partition.
struct PartitionChange {
    partition: Arc<Partition>,
    row: PartitionRow,
    appended: Vec<(Offset, Batch)>,
}

struct Round {
    batch: WriteBatch,
    changes: BTreeMap<format::Place, PartitionChange>,
    bytes: u64,
}

fn commit_round(shared: &Shared, jobs: VecDeque<Job>, synced: bool) {
    let mut writing = shared.writing();
    let mut round = Round {
        batch: shared.database.batch(),
        changes: BTreeMap::new(),
        bytes: 0,
    };
    let mut accepted = Vec::with_capacity(jobs.len());
    for job in jobs {
        match accept(shared, &mut writing, &mut round, &job) {
            Ok(receipt) => accepted.push((job, receipt)),
            Err(refused) => job.answer(Err(refused)),
        }
    }
    if accepted.is_empty() {
        return;
    }
    for (place, change) in &round.changes {
        let key = format::partition_key(*place);
        round.batch.put(PARTITIONS, &key, &change.row.encode());
    }
    if let Err(error) = shared.write_commits(round.batch, synced, accepted.len() as u64) {
        for (job, _) in accepted {
            let copy = Error::new(error.kind(), error.to_string());
            job.answer(Err(CommitError::Fatal(copy)));
        }
        return;
    }
    shared
        .commits
        .fetch_add(accepted.len() as u64, Ordering::Relaxed);
    shared
        .bytes_appended
        .fetch_add(round.bytes, Ordering::Relaxed);
    writing.bytes += round.bytes;
    publish(shared, &mut writing, round.changes);
    for (job, _) in &accepted {
        if let Some(group) = &job.commit.group {
            record_offsets(shared, &mut writing, group);
        }
    }
    drop(writing);
    shared.signal.raise();
    for (job, receipt) in accepted {
        job.answer(Ok(receipt));
    }
}

/// Checks a job and, if it is valid, adds all of it to the round.
fn accept(
    shared: &Shared,
    writing: &mut Writing,
    round: &mut Round,
    job: &Job,
) -> Result<Receipt, CommitError> {
    if writing.writers.get(&job.writer) != Some(&job.opened) {
        return Err(CommitError::Fenced(check::fenced_writer(&job.writer)));
    }
    let mut places = Vec::with_capacity(job.commit.appends.len());
    let mut bytes = 0;
    for (name, batch) in &job.commit.appends {
        let (_, partition) = shared.find(name).map_err(CommitError::Aborted)?;
        places.push(partition);
        bytes += batch.as_bytes().len() as u64;
    }
    let mut offsets = Vec::new();
    if let Some(group) = &job.commit.group {
        if group.group.len() > usize::from(u16::MAX) {
            let message = format!(
                "the name of a group has {} bytes; the limit is 65535",
                group.group.len()
            );
            return Err(CommitError::Aborted(Error::invalid(message)));
        }
        for (name, committed) in &group.offsets {
            let (_, partition) = shared.find(name).map_err(CommitError::Aborted)?;
            offsets.push((partition, committed));
        }
        shared
            .groups()
            .check_commit(group)
            .map_err(CommitError::Fenced)?;
    }
    check_quota(shared, writing.bytes + round.bytes, bytes).map_err(CommitError::Aborted)?;
    // From here on nothing is refused: everything in the round will happen.
    round.bytes += bytes;
    let mut receipt = Receipt::default();
    for (partition, (name, batch)) in places.into_iter().zip(&job.commit.appends) {
        let change = round
            .changes
            .entry(partition.place)
            .or_insert_with(|| PartitionChange {
                row: partition.row(),
                partition,
                appended: Vec::new(),
            });
        let base = change.row.end;
        let key = format::batch_key(change.partition.place, base);
        round.batch.put(BATCHES, &key, batch.as_bytes());
        change.row.end = after(base, batch);
        change.row.bytes += batch.as_bytes().len() as u64;
        change.appended.push((base, batch.clone()));
        receipt.ends.insert(name.clone(), change.row.end);
    }
    if let Some(group) = &job.commit.group {
        for (partition, committed) in offsets {
            let key = format::offset_key(&group.group, partition.place);
            round
                .batch
                .put(OFFSETS, &key, &format::offset_row(committed));
        }
    }
    Ok(receipt)
}

fn check_quota(shared: &Shared, stored: u64, more: u64) -> Result<()> {
    match shared.settings.quota_bytes {
        Some(quota) if more > 0 && stored + more > quota => {
            let message = format!(
                "the log in {} holds {stored} of at most {quota} bytes: no room for {more} more; delete \
                 records, shorten retention or raise the quota",
                shared.settings.path.display()
            );
            Err(Error::new(ErrorKind::Full, message))
        }
        _ => Ok(()),
    }
}

fn publish(
    shared: &Shared,
    writing: &mut Writing,
    changes: BTreeMap<format::Place, PartitionChange>,
) {
    let published = shared
        .published
        .write()
        .unwrap_or_else(PoisonError::into_inner);
    for (_, change) in changes {
        let mut state = change.partition.state();
        state.row = change.row;
        for (base, batch) in change.appended {
            let bytes = batch.as_bytes().len();
            writing.tail_bytes += bytes;
            writing
                .tails
                .push_back((Arc::clone(&change.partition), bytes));
            state.tail.push_back((base, batch));
        }
    }
    drop(published);
    while writing.tail_bytes > shared.settings.tail_bytes {
        let Some((partition, bytes)) = writing.tails.pop_front() else {
            break;
        };
        partition.state().tail.pop_front();
        writing.tail_bytes -= bytes;
    }
}

fn record_offsets(shared: &Shared, writing: &mut Writing, group: &crate::log::GroupCommit) {
    let offsets = writing.offsets.entry(group.group.clone()).or_default();
    for (name, committed) in &group.offsets {
        if let Ok((_, partition)) = shared.find(name) {
            offsets.insert(partition.place, committed.clone());
        }
    }
}
