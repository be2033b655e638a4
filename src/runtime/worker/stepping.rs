//! How a turn processes records: steps of the tasks, in rounds, and fetching for the next round.

use std::ops::Bound;
use std::time::Duration;

use super::outage::{Attempt, of_log};
use super::{FETCH_BYTES_MIN, SMALL_STEP, Worker};
use crate::base::{Error, Result, TopicPartition};
use crate::log::{Fetched, Reader, Skipped};
use crate::runtime::DeletedUnread;
use crate::runtime::layout::inputs;
use crate::runtime::open_task::{End, OpenTask};
use crate::runtime::spans::StepSpan;
use crate::task::StepLimits;

/// How long, in milliseconds, nothing is fetched while the end of an input is requested.
const ENDS_WAIT_MS: u64 = 100;

/// How often a worker that has caught up moves its tasks past offsets without records, in milliseconds.
const PASS_GAPS_MS: u64 = 1_000;

/// The result of the steps of a turn.
pub(super) struct Stepped {
    /// Number of records processed.
    pub(super) records: usize,
    /// Number of records of the whole round, if it ended in this turn.
    pub(super) round: Option<usize>,
}

impl Worker {
    /// Steps one task after another, starting where the last turn ended, until each has had its step or
    /// the time of a step is over: other duties of the worker wait no longer than that and the step of
    /// one task.
    pub(super) fn step(&mut self) -> Attempt<Stepped> {
        let uncommitted_limit = self.uncommitted_limit();
        let mut uncommitted = self.uncommitted_bytes() + self.writer.staged_bytes();
        let Self {
            context,
            tasks,
            reader,
            activity,
            short_of_room,
            awaited,
            missing,
            next_task,
            round_records,
            ..
        } = self;
        let wall_ms = context.env.wall_ms();
        let clock = || context.env.monotonic_ns();
        let duration_ns = context.settings.step_ms.saturating_mul(1_000_000);
        let turn_ends_ns = clock().saturating_add(duration_ns);
        let mut records = 0;
        // With hardly any room, repartition topics are read before they are written further: only purging
        // whole batches that were read makes room.
        let internal = |open: &OpenTask| context.layout.reads_repartition(open.task.spec());
        let read_first = *short_of_room
            && tasks
                .values()
                .any(|open| internal(open) && open.task.inputs.has_records());
        let most = match *short_of_room {
            true => context.settings.records_per_step.min(SMALL_STEP),
            false => context.settings.records_per_step,
        };
        let from = match next_task.take() {
            Some(task) => Bound::Included(task),
            None => Bound::Unbounded,
        };
        let mut over = false;
        for (id, open) in tasks.range_mut((from, Bound::Unbounded)) {
            if over {
                *next_task = Some(id.clone());
                break;
            }
            if read_first && !internal(open) {
                continue;
            }
            if open.task.inputs.is_waiting() {
                // Other inputs are empty: are they at their end, or just not fetched yet?
                if let Some(partition) = ask_ends(open, &mut **reader).map_err(of_log)? {
                    *missing = Some(partition);
                    continue;
                }
            }
            // Even a task without records may have time to pass on.
            let timer_ms = open.task.next_wall_timer_ms();
            let has_timer = timer_ms.is_some_and(|due_ms| due_ms <= wall_ms);
            if open.task.inputs.has_records() || has_timer {
                activity.begin(&open.task, clock() / 1_000_000);
            }
            let before = open.task.uncommitted_bytes();
            let limits = StepLimits {
                records: most,
                bytes: uncommitted_limit.saturating_sub(uncommitted).max(1),
                duration_ns,
                clock: &clock,
            };
            let span = StepSpan::begin(id, &open.task, has_timer);
            let progress = span.run(|| {
                let fired = open.task.fire_wall_timers(wall_ms);
                fired.and_then(|()| open.task.process(limits, wall_ms))
            });
            let progress = progress.map_err(|error: Error| error.context(format!("task {id}")))?;
            span.end(&open.task);
            if open.must_be_rebuilt() {
                // Code of the user's may have taken the error of a store for its own, and policies have skipped it.
                return Err(Error::corrupt(format!("task {id}: its rows are damaged")).into());
            }
            uncommitted += open.task.uncommitted_bytes().saturating_sub(before);
            if progress.records > 0 {
                let now_ns = clock();
                open.busy_at_ms = now_ns / 1_000_000;
                open.end = End::Open;
                over = now_ns >= turn_ends_ns || uncommitted >= uncommitted_limit;
            }
            records += progress.records;
        }
        *round_records += records;
        if next_task.is_some() {
            return Ok(Stepped {
                records,
                round: None,
            });
        }
        *awaited = missing.take().map(|partition| match awaited.take() {
            Some((_, since_ms)) => (partition, since_ms),
            None => (partition, context.env.monotonic_ms()),
        });
        Ok(Stepped {
            records,
            round: Some(std::mem::take(round_records)),
        })
    }

    /// Fetches as much as there is room for; returns whether anything arrived.
    pub(super) fn fetch(&mut self) -> Attempt<bool> {
        if let Some((_, since_ms)) = &self.awaited
            && self.context.env.monotonic_ms() < since_ms + ENDS_WAIT_MS
        {
            // With more records, the log would have to be asked again.
            return Ok(false);
        }
        let share = self.fetch_share();
        for open in self.tasks.values() {
            for input in open.task.inputs.progress() {
                self.reader
                    .pause(&input.partition, input.buffered_bytes >= share);
            }
        }
        self.poll_reader(Duration::ZERO)
    }

    /// Waits for records; returns whether any arrived.
    pub(super) fn poll_reader(&mut self, wait: Duration) -> Attempt<bool> {
        let share = self.fetch_share();
        let fetched = self.reader.poll(share, wait).map_err(of_log)?;
        for skipped in self.reader.skipped() {
            self.note_deleted(&skipped)?;
        }
        self.add_fetched(&fetched)?;
        Ok(!fetched.is_empty())
    }

    /// Input was deleted before it was read.
    fn note_deleted(&mut self, skipped: &Skipped) -> Result<()> {
        let Skipped {
            partition,
            from,
            to,
        } = skipped;
        let records = to - from;
        let what = format!(
            "{partition}: the {records} offsets from {from} to {} were deleted before they were read, by \
             retention or by hand; lengthen the topic's retention, or stop its readers for a shorter time",
            to - 1
        );
        match self.context.settings.deleted_unread {
            DeletedUnread::Continue => {
                tracing::warn!(worker = %self.name, "{what}");
                self.deleted_unread += records.cast_unsigned();
                Ok(())
            }
            DeletedUnread::Fail => Err(Error::corrupt(format!(
                "{what}; set `deleted_unread` to `Continue` to continue with the remaining records"
            ))),
        }
    }

    fn add_fetched(&mut self, fetched: &[Fetched]) -> Result<()> {
        for fetched in fetched {
            let reads = |open: &&mut OpenTask| {
                open.task
                    .inputs
                    .progress()
                    .any(|input| input.partition == fetched.partition)
            };
            if let Some(open) = self.tasks.values_mut().find(reads) {
                open.task.inputs.add(fetched)?;
            }
        }
        Ok(())
    }

    /// Moves the tasks of a worker that has caught up past offsets without records, mainly the markers of
    /// transactions, so that comparing what they commit with the ends shows no lag.
    pub(super) fn pass_gaps(&mut self) -> Result<()> {
        let now_ms = self.context.env.monotonic_ms();
        if !self.has_caught_up || now_ms < self.passed_gaps_at_ms.saturating_add(PASS_GAPS_MS) {
            return Ok(());
        }
        self.passed_gaps_at_ms = now_ms;
        for open in self.tasks.values_mut() {
            for partition in inputs(open.task.spec()) {
                if let Some(position) = self.reader.position(&partition) {
                    open.task.inputs.follow(&partition, position)?;
                }
            }
        }
        Ok(())
    }

    /// Each input gets its share, whatever the others hold: one input of a task may wait for another.
    /// Fetching exceeds a share by at most one more share.
    fn fetch_share(&self) -> usize {
        let inputs: usize = self.tasks.values().map(|open| open.committed.len()).sum();
        let share = self.context.settings.fetch_bytes() / inputs.max(1) / 2;
        share.max(FETCH_BYTES_MIN)
    }
}

/// Tells a task the ends of those of its inputs that others wait for; or returns one whose end the log
/// has not reported yet.
fn ask_ends(open: &mut OpenTask, reader: &mut dyn Reader) -> Result<Option<TopicPartition>> {
    let starved: Vec<TopicPartition> = open.task.inputs.starved().cloned().collect();
    for partition in starved {
        let Some(end) = reader.end(&partition, Duration::ZERO)? else {
            return Ok(Some(partition));
        };
        let position = reader.position(&partition).unwrap_or(0);
        open.task.inputs.set_end(&partition, end, position)?;
    }
    Ok(None)
}
