//! Windows as values.

mod spec;

use std::time::Duration;

use crate::base::{Error, Result};

pub(in crate::dsl) use self::spec::{JoinReach, SessionSpec, SlidingSpec, TimeWindowSpec};

/// Tumbling and hopping windows, aligned to 1970: `[start, start + size)`.
///
/// ```
/// use std::time::Duration;
/// use marea::dsl::TimeWindows;
/// let daily = TimeWindows::of(Duration::from_secs(86_400)).grace(Duration::from_secs(3_600));
/// let sliding_by_hour = daily.advance_by(Duration::from_secs(3_600));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWindows {
    size: Duration,
    advance: Duration,
    grace: Duration,
}

impl TimeWindows {
    /// Tumbling windows of a size, without grace: a record older than the stream's time can be late.
    pub fn of(size: Duration) -> Self {
        Self {
            size,
            advance: size,
            grace: Duration::ZERO,
        }
    }

    /// Lets a window start every `advance`: windows overlap if that is less than their size.
    #[must_use]
    pub fn advance_by(mut self, advance: Duration) -> Self {
        self.advance = advance;
        self
    }

    /// Lets a window accept records until stream time is this far past its end.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    pub(in crate::dsl) fn spec(&self) -> Result<TimeWindowSpec> {
        let size_ms = millis(self.size, "a window's size")?;
        let advance_ms = millis(self.advance, "a window's advance")?;
        let grace_ms = millis(self.grace, "a window's grace")?;
        if size_ms == 0 || advance_ms == 0 || advance_ms > size_ms {
            return Err(Error::invalid(format!(
                "windows of {size_ms} ms cannot advance by {advance_ms} ms; the size must be at least 1 ms and \
                 the advance between 1 ms and the size"
            )));
        }
        Ok(TimeWindowSpec {
            size_ms,
            advance_ms,
            grace_ms,
            only_from_ms: None,
        })
    }
}

/// Sliding windows: two records of a key share a window if their timestamps differ by at most a given
/// time. There is a window for each set of such records: one that ends with each record, and one that
/// starts after it if other records follow. Both ends are inclusive. Null values are dropped.
///
/// ```
/// # use std::time::Duration;
/// # use marea::prelude::*;
/// # let builder = StreamBuilder::new();
/// # let readings = builder.stream::<String, f64>("readings");
/// // How many readings a sensor has sent within any ten seconds.
/// readings
///     .group_by_key("by-sensor")
///     .windowed_by(SlidingWindows::of(Duration::from_secs(10)).grace(Duration::from_secs(2)))
///     .count("bursts")
///     .to_stream()
///     .to("bursts-out");
/// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindows {
    difference: Duration,
    grace: Duration,
}

impl SlidingWindows {
    /// Windows of records whose timestamps differ by at most this, without grace.
    pub fn of(difference: Duration) -> Self {
        Self {
            difference,
            grace: Duration::ZERO,
        }
    }

    /// Lets a window accept records until stream time is this far past its end.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    pub(in crate::dsl) fn spec(&self) -> Result<SlidingSpec> {
        Ok(SlidingSpec {
            difference_ms: millis(self.difference, "a sliding window's difference")?,
            grace_ms: millis(self.grace, "a window's grace")?,
        })
    }
}

/// Sessions: records of a key that follow one another within a gap. A session lasts from its first record
/// to its last; a record between two sessions merges them into one.
///
/// ```
/// # use std::time::Duration;
/// # use marea::prelude::*;
/// # let builder = StreamBuilder::new();
/// # let visits = builder.stream::<String, String>("visits");
/// visits
///     .group_by_key("by-visitor")
///     .windowed_by(SessionWindows::with_gap(Duration::from_secs(1_800)).grace(Duration::from_secs(60)))
///     .count("pages-a-session")
///     .to_stream()
///     .to("sessions"); // each with a key that has start and end; a session that grows is deleted and written anew
/// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionWindows {
    gap: Duration,
    grace: Duration,
}

impl SessionWindows {
    /// Sessions that end when no record has arrived for longer than this, without grace.
    pub fn with_gap(gap: Duration) -> Self {
        Self {
            gap,
            grace: Duration::ZERO,
        }
    }

    /// Lets a session accept records until stream time is this far past its end and the gap.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    pub(in crate::dsl) fn spec(&self) -> Result<SessionSpec> {
        let gap_ms = millis(self.gap, "a session's gap")?;
        let grace_ms = millis(self.grace, "a session's grace")?;
        if gap_ms == 0 {
            return Err(Error::invalid(
                "the gap of sessions is 0 ms; it must be at least 1 ms",
            ));
        }
        Ok(SessionSpec { gap_ms, grace_ms })
    }
}

/// One window with a start but no end. Older records are in no window.
///
/// ```
/// # use marea::prelude::*;
/// # let builder = StreamBuilder::new();
/// # let readings = builder.stream::<String, String>("readings");
/// readings
///     .group_by_key("by-sensor")
///     .windowed_by(UnlimitedWindows::from(1_767_225_600_000)) // from 2026 on
///     .count("since-2026")
///     .to_stream()
///     .to("since-2026-out");
/// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnlimitedWindows {
    from_ms: i64,
}

impl UnlimitedWindows {
    /// The window starts at `from_ms`, in milliseconds since 1970; a time before 1970 counts as 1970.
    pub fn from(from_ms: i64) -> Self {
        Self {
            from_ms: from_ms.max(0),
        }
    }

    pub(in crate::dsl) fn start_ms(self) -> i64 {
        self.from_ms
    }
}

/// Which records of two streams meet: those of the right side from `before` before to `after` after a
/// record of the left side, bounds included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinWindows {
    before_ms: i64,
    after_ms: i64,
    grace: Duration,
    overflow: bool,
}

impl JoinWindows {
    /// Records whose timestamps differ by at most `difference`, without grace.
    pub fn of(difference: Duration) -> Self {
        let (ms, overflow) = signed(difference);
        Self {
            before_ms: ms,
            after_ms: ms,
            grace: Duration::ZERO,
            overflow,
        }
    }

    /// The right record may be this much earlier.
    #[must_use]
    pub fn before(mut self, before: Duration) -> Self {
        let (ms, overflow) = signed(before);
        self.before_ms = ms;
        self.overflow |= overflow;
        self
    }

    /// The right record must be at least this much later (a negative `before` in Kafka Streams).
    #[must_use]
    pub fn at_least_after(mut self, after: Duration) -> Self {
        let (ms, overflow) = signed(after);
        self.before_ms = -ms;
        self.overflow |= overflow;
        self
    }

    /// The right record may be this much later.
    #[must_use]
    pub fn after(mut self, after: Duration) -> Self {
        let (ms, overflow) = signed(after);
        self.after_ms = ms;
        self.overflow |= overflow;
        self
    }

    /// The right record must be at least this much earlier (a negative `after` in Kafka
    /// Streams).
    #[must_use]
    pub fn at_least_before(mut self, before: Duration) -> Self {
        let (ms, overflow) = signed(before);
        self.after_ms = -ms;
        self.overflow |= overflow;
        self
    }

    /// How much longer a record is kept to meet records that arrive out of order.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The reach of the left side, and the default retention of the stores.
    pub(in crate::dsl) fn reach(&self) -> Result<(JoinReach, i64)> {
        let grace_ms = millis(self.grace, "a join's grace")?;
        let size_ms = self.before_ms.saturating_add(self.after_ms);
        if self.overflow || size_ms < 0 {
            return Err(Error::invalid(
                "a join's window is empty or too long; `before` plus `after` must be at least 0",
            ));
        }
        let reach = JoinReach {
            before_ms: self.before_ms,
            after_ms: self.after_ms,
        };
        Ok((reach, size_ms.saturating_add(grace_ms)))
    }
}

pub(in crate::dsl) fn millis(duration: Duration, what: &str) -> Result<i64> {
    i64::try_from(duration.as_millis())
        .map_err(|_| Error::invalid(format!("{what} is longer than 292 million years")))
}

fn signed(duration: Duration) -> (i64, bool) {
    match i64::try_from(duration.as_millis()) {
        Ok(ms) => (ms, false),
        Err(_) => (0, true),
    }
}
