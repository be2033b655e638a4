//! Aggregates in tumbling and hopping windows: one row per key and window.

use std::cell::RefCell;
use std::sync::Arc;

use super::TimeWindowSpec;
use super::fold::{Aggregation, Emit, Grouping, Groups, Initial, Part, SharedFold, WithoutMerge};
use super::on_close::{OnClose, OpenRows, due_until_ms};
use crate::base::{Headers, Record, Result};
use crate::codec::{SharedCodec, Windowed, WindowedCodec};
use crate::dsl::builder::SharedGraph;
use crate::dsl::operator::Operator;
use crate::dsl::operator_time::OperatorTime;
use crate::dsl::scratch::{Scratch, decode_row};
use crate::dsl::table::{HoldSpec, WindowView};
use crate::dsl::{Change, Materialized, Table, TimeWindows};
use crate::plan::LogicalId;
use crate::state::{Put, StoreSpec, WindowRules, WindowStore};
use crate::task::{Context, DropReason, Edges, Process, Tick};

impl WithoutMerge for TimeWindows {}

impl<K: Clone + 'static, V: Clone + 'static> Grouping<K, V> for TimeWindows {
    type Key = Windowed<K>;

    fn build<A: 'static>(
        self,
        groups: Groups<K, V>,
        aggregation: Aggregation<K, V, A>,
    ) -> Table<Windowed<K>, A> {
        let windows = window_spec(&groups.graph, self, &aggregation.store.name);
        build(windows, groups, aggregation)
    }
}

/// Adds the operator of one stream in windows.
pub(super) fn build<K: Clone + 'static, V: Clone + 'static, A: 'static>(
    windows: TimeWindowSpec,
    groups: Groups<K, V>,
    aggregation: Aggregation<K, V, A>,
) -> Table<Windowed<K>, A> {
    let Groups {
        graph,
        id: parent,
        key,
        value,
        emit,
    } = groups;
    let store = &aggregation.store;
    let spec = windows.store_spec(&graph, store, &key, emit);
    let words = ["window_count", "window_reduce", "window_aggregate"];
    let operator = Operator::new(aggregation.verb.of(words));
    let operator = operator.of([parent]).store(spec).old_rows(emit.old_rows());
    let behind_ms = windows.size_ms.saturating_add(windows.grace_ms);
    let (on_close, operator) = OnClose::declare(emit, store, key.name(), behind_ms, operator);
    let part = Part::of(&key, value, &aggregation);
    let id = add(&graph, operator, part, windows, on_close);
    windows.table(graph, id, key, aggregation.store, emit)
}

/// Adds an operator over a store that already exists.
pub(super) fn add<K: Clone + 'static, V: Clone + 'static, A: 'static>(
    graph: &SharedGraph,
    operator: Operator,
    part: Part<K, V, A>,
    windows: TimeWindowSpec,
    on_close: Option<OnClose>,
) -> LogicalId {
    operator.add(graph, move |wiring, id| {
        let open = on_close.as_ref().map(|on_close| on_close.open(wiring, id));
        Ok(WindowAggregate {
            fold: part.fold.clone(),
            windows,
            store: wiring.window(&part.store)?,
            key: part.key.clone(),
            row: part.row.clone(),
            old: part.old(wiring, id),
            time: part.time(wiring, id),
            open: open.transpose()?,
            scratch: RefCell::default(),
        })
    })
}

/// The windows in milliseconds; errors in them are reported for the store.
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
            only_from_ms: None,
        }
    })
}

/// How long a store keeps the rows of windows: as set explicitly, or `spare_ms` longer than their results
/// need. The rows of windows that emit on close are read a millisecond longer. Errors are reported.
pub(super) fn retention_ms<A: 'static>(
    graph: &SharedGraph,
    (least_ms, spare_ms): (i64, i64),
    store: &Materialized<A>,
    emit: Emit,
) -> i64 {
    let retention_ms = store
        .retention_ms(least_ms, spare_ms)
        .unwrap_or_else(|error| {
            graph.borrow_mut().report(error);
            least_ms
        });
    match emit {
        Emit::Updates => retention_ms,
        Emit::OnClose => retention_ms.saturating_add(1),
    }
}

/// The table of an aggregate in windows of a size.
pub(super) fn windowed_table<K: 'static, A: 'static>(
    graph: SharedGraph,
    id: LogicalId,
    key: SharedCodec<K>,
    store: Materialized<A>,
    hold: HoldSpec,
    emit: Emit,
) -> Table<Windowed<K>, A> {
    let Materialized {
        name, value: row, ..
    } = store;
    let windowed_key = Arc::new(WindowedCodec::new(key.clone(), hold.size_ms));
    let view = WindowView::make(key, row.clone(), name.clone());
    let table = Table::new(graph, id, windowed_key)
        .with_windows(hold)
        .with_view(name.clone(), view);
    match emit {
        Emit::Updates => table.cached_if(store.cached, &name, row),
        // Each row is sent once: there is nothing to merge.
        Emit::OnClose => table,
    }
}

impl TimeWindowSpec {
    /// The store of the rows.
    pub(super) fn store_spec<K: 'static, A: 'static>(
        &self,
        graph: &SharedGraph,
        store: &Materialized<A>,
        key: &SharedCodec<K>,
        emit: Emit,
    ) -> StoreSpec {
        let least_ms = self.size_ms.saturating_add(self.grace_ms);
        let rules = WindowRules {
            window_size_ms: self.size_ms,
            retention_ms: retention_ms(graph, (least_ms, 0), store, emit),
            duplicates: false,
        };
        store.windows_spec(graph, key, rules)
    }

    /// The table of the rows.
    pub(super) fn table<K: 'static, A: 'static>(
        &self,
        graph: SharedGraph,
        id: LogicalId,
        key: SharedCodec<K>,
        store: Materialized<A>,
        emit: Emit,
    ) -> Table<Windowed<K>, A> {
        let hold = HoldSpec {
            size_ms: self.size_ms,
            grace_ms: self.grace_ms,
            reopens: false,
        };
        windowed_table(graph, id, key, store, hold, emit)
    }
}

/// Folds each record into the rows of its windows and forwards the rows.
///
/// A record with a null key is dropped; one with a null value counts. A window accepts records until the
/// time passes its end plus grace. A row's timestamp is the largest of the records folded into it.
/// Source: `KStreamWindowAggregate`.
struct WindowAggregate<K, V, A> {
    fold: SharedFold<K, V, A>,
    windows: TimeWindowSpec,
    store: WindowStore,
    key: SharedCodec<K>,
    row: SharedCodec<A>,
    old: Option<Initial<A>>,
    time: OperatorTime,
    open: Option<OpenRows>,
    scratch: RefCell<Scratch>,
}

impl<K: 'static, V, A: 'static> WindowAggregate<K, V, A> {
    fn close(&self, cx: &Context) {
        self.time
            .close(cx, |floor_ms| self.store.set_floor_ms(floor_ms));
    }

    /// Sends the rows of the windows that close at or before a time.
    fn emit(
        &self,
        time_ms: i64,
        headers: Option<&Headers>,
        out: &Edges<Windowed<K>, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let until_ms = due_until_ms(
            time_ms,
            self.windows.size_ms.saturating_add(self.windows.grace_ms),
        );
        let none = Headers::default();
        let headers = self.time.closing_headers(headers, &none);
        let codecs = (&self.key, &self.row);
        open.send_windows(
            &self.store,
            (until_ms, self.windows.size_ms),
            codecs,
            headers,
            out,
            cx,
        )
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
        self.time.see(record_ms);
        let emits_after = self.open.as_ref().is_some_and(|open| open.after);
        if self.open.is_some() && !emits_after {
            self.emit(self.time.closing_ms(cx), Some(&headers), out, cx)?;
        }
        self.close(cx);
        let lateness = self.time.lateness(cx);
        let late_ms = lateness.late_ms.saturating_sub(self.windows.grace_ms);
        let closed_ms = lateness.closed_ms.saturating_sub(self.windows.grace_ms);
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
            // The last window takes ownership of key and value; a tumbling window is the only one.
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
            if let (Some(open), None) = (&self.open, &old) {
                open.add(start_ms, &scratch.key)?;
            }
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
            if self.open.is_some() {
                continue;
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
        match &self.open {
            Some(_) if emits_after => self.emit(self.time.closing_ms(cx), Some(&headers), out, cx),
            Some(open) => open.report_held(cx),
            None => Ok(()),
        }
    }

    /// The end of the input closes all windows up to the last, so that a window with a final result does
    /// not open again, whatever the clocks of origins that continue.
    fn tick(
        &self,
        tick: Tick,
        out: &Edges<Windowed<K>, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        let time_ms = match tick {
            Tick::Moved => self.time.closing_ms(cx),
            Tick::Ended => i64::MAX,
        };
        self.emit(time_ms, None, out, cx)?;
        self.close(cx);
        if tick == Tick::Ended && self.store.observed_ms() >= 0 {
            let end_ms = self.windows.end_ms(self.store.observed_ms());
            let close_ms = end_ms.saturating_add(self.windows.grace_ms);
            self.time.close_until(close_ms);
        }
        out.tick(tick, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_a_timestamp_are_those_of_kafka_streams() {
        let hopping = TimeWindowSpec {
            size_ms: 10,
            advance_ms: 3,
            grace_ms: 0,
            only_from_ms: None,
        };
        let starts = |timestamp| hopping.starts(timestamp).collect::<Vec<_>>();
        assert_eq!(starts(0), [0]);
        assert_eq!(starts(9), [0, 3, 6, 9]);
        assert_eq!(starts(10), [3, 6, 9]);
        let tumbling = TimeWindowSpec {
            size_ms: 10,
            advance_ms: 10,
            grace_ms: 0,
            only_from_ms: None,
        };
        assert_eq!(tumbling.starts(19).collect::<Vec<_>>(), [10]);
        assert_eq!(tumbling.starts(i64::MAX).count(), 1);
    }
}
