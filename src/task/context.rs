//! What a node sees of the task while it handles a record.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::held::error_header;
use super::origins::{CLOCK_HEADER, ClockMark, HEADER_MAX, SinkTime};
use super::{Effects, ErrorPolicies, OutputId, Policy, Stage, TaskSpec, TimeBound};
use crate::base::{
    Error, ErrorKind, Header, Headers, NO_TIMESTAMP, Offset, Result, panic_message,
    partition_for_key,
};
use crate::state::Marks;

/// Why a record, or a part of its effect, was dropped. The names are those of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Its key is null where a key is needed.
    NullKey,
    /// Its value is null where a value is needed.
    NullValue,
    /// Its window had closed.
    Late,
    /// A store refused its row as older than it keeps.
    Expired,
    /// Its new key is null and it was to be repartitioned. The peer drops these without counting.
    NullRepartitionKey,
    /// A policy skipped it after an error.
    Skipped,
    /// A policy sent it to the dead letters.
    DeadLetter,
}

/// All reasons, in the order of their counters.
const REASONS: [DropReason; 7] = [
    DropReason::NullKey,
    DropReason::NullValue,
    DropReason::Late,
    DropReason::Expired,
    DropReason::NullRepartitionKey,
    DropReason::Skipped,
    DropReason::DeadLetter,
];

impl DropReason {
    /// The counter's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NullKey => "null_key",
            Self::NullValue => "null_value",
            Self::Late => "late",
            Self::Expired => "expired",
            Self::NullRepartitionKey => "null_repartition_key",
            Self::Skipped => "skipped",
            Self::DeadLetter => "dead_letter",
        }
    }
}

/// How many records were dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; REASONS.len()]);

impl Drops {
    pub(super) fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    /// The count of a reason.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Each reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        REASONS.iter().map(|reason| (*reason, self.of(*reason)))
    }

    /// What Kafka Streams' `dropped-records-total` counts: all but null repartition keys (which it
    /// loses silently) and dead letters.
    pub fn peer_total(&self) -> u64 {
        let ours = [DropReason::NullRepartitionKey, DropReason::DeadLetter];
        self.iter()
            .filter(|(reason, _)| !ours.contains(reason))
            .map(|(_, count)| count)
            .sum()
    }

    /// Adds another task's counts.
    pub fn add(&mut self, other: &Self) {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(ours, theirs)| *ours += theirs);
    }
}

/// The record being handled and what its handling leaves behind.
#[derive(Debug)]
pub struct Context {
    pub(super) effects: Effects,
    pub(super) drops: Drops,
    /// Per input: the least clock among its origins; `i64::MAX` where time needs no waiting.
    pub(super) floors: Vec<i64>,
    /// The clock of the current record's own origin, where its topic has several.
    pub(super) late_clock_ms: Option<i64>,
    /// The same where its topic has one origin that sends its clock: what is passed on with what the
    /// record becomes.
    pub(super) origin_clock_ms: Option<i64>,
    /// Those of the task's state.
    marks: Marks,
    policies: ErrorPolicies,
    pub(super) dead_letters: Option<OutputId>,
    pub(super) stage: Stage,
    pub(super) partition: u32,
    pub(super) topic: Arc<str>,
    pub(super) offset: Offset,
    pub(super) stream_time_ms: i64,
    pub(super) wall_ms: i64,
    /// Number of records undone.
    pub(super) undone: u64,
}

impl Context {
    pub(super) fn new(
        effects: Effects,
        spec: &TaskSpec,
        marks: Marks,
        policies: ErrorPolicies,
    ) -> Self {
        Self {
            effects,
            drops: Drops::default(),
            floors: vec![i64::MAX; spec.inputs.len()],
            late_clock_ms: None,
            origin_clock_ms: None,
            marks,
            policies,
            dead_letters: spec.dead_letters.map(OutputId),
            stage: Stage::Decode,
            partition: spec.partition,
            topic: "".into(),
            offset: -1,
            stream_time_ms: NO_TIMESTAMP,
            wall_ms: 0,
            undone: 0,
        }
    }

    /// What is handled next has no origin.
    pub(super) fn forget_clocks(&mut self) {
        self.late_clock_ms = None;
        self.origin_clock_ms = None;
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

    /// The largest timestamp that the task has taken from its inputs, in milliseconds.
    pub fn stream_time_ms(&self) -> i64 {
        self.stream_time_ms
    }

    /// The wall clock when the task was last stepped, in milliseconds since 1970.
    pub fn wall_ms(&self) -> i64 {
        self.wall_ms
    }

    /// How many records were undone so far. What an operator remembers of its store beside the store
    /// holds only as long as this does not change.
    pub fn undone(&self) -> u64 {
        self.undone
    }

    /// A source says that its record decoded, so that errors from here on are of processing.
    pub fn decoded(&mut self) {
        self.stage = Stage::Process;
    }

    /// The time against which lateness is judged, given the largest timestamp that the operator has
    /// seen (decision D13): the clock of the record's own origin where there are several.
    #[inline]
    pub fn lateness_time_ms(&self, observed_ms: i64) -> i64 {
        self.late_clock_ms.unwrap_or(observed_ms)
    }

    /// No window that ends after this may be closed yet: the least clock among the origins that
    /// reach the operator.
    #[inline]
    pub fn floor_ms(&self, bound: &TimeBound) -> i64 {
        bound
            .inputs()
            .iter()
            .map(|input| self.floors[*input])
            .min()
            .unwrap_or(i64::MAX)
    }

    /// Runs a part of the graph. If it fails and the policies call for it, nothing of what it did
    /// remains; a panic is an error of the user's closure.
    pub(super) fn guarded(&mut self, run: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let marked = self.policies.needs_marks();
        let drops = self.drops;
        if marked {
            self.marks.set();
            self.effects.mark();
        }
        let outcome = caught(|| run(self));
        if let Err(error) = &outcome
            && error.kind() == ErrorKind::TooLarge
        {
            self.stage = Stage::Encode;
        }
        match (marked, &outcome) {
            (false, _) => {}
            (true, Ok(())) => {
                self.marks.clear();
                self.effects.clear_mark();
            }
            (true, Err(_)) => {
                self.marks.undo()?;
                self.effects.undo_to_mark();
                self.drops = drops;
                self.undone += 1;
            }
        }
        outcome
    }

    /// What becomes of what failed.
    pub(super) fn policy_of(&self, stage: Stage, error: &Error) -> Policy {
        // Only an error of the record itself can be skipped: a store that fails fails for all.
        let policy = match error.kind() {
            ErrorKind::User | ErrorKind::TooLarge => self.policies.of(stage),
            _ => Policy::Fail,
        };
        match (policy, self.dead_letters) {
            (Policy::DeadLetter, None) => Policy::Fail,
            _ => policy,
        }
    }

    /// Appends a dead letter that names the current record, and counts it.
    ///
    /// # Errors
    /// `Invalid` if it is larger than the topic of the dead letters takes.
    pub(super) fn dead_letter(
        &mut self,
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        timestamp_ms: i64,
        mut headers: Vec<Header>,
        stage: Stage,
        message: String,
    ) -> Result<()> {
        let Some(output) = self.dead_letters else {
            return Ok(());
        };
        headers.push(error_header("topic", self.topic.to_string()));
        headers.push(error_header("partition", self.partition.to_string()));
        headers.push(error_header("offset", self.offset.to_string()));
        headers.push(error_header("stage", stage.name().to_owned()));
        headers.push(error_header("message", message));
        let headers = Headers::from_vec(headers);
        let spec = self.effects.output(output);
        let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + headers.byte_len();
        if size > spec.max_record_bytes {
            return Err(Error::invalid(format!(
                "a dead letter of {size} bytes, with the headers that say why, is larger than the {} \
                 that topic {} takes; raise that topic's limit",
                spec.max_record_bytes, spec.topic
            )));
        }
        let partition = self.partition % spec.partitions;
        let timestamp_ms = timestamp_ms.max(0);
        let headers = headers.as_slice();
        self.effects
            .append(output, partition, key, value, timestamp_ms, headers, None);
        self.drop_record(DropReason::DeadLetter);
        Ok(())
    }

    /// Enters a stage, so that an error counts for it, and returns the one that was left.
    pub fn enter(&mut self, stage: Stage) -> Stage {
        std::mem::replace(&mut self.stage, stage)
    }

    /// Writes an encoded record to an output topic, on the partition that `partition_by` hashes to,
    /// or the task's own where there is no key.
    ///
    /// # Errors
    /// `TooLarge` when the record is larger than the topic takes, `User` when its timestamp is negative.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a record, borrowed from buffers"
    )]
    pub fn write(
        &mut self,
        output: OutputId,
        partition_by: Option<&[u8]>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &Headers,
        time: Option<&SinkTime>,
    ) -> Result<()> {
        let spec = self.effects.output(output);
        let partition = match partition_by {
            _ if spec.partitions == 1 => 0,
            Some(bytes) => partition_for_key(bytes, spec.partitions),
            None => self.partition % spec.partitions,
        };
        let mut size =
            key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + headers.byte_len();
        if spec.clocked {
            // Its clock is a header too.
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
        let Some(time) = time else {
            self.effects
                .append(output, partition, key, value, timestamp_ms, headers, None);
            return Ok(());
        };
        let (clock_ms, late_clock_ms) = time.send(timestamp_ms, self.origin_clock_ms, |bound| {
            self.floor_ms(bound)
        });
        if !self.effects.output(output).clocked {
            self.effects
                .append(output, partition, key, value, timestamp_ms, headers, None);
            return Ok(());
        }
        let mark = ClockMark {
            alone: false,
            origin: self.partition,
            clock_ms,
            late_clock_ms,
        };
        let mut bytes = [0; HEADER_MAX];
        let mark = Some((CLOCK_HEADER, mark.encode(&mut bytes)));
        self.effects
            .append(output, partition, key, value, timestamp_ms, headers, mark);
        self.effects.set_clock(output, partition, clock_ms);
        Ok(())
    }

    /// Tells the readers of an output topic, at the next commit, that time has passed; see
    /// [`Push::tick`](super::Push::tick).
    pub fn write_time(&self, time: &SinkTime, time_ms: i64) {
        time.tick(time_ms, |bound| self.floor_ms(bound));
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

/// Runs what may call closures of the user's: a panic of theirs is an error of theirs.
fn caught(run: impl FnOnce() -> Result<()>) -> Result<()> {
    let outcome = catch_unwind(AssertUnwindSafe(run));
    outcome.unwrap_or_else(|panic| {
        let said = panic_message(&*panic);
        Err(Error::user(format!("a closure panicked: {said}")))
    })
}
