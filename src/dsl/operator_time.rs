//! What an operator knows about time: what it has seen, what has closed, and what may still arrive.

use crate::base::Headers;
use crate::state::StoredTime;
use crate::task::{Context, TimeBound, Wiring};

/// The time of one operator. With one origin it is the largest timestamp that was seen; with several, a
/// record is late by its own origin's clock and windows close by the slowest of them
/// ([ADR 0010](../../docs/adr/0010-time-as-a-promise.md)).
pub(in crate::dsl) struct OperatorTime {
    observed: StoredTime,
    closed: StoredTime,
    bound: TimeBound,
}

/// Up to where windows have closed for a record, in milliseconds, without their grace.
#[derive(Clone, Copy, Debug)]
pub(in crate::dsl) struct Lateness {
    /// According to its own origin: older windows are late.
    pub(in crate::dsl) late_ms: i64,
    /// For good, according to the slowest origin.
    pub(in crate::dsl) closed_ms: i64,
}

impl OperatorTime {
    /// The time that is stored under a name; `bound` is what may still reach the operator.
    pub(in crate::dsl) fn of(wiring: &Wiring<'_>, name: &str, bound: TimeBound) -> Self {
        Self {
            observed: wiring.time(&format!("operator/{name}")),
            closed: wiring.time(&format!("operator/{name}/closed")),
            bound,
        }
    }

    /// A record has come.
    #[inline]
    pub(in crate::dsl) fn see(&self, timestamp_ms: i64) {
        self.observed.raise(timestamp_ms);
    }

    /// The largest timestamp that was seen, in milliseconds.
    #[inline]
    pub(in crate::dsl) fn observed_ms(&self) -> i64 {
        self.observed.get()
    }

    /// Up to where windows have closed for good, in milliseconds.
    #[inline]
    pub(in crate::dsl) fn closed_ms(&self) -> i64 {
        self.closed.get()
    }

    /// Whether records of several upstream tasks arrive.
    pub(in crate::dsl) fn has_several_origins(&self) -> bool {
        self.bound.has_several_origins()
    }

    /// How far time has advanced, in milliseconds: nothing older can arrive any more.
    #[inline]
    pub(in crate::dsl) fn floor_ms(&self, cx: &Context) -> i64 {
        cx.floor_ms(&self.bound)
    }

    /// With several origins, windows that the slowest of them has passed are closed for good: rows expire
    /// by it (`set_floor` tells the store), and a later record would start its window again.
    #[inline]
    pub(in crate::dsl) fn close(&self, cx: &Context, set_floor: impl FnOnce(i64)) {
        if self.bound.has_several_origins() {
            let floor_ms = cx.floor_ms(&self.bound);
            set_floor(floor_ms);
            if floor_ms != i64::MAX {
                self.closed.raise(floor_ms);
            }
        }
    }

    /// Marks all windows as closed up to a time, as at the end of the input.
    pub(in crate::dsl) fn close_until(&self, close_ms: i64) {
        self.closed.raise(close_ms);
    }

    /// Where lateness starts for the current record.
    #[inline]
    pub(in crate::dsl) fn lateness(&self, cx: &Context) -> Lateness {
        Lateness {
            late_ms: cx.lateness_time_ms(&self.bound, self.observed.get()),
            closed_ms: self.closed.get(),
        }
    }

    /// The headers of a result sent on close: those of the record that advanced time, if there was one.
    /// With several origins it is a matter of chance which record that was, so there are none.
    pub(in crate::dsl) fn closing_headers<'a>(
        &self,
        headers: Option<&'a Headers>,
        none: &'a Headers,
    ) -> &'a Headers {
        headers
            .filter(|_| !self.has_several_origins())
            .unwrap_or(none)
    }

    /// The time by which windows close and their results are sent.
    #[inline]
    pub(in crate::dsl) fn closing_ms(&self, cx: &Context) -> i64 {
        cx.closing_time_ms(&self.bound, self.observed.get())
    }
}
