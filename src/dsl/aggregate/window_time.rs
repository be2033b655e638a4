//! What a windowed aggregate knows about time: what it has seen, and what has closed.

use crate::base::Headers;
use crate::state::TimeSlot;
use crate::task::{Context, NodeId, TimeBound, Wiring};

/// The time of one operator. With one origin it is the largest timestamp that was seen; with several, a
/// record is late by its own origin's clock and windows close by the slowest of them
/// ([ADR 0010](../../../docs/adr/0010-time-as-a-promise.md)).
pub(super) struct WindowTime {
    observed: TimeSlot,
    closed: TimeSlot,
    bound: TimeBound,
}

/// Up to where windows have closed for a record, in milliseconds, without their grace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lateness {
    /// According to its own origin: older windows are late.
    pub(super) late_ms: i64,
    /// For good, according to the slowest origin.
    pub(super) closed_ms: i64,
}

impl WindowTime {
    /// The time of an operator over a store; for one of several operators over the same store, given its
    /// number. In that case each has its own time, but all of them wait for the slowest origin.
    pub(super) fn of(wiring: &Wiring<'_>, id: NodeId, store: &str, number: Option<usize>) -> Self {
        let (place, bound) = match number {
            None => (format!("operator/{store}"), wiring.bound(id)),
            Some(number) => (
                format!("operator/{store}/{number}"),
                wiring.bound_of_stores(&[store]),
            ),
        };
        Self {
            observed: wiring.time(&place),
            closed: wiring.time(&format!("{place}/closed")),
            bound,
        }
    }

    /// A record has come.
    #[inline]
    pub(super) fn see(&self, timestamp_ms: i64) {
        if timestamp_ms > self.observed.get() {
            self.observed.set(timestamp_ms);
        }
    }

    /// Whether records of several upstream tasks arrive.
    pub(super) fn has_several_origins(&self) -> bool {
        self.bound.has_several_origins()
    }

    /// With several origins, windows that the slowest of them has passed are closed for good: rows expire
    /// by it (`set_floor` tells the store), and a later record would start its window again.
    #[inline]
    pub(super) fn close(&self, cx: &Context, set_floor: impl FnOnce(i64)) {
        if self.bound.has_several_origins() {
            let floor_ms = cx.floor_ms(&self.bound);
            set_floor(floor_ms);
            if floor_ms != i64::MAX {
                self.closed.raise(floor_ms);
            }
        }
    }

    /// Marks all windows as closed up to a time, as at the end of the input.
    pub(super) fn close_until(&self, close_ms: i64) {
        self.closed.raise(close_ms);
    }

    /// Where lateness starts for the current record.
    #[inline]
    pub(super) fn lateness(&self, cx: &Context) -> Lateness {
        Lateness {
            late_ms: cx.lateness_time_ms(&self.bound, self.observed.get()),
            closed_ms: self.closed.get(),
        }
    }

    /// The headers of a result sent on close: those of the record that advanced time, if there was one.
    /// With several origins it is a matter of chance which record that was, so there are none.
    pub(super) fn closing_headers<'a>(
        &self,
        headers: Option<&'a Headers>,
        none: &'a Headers,
    ) -> &'a Headers {
        headers
            .filter(|_| !self.has_several_origins())
            .unwrap_or(none)
    }

    /// The time by which windows close and their results are sent.
    pub(super) fn closing_ms(&self, cx: &Context) -> i64 {
        cx.closing_time_ms(&self.bound, self.observed.get())
    }
}
