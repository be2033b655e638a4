//! The commit protocol, in steps:
//!
//! 0. Where the log benefits from it, outputs are sent ahead (`worker/staging.rs`).
//! 1. [`seal`]: effects are completed and taken, each store's active generation becomes the committing
//!    one, changelog records are made from it.
//! 2. [`InFlight::ask`]: outputs, changelogs and input offsets go to the log in one commit. With at least
//!    once, outputs that fill memory may have been committed before, separately
//!    ([`InFlight::of_outputs`]).
//! 3. [`InFlight::apply`]: after a definite commit each task's rows, positions and times go to its
//!    backend in one write.
//!
//! Between 2 and 3 the worker continues with the next generation.

use std::collections::BTreeMap;

use tracing::Span;

use super::hooks::{Hooks, Point};
use super::open_task::{End, OpenTask};
use super::spans;
use crate::base::{Error, Offset, Result, TaskId, TopicPartition};
use crate::log::{
    Batch, BatchesBuilder, Commit, CommitError, CommittedOffset, GroupCommit, MemberToken, Receipt,
    Writer, size_of,
};

/// The note of a committed offset whose task has ended; other instances learn of it this way.
pub(super) const ENDED: &str = "ended";

/// A commit that has been submitted.
pub(super) struct InFlight {
    group: String,
    /// Input offsets by task, to go with the changelog records.
    offsets: Vec<Progress>,
    /// The answer.
    ends: BTreeMap<TopicPartition, Offset>,
    /// Of all records, both outputs and changes.
    bytes: usize,
    /// The message when the answer was lost, until a caller takes it.
    said: Option<Error>,
    /// Closed when it is dropped.
    span: Span,
}

/// The sealed content.
pub(super) struct Sealed {
    outputs: Vec<(TopicPartition, Batch)>,
    changes: Vec<(TopicPartition, Batch)>,
    offsets: Vec<Progress>,
}

/// How far a task has read its inputs.
struct Progress {
    task: TaskId,
    offsets: Vec<(TopicPartition, Offset)>,
    /// Whether it has ended.
    ended: bool,
}

impl Sealed {
    /// Size of the records, except those sent ahead, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of(&self.outputs) + size_of(&self.changes)
    }

    /// Whether there is nothing to commit.
    pub(super) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }
}

/// Step 1: takes everything that is not committed yet out of the tasks. With `all`, the offsets of tasks
/// that have nothing new are committed again too.
pub(super) fn seal(tasks: &mut BTreeMap<TaskId, OpenTask>, all: bool) -> Result<Sealed> {
    let mut sealed = Sealed {
        outputs: Vec::new(),
        changes: Vec::new(),
        offsets: Vec::new(),
    };
    for (id, open) in tasks {
        let completed = open.task.before_commit();
        completed.map_err(|error| error.context(format!("task {id}")))?;
        let has_ended = open.task.has_ended();
        if !open.is_dirty() && !all {
            // No commit is in flight: everything it did is committed.
            open.end = match has_ended {
                true => End::Committed,
                false => End::Open,
            };
            continue;
        }
        sealed.outputs.extend(open.task.effects().take());
        open.written.seal(open.task.effects());
        open.staged = false;
        open.task.state.seal()?;
        let mut builder = BatchesBuilder::default();
        for (store, changelog) in open.changelogs.iter().enumerate() {
            let Some(changelog) = changelog else { continue };
            open.task.state.changelog(store, &mut builder)?;
            for batch in builder.seal() {
                open.written.seal_changes(store, &batch);
                sealed.changes.push((changelog.clone(), batch));
            }
        }
        let progress: Vec<_> = open
            .task
            .inputs
            .progress()
            .map(|input| (input.partition, input.position))
            .collect();
        open.committing = progress.iter().map(|(_, position)| *position).collect();
        open.sealed = true;
        open.end_recorded = has_ended;
        open.end = match (has_ended, open.end) {
            (true, End::Committed) => End::Committed,
            (true, End::Open | End::Sealed) => End::Sealed,
            (false, _) => End::Open,
        };
        sealed.offsets.push(Progress {
            task: id.clone(),
            offsets: progress,
            ended: has_ended,
        });
    }
    Ok(sealed)
}

impl InFlight {
    /// Step 2: submits the commit to the log.
    pub(super) fn ask(
        sealed: Sealed,
        group: &str,
        token: MemberToken,
        writer: &mut dyn Writer,
        hooks: &dyn Hooks,
    ) -> Result<Self, CommitError> {
        hooks.reached(Point::BeforeCommit);
        let bytes = sealed.bytes();
        let mut appends = sealed.outputs;
        appends.extend(sealed.changes);
        let mut flight = Self {
            bytes,
            group: group.to_owned(),
            span: spans::commit(sealed.offsets.len(), bytes, &appends),
            offsets: sealed.offsets,
            ends: BTreeMap::new(),
            said: None,
        };
        let commit = flight.commit_of(appends, token, flight.committed_offsets());
        let asked = flight.span.in_scope(|| writer.submit(commit));
        flight.outcome(asked)?;
        hooks.reached(Point::Asked);
        Ok(flight)
    }

    /// With at least once, outputs need not wait for the state: submits them alone.
    pub(super) fn of_outputs(
        outputs: Vec<(TopicPartition, Batch)>,
        group: &str,
        token: MemberToken,
        writer: &mut dyn Writer,
        hooks: &dyn Hooks,
    ) -> Result<Self, CommitError> {
        hooks.reached(Point::BeforeCommit);
        let bytes = size_of(&outputs);
        let mut flight = Self {
            bytes,
            group: group.to_owned(),
            span: spans::commit(0, bytes, &outputs),
            offsets: Vec::new(),
            ends: BTreeMap::new(),
            said: None,
        };
        let commit = flight.commit_of(outputs, token, Vec::new());
        let asked = flight.span.in_scope(|| writer.submit(commit));
        flight.outcome(asked)?;
        hooks.reached(Point::Asked);
        Ok(flight)
    }

    /// Checks whether the answer has arrived; `true` when the commit is definite and [`Self::apply`] is
    /// next.
    pub(super) fn poll(
        &mut self,
        writer: &mut dyn Writer,
        timeout: std::time::Duration,
    ) -> Result<bool, CommitError> {
        let answer = writer.poll(timeout);
        let Some(Receipt { ends }) = answer.or_else(|error| match error {
            CommitError::Unknown(error) => {
                self.said = Some(error);
                Ok(None)
            }
            error => Err(error),
        })?
        else {
            return Ok(false);
        };
        self.ends = ends;
        Ok(true)
    }

    /// The log's message when it lost the answer, once each time. The next [`InFlight::poll`] asks again.
    pub(super) fn take_unknown(&mut self) -> Option<Error> {
        self.said.take()
    }

    /// Size of the records in flight, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its span, for the time that it took.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Step 3: the commit is definite.
    pub(super) fn apply(
        self,
        tasks: &mut BTreeMap<TaskId, OpenTask>,
        wall_ms: i64,
        hooks: &dyn Hooks,
    ) -> Result<()> {
        let _entered = self.span.enter();
        hooks.reached(Point::Committed);
        for Progress { task, .. } in &self.offsets {
            let Some(open) = tasks.get_mut(task) else {
                continue;
            };
            let ends: Vec<_> = (0..open.changelogs.len())
                .map(|store| self.end_of(open, store))
                .collect();
            open.task.state.set_wall_ms(wall_ms);
            open.task.state.applied(&ends)?;
            open.sealed = false;
            open.written.committed();
            open.committed.clone_from(&open.committing);
            open.registered.set_positions(&open.committed);
            open.end = match open.task.has_ended() {
                true if open.end != End::Open => End::Committed,
                _ => End::Open,
            };
        }
        hooks.reached(Point::Applied);
        Ok(())
    }

    fn end_of(&self, open: &OpenTask, store: usize) -> Option<Offset> {
        let changelog = open.changelogs.get(store)?.as_ref()?;
        self.ends.get(changelog).copied()
    }

    fn committed_offsets(&self) -> Vec<(TopicPartition, CommittedOffset)> {
        let mut committed = Vec::new();
        for progress in &self.offsets {
            let note = if progress.ended { ENDED } else { "" };
            for (partition, offset) in &progress.offsets {
                let offset = CommittedOffset {
                    offset: *offset,
                    metadata: note.to_owned(),
                };
                committed.push((partition.clone(), offset));
            }
        }
        committed
    }

    fn commit_of(
        &self,
        appends: Vec<(TopicPartition, Batch)>,
        token: MemberToken,
        offsets: Vec<(TopicPartition, CommittedOffset)>,
    ) -> Commit {
        Commit {
            appends,
            group: Some(GroupCommit {
                group: self.group.clone(),
                token: Some(token),
                offsets,
            }),
        }
    }

    /// An unknown outcome is not a failure yet: the log is asked until the outcome is definite.
    fn outcome(&mut self, asked: Result<(), CommitError>) -> Result<(), CommitError> {
        match asked {
            Err(CommitError::Unknown(error)) => {
                self.said = Some(error);
                Ok(())
            }
            asked => asked,
        }
    }
}
