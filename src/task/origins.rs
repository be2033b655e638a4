//! Time across a repartition topic (ADR 0010): one clock for each upstream task.
//!
//! Every record on a repartition topic that several tasks write carries a header: the origin's number and
//! its clock, which is a promise: no earlier record is still to come from it, apart from what is out of
//! order in its own input. An origin that sends nothing to a partition sends the clock without a record,
//! at commit. The reader keeps the largest clock of each origin.
//!
//! Whether a record is late is judged by the clock of its origin, as of that record. If that differs from
//! the clock of its sender (the sender read several origins, or left out an input that was silent), it is
//! sent along with the record.
//!
//! An origin whose input is silent is left out by a lease that it renews: time here may reach what the
//! others had at the previous renewal. So an origin that returns within a renewal loses nothing.
//!
//! ```text
//! header "marea.clock":  kind 1 byte (0 record, 1 clock alone, 2 silent) | origin u32 BE | clock i64 BE
//!                        | where it differs: clock for lateness i64 BE
//! ```
//!
//! A clock of `i64::MAX` means that the origin's input has ended; the next record of any origin revokes
//! that for all of them: more is coming, and it is a matter of pace from which one.

use crate::base::{Error, NO_TIMESTAMP, Result};
use crate::batch::RecordRef;
use crate::state::{StoredTime, TaskState};

/// Name of the engine's header. It is stripped when a record is read.
pub const CLOCK_HEADER: &str = "marea.clock";
const HEADER_LEN: usize = 13;
/// Length of the longest header.
pub(super) const HEADER_MAX: usize = HEADER_LEN + 8;

/// What a clock is sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// A record.
    Record,
    /// No record: only the clock.
    Alone,
    /// No record, and the origin's input is silent.
    Silent,
}

/// What a record says about its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClockMark {
    pub(super) carrier: Carrier,
    pub(super) origin: u32,
    pub(super) clock_ms: i64,
    /// The clock against which lateness is judged.
    pub(super) late_clock_ms: i64,
}

impl ClockMark {
    /// A clock without a record.
    pub(super) fn alone(carrier: Carrier, origin: u32, clock_ms: i64) -> Self {
        Self {
            carrier,
            origin,
            clock_ms,
            late_clock_ms: clock_ms,
        }
    }

    pub(super) fn encode(self, bytes: &mut [u8; HEADER_MAX]) -> &[u8] {
        bytes[0] = self.carrier as u8;
        bytes[1..5].copy_from_slice(&self.origin.to_be_bytes());
        bytes[5..13].copy_from_slice(&self.clock_ms.to_be_bytes());
        bytes[13..].copy_from_slice(&self.late_clock_ms.to_be_bytes());
        match self.late_clock_ms == self.clock_ms {
            true => &bytes[..HEADER_LEN],
            false => bytes,
        }
    }

    /// Reads the mark of a record; `None` if a foreign writer omitted it.
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
                "header {CLOCK_HEADER} of {} bytes is not laid out as this version writes it",
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
        let carrier = match kind {
            0 => Carrier::Record,
            1 => Carrier::Alone,
            2 => Carrier::Silent,
            _ => return None,
        };
        Some(Self {
            carrier,
            origin: u32::from_be_bytes(*origin),
            clock_ms: i64::from_be_bytes(*clock),
            late_clock_ms: i64::from_be_bytes(*late_clock),
        })
    }
}

/// Whether a record of a repartition topic only carries a clock.
///
/// # Errors
/// `Corrupt` for a clock that this version cannot read.
pub(crate) fn is_clock_alone(record: &RecordRef<'_>) -> Result<bool> {
    let mark = ClockMark::of(record)?;
    Ok(mark.is_some_and(|mark| mark.carrier != Carrier::Record))
}

/// Why an origin is left out, as stored in its slot; a lease is its time plus [`LEASED`].
const NEVER: i64 = NO_TIMESTAMP;
const BACK_FROM_SILENCE: i64 = -2;
const PRESENT: i64 = 0;
const ENDED: i64 = 1;
const LEASED: i64 = 2;

/// The clocks of the origins of one input.
#[derive(Debug)]
pub(super) struct Origins {
    /// The largest clock of each origin, kept with the state.
    clocks: Vec<StoredTime>,
    /// Whether and why each is left out.
    left_out: Vec<StoredTime>,
    /// What the others had when an origin last said that it is silent: its lease if it says so again.
    /// Lost with the process, which costs one renewal.
    offered: Vec<Option<i64>>,
    /// How far time has advanced here; it never goes back.
    floor: StoredTime,
    /// The smallest of the clocks that count, as long as nothing has changed.
    least_ms: Option<i64>,
}

/// How far a record's own origin had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OriginClock {
    /// The clock by which the record may be late.
    pub(super) late_clock_ms: i64,
    /// Whether the origin was left out because it was silent, and has not caught up.
    pub(super) was_silent: bool,
}

impl Origins {
    /// Those of an input, kept with the state.
    pub(super) fn of(state: &TaskState, topic: &str, count: u32) -> Self {
        let slot = |what: &str, origin| state.time(&format!("{what}/{topic}/{origin}"));
        Self::new(
            (0..count).map(|origin| slot("origin", origin)).collect(),
            (0..count)
                .map(|origin| slot("origin-ended", origin))
                .collect(),
            state.time(&format!("origin-floor/{topic}")),
        )
    }

    fn new(clocks: Vec<StoredTime>, left_out: Vec<StoredTime>, floor: StoredTime) -> Self {
        let mut origins = Self {
            offered: vec![None; clocks.len()],
            clocks,
            left_out,
            floor,
            least_ms: None,
        };
        origins.raise_floor();
        origins
    }

    /// Takes the clock of a record and returns how far its origin has advanced.
    pub(super) fn observe(&mut self, mark: ClockMark) -> Result<OriginClock> {
        let origin = mark.origin as usize;
        let (Some(clock), Some(left_out)) = (self.clocks.get(origin), self.left_out.get(origin))
        else {
            let message = format!(
                "a record says it comes from task {origin} of the upstream sub-topology, which has {} tasks; the \
                 number of input partitions changed: reset the application",
                self.clocks.len()
            );
            return Err(Error::corrupt(message));
        };
        let before = (counted(clock, left_out), left_out.get());
        match (mark.carrier, mark.clock_ms) {
            (_, i64::MAX) => left_out.set(ENDED),
            (Carrier::Silent, clock_ms) => {
                clock.raise(clock_ms);
                self.renew(origin);
            }
            (_, clock_ms) => {
                self.offered[origin] = None;
                clock.raise(clock_ms);
                match left_out.get() {
                    LEASED.. => left_out.set(BACK_FROM_SILENCE),
                    // The input continues beyond its end. The others may be about to continue too, only
                    // later: an origin that has really ended says so again.
                    ENDED => self.forget_ends(),
                    _ => {}
                }
            }
        }
        // An origin that was not the slowest, and only advanced, changes nothing.
        let same = before.1 == self.left_out[origin].get() && before.0 > self.least_ms;
        if !same {
            self.raise_floor();
        }
        let (clock, left_out) = (&self.clocks[origin], &self.left_out[origin]);
        if left_out.get() == BACK_FROM_SILENCE && clock.get() >= self.floor.get() {
            left_out.set(PRESENT);
        }
        let late_clock_ms = match mark.late_clock_ms == mark.clock_ms {
            true => clock.get(),
            false => mark.late_clock_ms,
        };
        Ok(OriginClock {
            late_clock_ms,
            was_silent: left_out.get() == BACK_FROM_SILENCE || mark.late_clock_ms < mark.clock_ms,
        })
    }

    /// A silent origin holds back nothing beyond what the others had at the previous renewal.
    fn renew(&mut self, origin: usize) {
        let others = self.clocks.iter().enumerate();
        let others = others.filter(|(other, _)| *other != origin);
        let ahead_ms = others.map(|(_, clock)| clock.get()).max();
        let lease_ms = std::mem::replace(&mut self.offered[origin], ahead_ms);
        let left_out = &self.left_out[origin];
        if let Some(lease_ms) = lease_ms.filter(|lease_ms| *lease_ms >= 0) {
            left_out.raise(lease_ms.saturating_add(LEASED).min(i64::MAX - 1));
        }
    }

    fn raise_floor(&mut self) {
        let open = self.clocks.iter().zip(&self.left_out);
        self.least_ms = open.filter_map(|(clock, left)| counted(clock, left)).min();
        if let Some(least_ms) = self.least_ms {
            self.floor.raise(least_ms);
        }
    }

    /// Whether there is more than one: otherwise there is nothing to wait for.
    pub(super) fn are_several(&self) -> bool {
        self.clocks.len() > 1
    }

    /// Whether every origin has said that its input ended.
    pub(super) fn have_ended(&self) -> bool {
        self.left_out.iter().all(|left_out| left_out.get() == ENDED)
    }

    /// Whether any origin has ever said anything.
    pub(super) fn were_heard(&self) -> bool {
        let said = |(clock, left): (&StoredTime, &StoredTime)| {
            clock.get() != NO_TIMESTAMP || !matches!(left.get(), NEVER | PRESENT)
        };
        self.clocks.iter().zip(&self.left_out).any(said)
    }

    /// Assumes that no origin has ended.
    pub(super) fn forget_ends(&mut self) {
        for left_out in &self.left_out {
            if left_out.get() == ENDED {
                left_out.set(PRESENT);
            }
        }
        self.raise_floor();
    }

    /// How far all origins have advanced; `i64::MAX` when all have ended. It never goes back.
    pub(super) fn floor_ms(&self) -> i64 {
        match self.have_ended() {
            true => i64::MAX,
            false => self.floor.get(),
        }
    }

    /// The clock of the origin that is ahead of the others.
    pub(super) fn ahead_ms(&self) -> i64 {
        let clocks = self.clocks.iter().map(StoredTime::get);
        clocks.max().unwrap_or(NO_TIMESTAMP)
    }

    /// The origin that holds time back, if one does.
    pub(super) fn slowest(&self) -> Option<u32> {
        let origins = self.clocks.iter().zip(&self.left_out).enumerate();
        let counted = origins
            .filter_map(|(origin, (clock, left))| Some((counted(clock, left)?, origin as u32)));
        let (least_ms, origin) = counted.min()?;
        (least_ms < self.ahead_ms()).then_some(origin)
    }
}

/// The clock of an origin for this purpose; `None` once it has ended.
fn counted(clock: &StoredTime, left_out: &StoredTime) -> Option<i64> {
    match left_out.get() {
        ENDED => None,
        lease @ LEASED.. => Some(clock.get().max(lease - LEASED)),
        _ => Some(clock.get().max(NO_TIMESTAMP)),
    }
}
