//! Time across a repartition topic (decision D13): one clock per upstream task.
//!
//! Every record on a repartition topic that several tasks write carries a header: the origin's number
//! and the largest timestamp that the origin has sent on the topic. An origin that is silent on a
//! partition sends the clock alone, at commit. The reader keeps the largest clock of each origin.
//!
//! ```text
//! header "marea.clock":  kind 1 byte (0 record, 1 clock alone) | origin u32 BE | clock i64 BE
//! ```
//!
//! A clock of `i64::MAX` says that the origin's input has ended; its next record takes that back.

use crate::base::{Error, NO_TIMESTAMP, Result};
use crate::log::RecordRef;
use crate::state::TimeSlot;

/// Name of the engine's header. It is stripped when a record is read.
pub const CLOCK_HEADER: &str = "marea.clock";
const HEADER_LEN: usize = 13;

/// What a record says about its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClockMark {
    pub(super) alone: bool,
    pub(super) origin: u32,
    pub(super) clock_ms: i64,
}

impl ClockMark {
    pub(super) fn encode(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = u8::from(self.alone);
        bytes[1..5].copy_from_slice(&self.origin.to_be_bytes());
        bytes[5..13].copy_from_slice(&self.clock_ms.to_be_bytes());
        bytes
    }

    /// Reads the mark of a record; `None` where a foreign writer left it out.
    pub(super) fn of(record: &RecordRef<'_>) -> Result<Option<Self>> {
        if record.has_no_headers() {
            return Ok(None);
        }
        let Some(bytes) = record.mark(CLOCK_HEADER)? else {
            return Ok(None);
        };
        let bytes: [u8; HEADER_LEN] = bytes.try_into().map_err(|_| {
            Error::corrupt(format!(
                "header {CLOCK_HEADER} has {} bytes, not 13",
                bytes.len()
            ))
        })?;
        let [kind, o0, o1, o2, o3, c0, c1, c2, c3, c4, c5, c6, c7] = bytes;
        Ok(Some(Self {
            alone: kind == 1,
            origin: u32::from_be_bytes([o0, o1, o2, o3]),
            clock_ms: i64::from_be_bytes([c0, c1, c2, c3, c4, c5, c6, c7]),
        }))
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

    /// Takes the clock of a record and returns the origin's own clock.
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
        Ok(clock.get())
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

    /// The least clock among the origins that have not ended; `i64::MAX` when all have, or where
    /// there is but one.
    pub(super) fn floor_ms(&self) -> i64 {
        if !self.are_several() {
            return i64::MAX;
        }
        let open = self
            .clocks
            .iter()
            .zip(&self.ended)
            .filter(|(_, ended)| ended.get() != 1);
        open.map(|(clock, _)| clock.get().max(NO_TIMESTAMP))
            .min()
            .unwrap_or(i64::MAX)
    }
}

/// The clock that a task sends on a repartition topic: the largest timestamp it sent there.
#[derive(Clone, Debug)]
pub struct SinkTime {
    clock: TimeSlot,
    ended: TimeSlot,
}

impl SinkTime {
    pub(super) fn new(clock: TimeSlot, ended: TimeSlot) -> Self {
        Self { clock, ended }
    }

    /// Moves the clock to `time_ms`, if that is forward, and returns it. `i64::MAX` says that the
    /// task's input has ended.
    pub fn observe(&self, time_ms: i64) -> i64 {
        if time_ms == i64::MAX {
            self.ended.set(1);
            return time_ms;
        }
        if self.ended.get() == 1 {
            self.ended.set(0);
        }
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
