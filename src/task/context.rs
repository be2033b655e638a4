//! What a node can access of the task while it handles a record.

use std::sync::Arc;
use std::time::Duration;

use super::input_ends::InputEnds;
use super::origins::{CLOCK_HEADER, Carrier, ClockMark, HEADER_MAX};
use super::place::Place;
use super::time_bound::{Hold, Reached};
use super::timers::Timers;
use super::{
    Clock, DropReason, Drops, Effects, ErrorPolicies, HoldId, NodeId, OutputId, SinkTime, Stage,
    TimeBound,
};
use crate::base::{Error, ErrorKind, Headers, NO_TIMESTAMP, Offset, Result, partition_for_key};
use crate::state::Marks;

/// How the partition of a record is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionBy<'a> {
    /// By the hash of these bytes, as everywhere.
    Key(&'a [u8]),
    /// The number of the task's own partition, modulo the topic's number of partitions.
    Task,
    /// The number itself.
    Number(u32),
}

/// The record being handled and the effects of handling it.
#[derive(Debug)]
pub struct Context {
    pub(super) effects: Effects,
    pub(super) drops: Drops,
    /// How far each input has come.
    pub(super) reached: Vec<Reached>,
    /// Whether some input has advanced and the operators have not been told.
    pub(super) moved: bool,
    /// Whether some input has several origins.
    pub(super) has_several_origins: bool,
    /// The position of the input that the current record is from.
    pub(super) input: usize,
    /// Whether a source has accepted the current record.
    pub(super) accepted: bool,
    /// What each operator that can hold back time is holding.
    pub(super) holds: Vec<Hold>,
    /// The clock of the current record's own origin, if there are several.
    pub(super) late_clock_ms: Option<i64>,
    /// The same if its topic has one origin that sends its clock; it is passed on.
    pub(super) origin_clock_ms: Option<i64>,
    /// Whether the current record's origin was left out for its silence and has not caught up.
    pub(super) was_silent: bool,
    /// See [`Context::is_overtaken`].
    pub(super) overtaken: bool,
    pub(super) marks: Marks,
    pub(super) policies: ErrorPolicies,
    pub(super) dead_letters: Option<OutputId>,
    pub(super) stage: Stage,
    pub(super) partition: u32,
    pub(super) topic: Arc<str>,
    pub(super) offset: Offset,
    pub(super) place: Arc<Place>,
    pub(super) stream_time_ms: i64,
    pub(super) wall_ms: i64,
    /// Number of records undone.
    pub(super) undone: u64,
    pub(super) timers: Timers,
    pub(super) ends: InputEnds,
    /// Whether a record is being handled, and its timestamp.
    pub(super) record_ms: Option<i64>,
}

impl Context {
    /// One that knows nothing yet of its task and of what its nodes hold.
    pub(super) fn new(effects: Effects, marks: Marks, policies: ErrorPolicies) -> Self {
        Self {
            effects,
            drops: Drops::default(),
            reached: Vec::new(),
            moved: true,
            has_several_origins: false,
            input: 0,
            accepted: false,
            holds: Vec::new(),
            late_clock_ms: None,
            origin_clock_ms: None,
            was_silent: false,
            overtaken: false,
            marks,
            policies,
            dead_letters: None,
            stage: Stage::Decode,
            partition: 0,
            topic: "".into(),
            offset: -1,
            place: Arc::default(),
            stream_time_ms: NO_TIMESTAMP,
            wall_ms: 0,
            undone: 0,
            timers: Timers::default(),
            ends: InputEnds::default(),
            record_ms: None,
        }
    }

    /// The next records have no origin.
    pub(super) fn forget_clocks(&mut self) {
        self.late_clock_ms = None;
        self.origin_clock_ms = None;
        self.was_silent = false;
    }

    /// What is known of the origin of the current record.
    pub(super) fn clocks(&self) -> (Option<i64>, Option<i64>, bool) {
        (self.late_clock_ms, self.origin_clock_ms, self.was_silent)
    }

    /// Restores an origin that was saved.
    pub(super) fn set_clocks(&mut self, clocks: (Option<i64>, Option<i64>, bool)) {
        (self.late_clock_ms, self.origin_clock_ms, self.was_silent) = clocks;
    }

    /// Counts a dropped record.
    pub fn drop_record(&mut self, reason: DropReason) {
        self.drops.count(reason);
    }

    /// The topic that the current record was read from.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The task's partition.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// The offset of the current record in its topic.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The timestamp of the record that is being handled, as assigned by its source, in milliseconds;
    /// `None` if there is none: when time advances, and when handling a timer.
    pub fn record_ms(&self) -> Option<i64> {
        self.record_ms
    }

    /// The largest timestamp that the task has processed from its inputs, including the current record's,
    /// in milliseconds; -1 before the first.
    pub fn stream_time_ms(&self) -> i64 {
        self.stream_time_ms
    }

    /// The wall clock when the task was last stepped, in milliseconds since 1970.
    pub fn wall_ms(&self) -> i64 {
        self.wall_ms
    }

    /// How many records were undone so far. What an operator remembers about its store outside the store
    /// is valid only as long as this does not change.
    pub fn undone(&self) -> u64 {
        self.undone
    }

    /// A source accepts its decoded record: later errors are of processing, and the input has advanced so far.
    #[inline]
    pub fn accept(&mut self, timestamp_ms: i64) {
        self.stage = Stage::Process;
        self.accepted = true;
        self.stream_time_ms = self.stream_time_ms.max(timestamp_ms);
        let reached = &mut self.reached[self.input];
        if self.origin_clock_ms.is_some() || !reached.by_records {
            return;
        }
        reached.end_lease();
        if timestamp_ms > reached.time_ms {
            reached.time_ms = timestamp_ms;
            self.moved |= self.has_several_origins;
        }
        if self.has_several_origins {
            self.late_clock_ms = Some(reached.time_ms);
        }
    }

    /// The time against which lateness is judged at a node, given the largest timestamp that the operator
    /// has seen: with several origins, the clock of the record's own origin, as of that record; for a row
    /// that was held, the promise that was made for it.
    #[inline]
    pub fn lateness_time_ms(&self, bound: &TimeBound, observed_ms: i64) -> i64 {
        match bound.has_several_origins() {
            true => self.late_clock_ms.unwrap_or_else(|| self.floor_ms(bound)),
            false => observed_ms,
        }
    }

    /// The reason for dropping a record whose window has closed although it is not late by its own
    /// origin.
    pub fn closed_reason(&self) -> DropReason {
        match self.was_silent {
            true => DropReason::ClosedWhileIdle,
            false => DropReason::Late,
        }
    }

    /// How far time has advanced at a node: windows that end after this must not be closed yet.
    /// `i64::MAX` means that no more records can arrive.
    #[inline]
    pub fn floor_ms(&self, bound: &TimeBound) -> i64 {
        bound.least(&|input| self.reached[input].counted_ms(), &|hold, ms| {
            self.holds[hold.0].promise_ms(ms, self.undone)
        })
    }

    /// The time at which windows close, given the largest timestamp that the operator has seen: with
    /// several origins, according to the slowest of them; with one, and when all have ended, according to
    /// what was seen.
    #[inline]
    pub fn closing_time_ms(&self, bound: &TimeBound, observed_ms: i64) -> i64 {
        match bound.has_several_origins() {
            true => match self.floor_ms(bound) {
                i64::MAX => observed_ms,
                floor_ms => floor_ms,
            },
            false => observed_ms,
        }
    }

    /// An operator reports the oldest timestamp that it holds, `i64::MAX` if none.
    pub fn set_held(&mut self, hold: HoldId, oldest_ms: i64) {
        let undone = self.undone;
        let hold = &mut self.holds[hold.0];
        hold.oldest_ms = Some(oldest_ms);
        hold.undone = undone;
    }

    /// Whether every operator has reported what it holds, since the task was made or a record was undone.
    pub(super) fn knows_holds(&self) -> bool {
        let mut holds = self.holds.iter();
        holds.all(|hold| hold.oldest_ms.is_some() && hold.undone == self.undone)
    }

    /// What is promised at a sink, and what would be promised without leaving out silent inputs: the
    /// clock by which a record without its own origin is late.
    fn promises_ms(&self, bound: &TimeBound) -> (i64, i64) {
        let held_ms = |hold: HoldId, ms| self.holds[hold.0].promise_ms(ms, self.undone);
        let own_ms = bound.least(&|input| self.reached[input].time_ms, &held_ms);
        (self.floor_ms(bound), own_ms)
    }

    /// Sets a timer of `node`, which declares [`Calls::timers`](super::Calls::timers). It is first due at
    /// `first_ms`; without it, at 0 by stream time, which is with the next record, or one interval from
    /// now by the wall clock. Then it is due every `every`, aligned to the first time; if several
    /// intervals pass at once, it fires once. A timer that is already set with that name and clock keeps
    /// its due time and gets the new interval.
    ///
    /// # Errors
    /// `User` if the interval is shorter than a millisecond, the name is empty, or the node has no timers.
    pub fn schedule(
        &mut self,
        node: NodeId,
        timer: &str,
        first_ms: Option<i64>,
        every: Duration,
        clock: Clock,
    ) -> Result<()> {
        let wall_ms = self.wall_ms;
        self.timers
            .schedule(node, timer, first_ms, every, clock, wall_ms)
    }

    /// Cancels a timer of `node`; returns whether it was set.
    ///
    /// # Errors
    /// `User` if the node has no timers.
    pub fn cancel(&mut self, node: NodeId, timer: &str) -> Result<bool> {
        self.timers.cancel(node, timer)
    }

    /// Enters a stage, to which errors are then attributed, and returns the previous one.
    #[inline]
    pub fn enter(&mut self, stage: Stage) -> Stage {
        std::mem::replace(&mut self.stage, stage)
    }

    /// The partition of an output topic for a record.
    ///
    /// # Errors
    /// `User` if the topic has no partition of the chosen number.
    #[inline]
    pub fn partition_of(&self, output: OutputId, partition_by: PartitionBy<'_>) -> Result<u32> {
        let spec = self.effects.output(output);
        match partition_by {
            PartitionBy::Number(number) if number >= spec.partitions => Err(Error::user(format!(
                "a partitioner chose partition {number} of topic {}, which has {}: they count from 0",
                spec.topic, spec.partitions
            ))),
            PartitionBy::Number(number) => Ok(number),
            _ if spec.partitions == 1 => Ok(0),
            PartitionBy::Key(bytes) => Ok(partition_for_key(bytes, spec.partitions)),
            PartitionBy::Task => Ok(self.partition % spec.partitions),
        }
    }

    /// The partition of an output topic that the task of that number reads.
    pub fn partition_of_task(&self, output: OutputId, task: u32) -> u32 {
        task % self.effects.output(output).partitions
    }

    /// Writes an encoded record to a partition of an output topic.
    ///
    /// # Errors
    /// `TooLarge` if the record is too large for the topic, `User` if its timestamp is negative.
    pub fn write_to(
        &mut self,
        (output, partition): (OutputId, u32),
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &Headers,
        time: Option<&(SinkTime, TimeBound)>,
    ) -> Result<()> {
        let spec = self.effects.output(output);
        let mut size =
            key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + headers.byte_len();
        if spec.clocked {
            // Its clock is also a header.
            size += CLOCK_HEADER.len() + HEADER_MAX;
        }
        if size > spec.max_record_bytes || timestamp_ms < 0 {
            return Err(refuse(
                &spec.topic,
                size,
                spec.max_record_bytes,
                timestamp_ms,
            ));
        }
        let headers = headers.as_slice();
        let Some((time, bound)) = time else {
            self.effects
                .append(output, partition, key, value, timestamp_ms, headers, None);
            return Ok(());
        };
        time.forget_end();
        if !self.effects.output(output).clocked {
            self.effects
                .append(output, partition, key, value, timestamp_ms, headers, None);
            return Ok(());
        }
        let (promise_ms, own_ms) = self.promises_ms(bound);
        let clock_ms = time.advance(promise_ms);
        let own_ms = if own_ms == promise_ms {
            clock_ms
        } else {
            own_ms
        };
        let mark = ClockMark {
            carrier: Carrier::Record,
            origin: self.partition,
            clock_ms,
            late_clock_ms: self.origin_clock_ms.unwrap_or(own_ms),
        };
        let mut bytes = [0; HEADER_MAX];
        let mark = Some((CLOCK_HEADER, mark.encode(&mut bytes)));
        self.effects
            .append(output, partition, key, value, timestamp_ms, headers, mark);
        self.effects.set_clock(output, partition, clock_ms);
        Ok(())
    }

    /// The records to be written.
    pub fn effects(&mut self) -> &mut Effects {
        &mut self.effects
    }
}

#[cold]
fn refuse(topic: &str, size: usize, max_record_bytes: usize, timestamp_ms: i64) -> Error {
    if timestamp_ms < 0 {
        return Error::user(format!(
            "a record for topic {topic} has the timestamp {timestamp_ms}"
        ));
    }
    let message =
        format!("a record for topic {topic} has {size} bytes, the topic takes {max_record_bytes}");
    Error::new(ErrorKind::TooLarge, message)
}
