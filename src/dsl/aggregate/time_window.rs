//! Aggregates in tumbling and hopping windows: one row a key and window.

use std::cell::RefCell;
use std::sync::Arc;

use super::fold::{Aggregation, Grouping, Groups, Initial, SharedFold, WithoutMerge};
use crate::base::{Record, Result};
use crate::codec::{SharedCodec, Windowed, WindowedCodec};
use crate::dsl::builder::SharedGraph;
use crate::dsl::operator::Operator;
use crate::dsl::scratch::{Scratch, decode_row};
use crate::dsl::table::{HoldSpec, WindowView};
use crate::dsl::{Change, Materialized, OldRows, Table, TimeWindows};
use crate::state::{Put, TimeSlot, WindowRules, WindowStore};
use crate::task::{Context, DropReason, Edges, Process, Tick, TimeBound};

impl WithoutMerge for TimeWindows {}

impl<K: Clone + 'static, V: Clone + 'static> Grouping<K, V> for TimeWindows {
    type Key = Windowed<K>;

    fn build<A: 'static>(
        self,
        groups: Groups<K, V>,
        aggregation: Aggregation<K, V, A>,
    ) -> Table<Windowed<K>, A> {
        let Groups {
            graph,
            id: parent,
            key,
            ..
        } = groups;
        let Aggregation {
            verb,
            initial,
            fold,
            store,
            ..
        } = aggregation;
        let windows = window_spec(&graph, self, &store.name);
        let retention_ms = window_retention_ms(&graph, windows, &store);
        let row = store.value.clone();
        let rules = WindowRules {
            window_size_ms: windows.size_ms,
            retention_ms,
            duplicates: false,
        };
        let spec = store.windows_spec(&graph, &key, rules);
        let name = spec.name.clone();
        let old_rows = OldRows::default();
        let asked = old_rows.clone();
        let windowed_key = Arc::new(WindowedCodec::new(key.clone(), windows.size_ms));
        let view = WindowView::make(key.clone(), row.clone(), name.clone());
        let view_store = name.clone();
        let word = verb.of(["window_count", "window_reduce", "window_aggregate"]);
        let operator = Operator::new(word).of([parent]).store(spec);
        let id = operator.add(&graph, move |wiring, id| {
            Ok(WindowAggregate {
                fold: fold.clone(),
                windows,
                store: wiring.window(&name)?,
                key: key.clone(),
                row: row.clone(),
                old: asked.are_asked().then(|| initial.clone()),
                observed: wiring.time(&format!("operator/{name}")),
                closed: wiring.time(&format!("operator/{name}/closed")),
                bound: wiring.bound(id),
                scratch: RefCell::default(),
            })
        });
        let hold = HoldSpec {
            size_ms: windows.size_ms,
            grace_ms: windows.grace_ms,
        };
        Table::new(graph, id, windowed_key)
            .with_old_rows(old_rows)
            .with_windows(hold)
            .with_view(view_store, view)
    }
}

/// The windows in milliseconds; what is wrong with them is reported for the store.
pub(super) fn window_spec(
    graph: &SharedGraph,
    windows: TimeWindows,
    store: &str,
) -> TimeWindowSpec {
    windows.spec().unwrap_or_else(|error| {
        graph.borrow_mut().report(error.context(store));
        TimeWindowSpec {
            size_ms: 1,
            advance_ms: 1,
            grace_ms: 0,
        }
    })
}

/// How long a store keeps the rows of windows; a retention that is too short is reported.
pub(super) fn window_retention_ms<A: 'static>(
    graph: &SharedGraph,
    windows: TimeWindowSpec,
    store: &Materialized<A>,
) -> i64 {
    let least_ms = windows.size_ms.saturating_add(windows.grace_ms);
    store.retention_ms(least_ms).unwrap_or_else(|error| {
        graph.borrow_mut().report(error);
        least_ms
    })
}

/// Windows of a fixed size, aligned to 1970: `[start, start + size)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dsl) struct TimeWindowSpec {
    /// Length of a window, in milliseconds.
    pub(in crate::dsl) size_ms: i64,
    /// Distance between the starts of two windows, in milliseconds; equal to the size for tumbling.
    pub(in crate::dsl) advance_ms: i64,
    /// How long after its end a window takes records, in milliseconds of stream time.
    pub(in crate::dsl) grace_ms: i64,
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
        std::iter::successors(Some(first), move |start| start.checked_add(advance_ms))
            .take_while(move |start| *start <= timestamp_ms)
    }

    /// The end of a window, exclusive.
    pub(in crate::dsl) fn end_ms(&self, start_ms: i64) -> i64 {
        start_ms.saturating_add(self.size_ms)
    }
}

/// Folds each record into the rows of its windows and forwards the rows.
///
/// A null key is dropped; a null value counts. A window takes records until the time passes its end
/// plus grace; which time that is, with several origins, is decision D13. A row's timestamp is the
/// largest of the records folded into it. Source: `KStreamWindowAggregate`.
pub(super) struct WindowAggregate<K, V, A> {
    pub(super) fold: SharedFold<K, V, A>,
    pub(super) windows: TimeWindowSpec,
    pub(super) store: WindowStore,
    pub(super) key: SharedCodec<K>,
    pub(super) row: SharedCodec<A>,
    pub(super) old: Option<Initial<A>>,
    pub(super) observed: TimeSlot,
    pub(super) closed: TimeSlot,
    pub(super) bound: TimeBound,
    pub(super) scratch: RefCell<Scratch>,
}

impl<K, V, A> WindowAggregate<K, V, A> {
    /// With several origins what the slowest of them has passed is closed, for good: rows expire by
    /// it, and a record that comes later would begin its window anew.
    fn close(&self, cx: &Context) {
        if self.bound.has_several_origins() {
            let floor_ms = cx.floor_ms(&self.bound);
            self.store.set_floor_ms(floor_ms);
            if floor_ms != i64::MAX {
                self.closed.raise(floor_ms);
            }
        }
    }
}

impl<K, V, A> Process for WindowAggregate<K, V, A>
where
    K: Clone + 'static,
    V: Clone + 'static,
    A: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = Windowed<K>;
    type ValueOut = Change<A>;

    fn process(
        &self,
        record: Record<K, V>,
        out: &Edges<Windowed<K>, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        let Record {
            key,
            value,
            timestamp_ms: record_ms,
            headers,
        } = record;
        if !self.scratch.borrow_mut().encode_key(&*self.key, &key)? {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        if record_ms > self.observed.get() {
            self.observed.set(record_ms);
        }
        self.close(cx);
        let late_ms = cx.lateness_time_ms(&self.bound, self.observed.get());
        let late_ms = late_ms.saturating_sub(self.windows.grace_ms);
        let closed_ms = self.closed.get().saturating_sub(self.windows.grace_ms);
        let mut key = Some(key);
        let mut value = Some(value);
        let mut starts = self.windows.starts(record_ms).peekable();
        while let Some(start_ms) = starts.next() {
            let end_ms = self.windows.end_ms(start_ms);
            if end_ms <= late_ms {
                cx.drop_record(DropReason::Late);
                continue;
            }
            if end_ms <= closed_ms {
                cx.drop_record(cx.closed_reason());
                continue;
            }
            // The last window takes key and value; a tumbling window has no other.
            let last = starts.peek().is_none();
            let take = |slot: &mut Option<K>| if last { slot.take() } else { slot.clone() };
            let Some(key) = take(&mut key) else { break };
            let Some(value) = (if last { value.take() } else { value.clone() }) else {
                break;
            };
            let mut scratch = self.scratch.borrow_mut();
            let sent_old = match &self.old {
                None => None,
                Some(initial) => {
                    let row = self
                        .store
                        .fetch(&scratch.key, start_ms, |row| decode_row(&*self.row, row))??;
                    row.map(|(row, _)| row).or_else(|| initial())
                }
            };
            let old = self
                .store
                .fetch(&scratch.key, start_ms, |row| decode_row(&*self.row, row))??;
            let (old, timestamp_ms) = match old {
                Some((old, old_ms)) => (Some(old), record_ms.max(old_ms)),
                None => (None, record_ms),
            };
            let new = (self.fold)(&key, value, old).filter(|new| !self.row.is_null(new));
            let put = match &new {
                Some(row) if scratch.encode_row(&*self.row, row, timestamp_ms)? => {
                    self.store.put(&scratch.key, start_ms, Some(&scratch.row))?
                }
                _ => self.store.put(&scratch.key, start_ms, None)?,
            };
            drop(scratch);
            if put == Put::Expired {
                cx.drop_record(DropReason::Expired);
            }
            let key = Windowed {
                key,
                start_ms,
                end_ms,
            };
            let change = Change { new, old: sent_old };
            let headers = headers.clone();
            out.push(
                Record {
                    key,
                    value: change,
                    timestamp_ms,
                    headers,
                },
                cx,
            )?;
        }
        Ok(())
    }

    /// The end of the input closes all windows up to the last, so that one whose result has been final
    /// does not open again, whatever the clocks of those who go on.
    fn tick(
        &self,
        tick: Tick,
        out: &Edges<Windowed<K>, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        self.close(cx);
        if tick == Tick::Ended && self.store.observed_ms() >= 0 {
            let end_ms = self.windows.end_ms(self.store.observed_ms());
            let close_ms = end_ms.saturating_add(self.windows.grace_ms);
            self.closed.raise(close_ms);
        }
        out.tick(tick, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_a_timestamp_are_those_of_the_peer() {
        let hopping = TimeWindowSpec {
            size_ms: 10,
            advance_ms: 3,
            grace_ms: 0,
        };
        let starts = |timestamp| hopping.starts(timestamp).collect::<Vec<_>>();
        assert_eq!(starts(0), [0]);
        assert_eq!(starts(9), [0, 3, 6, 9]);
        assert_eq!(starts(10), [3, 6, 9]);
        let tumbling = TimeWindowSpec {
            size_ms: 10,
            advance_ms: 10,
            grace_ms: 0,
        };
        assert_eq!(tumbling.starts(19).collect::<Vec<_>>(), [10]);
        assert_eq!(tumbling.starts(i64::MAX).count(), 1);
    }
}
