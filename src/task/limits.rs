//! Where a step of a task ends.

use std::fmt;

/// Where a step of a task ends, whichever comes first. It processes at least one record.
#[derive(Clone, Copy)]
pub struct StepLimits<'a> {
    /// Records taken.
    pub records: usize,
    /// Bytes produced: records to be written, and uncommitted rows. Checked as often as the clock.
    pub bytes: usize,
    /// Its duration, in nanoseconds.
    pub duration_ns: u64,
    /// The clock, in nanoseconds. A task has none of its own; this one is read less often the faster
    /// records are handled.
    pub clock: &'a dyn Fn() -> u64,
}

impl StepLimits<'static> {
    /// This many records, however long they take and however much they produce.
    pub fn records(records: usize) -> Self {
        Self {
            records,
            bytes: usize::MAX,
            duration_ns: u64::MAX,
            clock: &|| 0,
        }
    }
}

/// This many records.
impl From<usize> for StepLimits<'static> {
    fn from(records: usize) -> Self {
        Self::records(records)
    }
}

impl<'a> From<&StepLimits<'a>> for StepLimits<'a> {
    fn from(limits: &StepLimits<'a>) -> Self {
        *limits
    }
}

impl fmt::Debug for StepLimits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepLimits")
            .field("records", &self.records)
            .field("bytes", &self.bytes)
            .field("duration_ns", &self.duration_ns)
            .finish_non_exhaustive()
    }
}

/// How many records a task handles between two checks of its step's limits.
///
/// Reading a clock costs as much as handling a record that is filtered out, and a user closure may take
/// seconds. So the number grows while records are fast, and drops to one as soon as they are not; it is
/// kept from step to step, since slow records rarely come alone.
#[derive(Debug)]
pub(super) struct Pace(usize);

impl Default for Pace {
    fn default() -> Self {
        Self(1)
    }
}

impl Pace {
    const MOST: usize = 32;
    /// Reading the clock this often, in nanoseconds, costs nothing measurable.
    const OFTEN_NS: u64 = 100_000;
    /// The step would exceed its limit by about this much.
    const RARELY_NS: u64 = 1_000_000;

    fn looked(&mut self, elapsed_ns: u64, is_much: bool) {
        if elapsed_ns > Self::RARELY_NS || is_much {
            self.0 = 1;
        } else if elapsed_ns < Self::OFTEN_NS {
            self.0 = (self.0 * 2).min(Self::MOST);
        }
    }
}

/// The result of [`Task::process`](super::Task::process).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Records taken from the inputs.
    pub records: usize,
    /// Whether there is a record that could be taken next.
    pub more: bool,
}

/// A step in progress.
pub(super) struct Step<'a> {
    limits: &'a StepLimits<'a>,
    records: usize,
    /// The number of records at which the limits are checked next.
    look_at: usize,
    looked_ns: u64,
    until_ns: u64,
    /// The uncommitted bytes at the last check, and their limit.
    bytes: usize,
    bytes_most: usize,
    is_over: bool,
}

impl<'a> Step<'a> {
    pub(super) fn begin(limits: &'a StepLimits<'a>, pace: &Pace, bytes: usize) -> Self {
        let now_ns = (limits.clock)();
        Self {
            limits,
            records: 0,
            look_at: pace.0,
            looked_ns: now_ns,
            until_ns: now_ns.saturating_add(limits.duration_ns),
            bytes,
            bytes_most: bytes.saturating_add(limits.bytes),
            is_over: false,
        }
    }

    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Counts a record that was processed; returns whether [`Step::look`] is next.
    #[inline]
    pub(super) fn took(&mut self) -> bool {
        self.records += 1;
        self.is_over = self.records >= self.limits.records;
        self.records >= self.look_at
    }

    /// Checks the limits; `bytes` are waiting for a commit now.
    pub(super) fn look(&mut self, pace: &mut Pace, bytes: usize) {
        let now_ns = (self.limits.clock)();
        self.is_over |= bytes >= self.bytes_most || now_ns >= self.until_ns;
        let is_much = bytes.saturating_sub(self.bytes) > self.limits.bytes / 16;
        pace.looked(now_ns.saturating_sub(self.looked_ns), is_much);
        (self.bytes, self.looked_ns) = (bytes, now_ns);
        self.look_at = self.records + pace.0;
    }

    pub(super) fn progress(&self, more: bool) -> Progress {
        Progress {
            records: self.records,
            more,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Processes records that cost this many nanoseconds and bytes each; returns how many, and how often
    /// the clock was read.
    fn run(pace: &mut Pace, limits: (usize, usize, u64), each: (u64, usize)) -> (usize, usize) {
        let (now_ns, looks) = (Cell::new(0), Cell::new(0));
        let clock = || {
            looks.set(looks.get() + 1);
            now_ns.get()
        };
        let limits = StepLimits {
            records: limits.0,
            bytes: limits.1,
            duration_ns: limits.2,
            clock: &clock,
        };
        let mut bytes = 0;
        let mut step = Step::begin(&limits, pace, bytes);
        while !step.is_over() {
            now_ns.set(now_ns.get() + each.0);
            bytes += each.1;
            if step.took() {
                step.look(pace, bytes);
            }
        }
        (step.progress(true).records, looks.get())
    }

    const STEP_NS: u64 = 5_000_000;

    #[test]
    fn a_slow_record_ends_its_step() {
        let mut pace = Pace::default();
        for _ in 0..3 {
            assert_eq!(
                run(&mut pace, (1_000, usize::MAX, STEP_NS), (20_000_000, 0)).0,
                1
            );
        }
    }

    #[test]
    fn fast_records_hardly_look_at_the_clock() {
        let mut pace = Pace::default();
        run(&mut pace, (1_000, usize::MAX, STEP_NS), (500, 0));
        let (records, looks) = run(&mut pace, (10_000, usize::MAX, STEP_NS), (500, 0));
        assert_eq!(records, 10_000);
        assert!(looks <= 10_000 / Pace::MOST + 1, "{looks}");
    }

    #[test]
    fn records_that_become_slow_outlast_one_step_only() {
        let mut pace = Pace::default();
        run(&mut pace, (1_000, usize::MAX, STEP_NS), (500, 0));
        let (records, _) = run(&mut pace, (1_000, usize::MAX, STEP_NS), (2_000_000, 0));
        assert_eq!(records, Pace::MOST, "they were fast a moment ago");
        let (records, _) = run(&mut pace, (1_000, usize::MAX, STEP_NS), (2_000_000, 0));
        assert_eq!(records, 3);
    }

    #[test]
    fn a_step_ends_soon_after_its_bytes_are_made() {
        let mut pace = Pace::default();
        run(&mut pace, (1_000, usize::MAX, STEP_NS), (500, 0));
        let (records, _) = run(&mut pace, (1_000, 1 << 20, STEP_NS), (500, 100 << 10));
        assert_eq!(records, Pace::MOST, "they were small a moment ago");
        let (records, _) = run(&mut pace, (1_000, 1 << 20, STEP_NS), (500, 100 << 10));
        assert_eq!(records, 11);
        assert_eq!(run(&mut pace, (7, 1 << 20, STEP_NS), (500, 0)).0, 7);
    }
}
