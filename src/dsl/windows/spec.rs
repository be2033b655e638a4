//! Windows in milliseconds, as operators take them: what a user wrote, checked.

/// Windows of a fixed size, aligned to 1970: `[start, start + size)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dsl) struct TimeWindowSpec {
    /// Length of a window, in milliseconds.
    pub(in crate::dsl) size_ms: i64,
    /// Distance between the starts of two windows, in milliseconds; equal to the size for tumbling.
    pub(in crate::dsl) advance_ms: i64,
    /// How long after its end a window accepts records, in milliseconds of stream time.
    pub(in crate::dsl) grace_ms: i64,
    /// For a single window that does not end: its start, in milliseconds.
    pub(in crate::dsl) only_from_ms: Option<i64>,
}

impl TimeWindowSpec {
    /// The starts of the windows that contain a timestamp, earliest first.
    ///
    /// Source: `TimeWindows.windowsFor`.
    pub(in crate::dsl) fn starts(&self, timestamp_ms: i64) -> impl Iterator<Item = i64> + use<> {
        let first = timestamp_ms
            .saturating_sub(self.size_ms)
            .saturating_add(self.advance_ms);
        let first = first.max(0) / self.advance_ms * self.advance_ms;
        let advance_ms = self.advance_ms;
        let first = self.only_from_ms.unwrap_or(first);
        std::iter::successors(Some(first), move |start| start.checked_add(advance_ms))
            .take_while(move |start| *start <= timestamp_ms)
    }

    /// The end of a window, exclusive.
    pub(in crate::dsl) fn end_ms(&self, start_ms: i64) -> i64 {
        start_ms.saturating_add(self.size_ms)
    }
}

/// Sliding windows in milliseconds: `[start, start + difference]`, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dsl) struct SlidingSpec {
    /// The largest distance between two records of a window.
    pub(in crate::dsl) difference_ms: i64,
    /// How long after its end a window accepts records, in stream time.
    pub(in crate::dsl) grace_ms: i64,
}

/// Sessions in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dsl) struct SessionSpec {
    /// The largest distance between consecutive records of a session.
    pub(in crate::dsl) gap_ms: i64,
    /// How long after its end and the gap a session accepts records, in stream time.
    pub(in crate::dsl) grace_ms: i64,
}

/// How far from a record's timestamp its partners may be, in milliseconds; either may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dsl) struct JoinReach {
    /// How much earlier.
    pub(in crate::dsl) before_ms: i64,
    /// How much later.
    pub(in crate::dsl) after_ms: i64,
}
