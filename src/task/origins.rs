//! Time across a repartition topic (decision D13): one clock per upstream task.
//!
//! Every record on a repartition topic that several tasks write carries a header: the origin's number
//! and its clock, up to which it has sent everything: the largest timestamp that it has sent on the
//! topic. An origin that is silent on a partition sends the clock alone, at commit. The reader keeps
//! the largest clock of each origin.
//!
//! An origin that itself reads such a topic takes records from several origins in an order that
//! depends on their paces. Its clock is then no larger than the least of theirs, and whether one of
//! its records is late is judged by the clock of the origin that the record came from, which goes with
//! the record where it differs.
//!
//! ```text
//! header "marea.clock":  kind 1 byte (0 record, 1 clock alone) | origin u32 BE | clock i64 BE
//!                        | where it differs: clock for lateness i64 BE
//! ```
//!
//! A clock of `i64::MAX` says that the origin's input has ended; its next record takes that back.

use crate::base::{Error, NO_TIMESTAMP, Result};
use crate::log::RecordRef;
use crate::state::TimeSlot;

use super::TimeBound;

/// Name of the engine's header. It is stripped when a record is read.
pub const CLOCK_HEADER: &str = "marea.clock";
const HEADER_LEN: usize = 13;
/// Length of the longest header.
pub(super) const HEADER_MAX: usize = HEADER_LEN + 8;

/// What a record says about its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClockMark {
    pub(super) alone: bool,
    pub(super) origin: u32,
    pub(super) clock_ms: i64,
    /// The clock against which lateness is judged; not less than the other.
    pub(super) late_clock_ms: i64,
}

impl ClockMark {
    /// The clock alone.
    pub(super) fn alone(origin: u32, clock_ms: i64) -> Self {
        Self {
            alone: true,
            origin,
            clock_ms,
            late_clock_ms: clock_ms,
        }
    }

    pub(super) fn encode(self, bytes: &mut [u8; HEADER_MAX]) -> &[u8] {
        bytes[0] = u8::from(self.alone);
        bytes[1..5].copy_from_slice(&self.origin.to_be_bytes());
        bytes[5..13].copy_from_slice(&self.clock_ms.to_be_bytes());
        bytes[13..].copy_from_slice(&self.late_clock_ms.to_be_bytes());
        match self.late_clock_ms == self.clock_ms {
            true => &bytes[..HEADER_LEN],
            false => bytes,
        }
    }

    /// Reads the mark of a record; `None` where a foreign writer left it out.
    pub(super) fn of(record: &RecordRef<'_>) -> Result<Option<Self>> {
        if record.has_no_headers() {
            return Ok(None);
        }
        let Some(bytes) = record.mark(CLOCK_HEADER)? else {
            return Ok(None);
        };
        let mark = Self::decode(bytes);
        mark.map(Some).ok_or_else(|| {
            Error::corrupt(format!(
                "header {CLOCK_HEADER} has {} bytes, not {HEADER_LEN} or {HEADER_MAX}",
                bytes.len()
            ))
        })
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (origin, rest) = rest.split_first_chunk::<4>()?;
        let (clock, rest) = rest.split_first_chunk::<8>()?;
        let late_clock = match rest {
            [] => clock,
            rest => rest.first_chunk::<8>().filter(|_| rest.len() == 8)?,
        };
        Some(Self {
            alone: *kind == 1,
            origin: u32::from_be_bytes(*origin),
            clock_ms: i64::from_be_bytes(*clock),
            late_clock_ms: i64::from_be_bytes(*late_clock),
        })
    }
}

/// The clocks of the origins of one input.
#[derive(Debug)]
pub(super) struct Origins {
    /// The largest clock of each origin, kept with the state.
    clocks: Vec<TimeSlot>,
    /// 1 where the origin's input has ended.
    ended: Vec<TimeSlot>,
}

impl Origins {
    pub(super) fn new(clocks: Vec<TimeSlot>, ended: Vec<TimeSlot>) -> Self {
        Self { clocks, ended }
    }

    /// Takes the clock of a record and returns the clock that it may be late by.
    pub(super) fn observe(&mut self, mark: ClockMark) -> Result<i64> {
        let origin = mark.origin as usize;
        let (Some(clock), Some(ended)) = (self.clocks.get(origin), self.ended.get(origin)) else {
            let message = format!(
                "a record says it comes from task {origin} of the upstream sub-topology, which has {} tasks; the \
                 number of input partitions changed: reset the application",
                self.clocks.len()
            );
            return Err(Error::corrupt(message));
        };
        if mark.clock_ms == i64::MAX {
            ended.set(1);
        } else {
            if ended.get() == 1 {
                ended.set(0);
            }
            if mark.clock_ms > clock.get() {
                clock.set(mark.clock_ms);
            }
        }
        match mark.late_clock_ms == mark.clock_ms {
            true => Ok(clock.get()),
            false => Ok(mark.late_clock_ms),
        }
    }

    /// Whether there is more than one: else time needs no waiting.
    pub(super) fn are_several(&self) -> bool {
        self.clocks.len() > 1
    }

    /// Whether every origin has said that its input ended.
    pub(super) fn have_ended(&self) -> bool {
        self.ended.iter().all(|ended| ended.get() == 1)
    }

    /// Takes it that no origin has ended.
    pub(super) fn forget_ends(&self) {
        self.ended
            .iter()
            .filter(|ended| ended.get() == 1)
            .for_each(|ended| ended.set(0));
    }

    /// How far time has come here: the least clock among the origins that have not ended. When all have
    /// ended or are silent it has come as far as the one that was ahead.
    pub(super) fn time_ms(&self) -> i64 {
        let least_ms = self.least_open_ms();
        let clocks = || self.clocks.iter().map(TimeSlot::get);
        least_ms.unwrap_or_else(|| clocks().max().unwrap_or(NO_TIMESTAMP))
    }

    /// The least clock among the origins that have not ended; `i64::MAX` when all have, or where
    /// there is but one.
    pub(super) fn floor_ms(&self) -> i64 {
        if !self.are_several() {
            return i64::MAX;
        }
        self.least_open_ms().unwrap_or(i64::MAX)
    }

    fn least_open_ms(&self) -> Option<i64> {
        let open = self
            .clocks
            .iter()
            .zip(&self.ended)
            .filter(|(_, ended)| ended.get() != 1);
        open.map(|(clock, _)| clock.get().max(NO_TIMESTAMP)).min()
    }
}

/// The clock that a task sends on a repartition topic: the largest timestamp it sent there, but no
/// more than the least clock of the origins that it reads.
#[derive(Clone, Debug)]
pub struct SinkTime {
    clock: TimeSlot,
    ended: TimeSlot,
    /// What holds the clock back, and the largest timestamp sent.
    held_back: Option<(TimeBound, TimeSlot)>,
}

impl SinkTime {
    pub(super) fn new(clock: TimeSlot, ended: TimeSlot) -> Self {
        Self {
            clock,
            ended,
            held_back: None,
        }
    }

    /// Holds the clock back by the origins of some inputs; `largest` is where the largest timestamp
    /// that was sent is kept.
    pub(super) fn held_back_by(mut self, bound: TimeBound, largest: TimeSlot) -> Self {
        self.held_back = Some((bound, largest));
        self
    }

    /// A record is sent: moves the clock and returns it, and with it the clock that the record may be
    /// late by, which is `origin_clock_ms` where what it was made of had an origin.
    pub(super) fn send(
        &self,
        timestamp_ms: i64,
        origin_clock_ms: Option<i64>,
        floor_ms: impl Fn(&TimeBound) -> i64,
    ) -> (i64, i64) {
        self.forget_end();
        let Some((bound, largest)) = &self.held_back else {
            let clock_ms = self.advance(timestamp_ms);
            return (clock_ms, origin_clock_ms.unwrap_or(clock_ms).max(clock_ms));
        };
        if timestamp_ms > largest.get() {
            largest.set(timestamp_ms);
        }
        let clock_ms = self.advance(largest.get().min(floor_ms(bound)));
        let late_clock_ms = origin_clock_ms.unwrap_or(largest.get());
        (clock_ms, late_clock_ms.max(clock_ms))
    }

    /// Time has passed: nothing earlier than `time_ms` is still to be sent, unless an input that
    /// did not say so holds the clock back. `i64::MAX` says that the task's input has ended.
    pub(super) fn tick(&self, time_ms: i64, floor_ms: impl Fn(&TimeBound) -> i64) {
        if time_ms == i64::MAX {
            self.ended.set(1);
            return;
        }
        self.forget_end();
        let floor_ms = self
            .held_back
            .as_ref()
            .map_or(i64::MAX, |(bound, _)| floor_ms(bound));
        self.advance(time_ms.min(floor_ms));
    }

    fn advance(&self, time_ms: i64) -> i64 {
        if time_ms > self.clock.get() {
            self.clock.set(time_ms);
        }
        self.clock.get()
    }

    /// Takes it that the input has not ended.
    pub(super) fn forget_end(&self) {
        if self.ended.get() == 1 {
            self.ended.set(0);
        }
    }

    /// What the readers should know by now.
    pub(super) fn clock_ms(&self) -> i64 {
        if self.ended.get() == 1 {
            i64::MAX
        } else {
            self.clock.get()
        }
    }
}
