//! Aggregates in sliding windows: one row per key and set of records that are close to one another.
//!
//! A record creates the window that ends with it, and one that starts after it if that contains any
//! record. Each window of the key that contains the record's timestamp also receives it. No window can
//! end with a record earlier than the first difference; older records share the window that starts at 0.
//! Source: KIP-450, `KStreamSlidingWindowAggregate`.
//!
//! ```text
//! records     ----a-------b----          difference 10
//! windows     [a-10, a]                   ends with a
//!                  [a+1, a+11]            begins behind a, has b
//!                   [b-10, b]             ends with b, has a where they are close
//! ```

use std::cell::RefCell;

use super::fold::{Aggregation, Grouping, Groups, Initial, Part, SharedFold, WithoutMerge};
use super::on_close::{OnClose, OpenRows, due_until_ms};
use super::specs::sliding_spec;
use super::{SlidingSpec, SlidingWindows};
use crate::base::{Headers, Record, Result};
use crate::codec::{Encoded, SharedCodec, Windowed};
use crate::dsl::builder::SharedGraph;
use crate::dsl::operator::Operator;
use crate::dsl::operator_time::{Lateness, OperatorTime};
use crate::dsl::scratch::{Scratch, decode_row, split_row};
use crate::dsl::{Change, Table};
use crate::plan::LogicalId;
use crate::state::{Direction, Put, WindowStore};
use crate::task::{Context, DropReason, Edges, Process, Tick};

impl WithoutMerge for SlidingWindows {}

impl<K: Clone + 'static, V: Clone + 'static> Grouping<K, V> for SlidingWindows {
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
            value,
            emit,
        } = groups;
        let store = &aggregation.store;
        let windows = sliding_spec(&graph, self, &store.name);
        let spec = windows.store_spec(&graph, store, &key, emit);
        let words = ["sliding_count", "sliding_reduce", "sliding_aggregate"];
        let operator = Operator::new(aggregation.verb.of(words));
        let operator = operator.of([parent]).store(spec).old_rows(emit.old_rows());
        let behind_ms = windows.span_ms();
        let (on_close, operator) = OnClose::declare(emit, store, key.name(), behind_ms, operator);
        let part = Part::of(&key, value, &aggregation);
        let id = add(&graph, operator, part, windows, on_close);
        windows.table(graph, id, key, aggregation.store, emit)
    }
}

/// Adds an operator over a store that already exists.
pub(super) fn add<K: Clone + 'static, V: Clone + 'static, A: 'static>(
    graph: &SharedGraph,
    operator: Operator,
    part: Part<K, V, A>,
    windows: SlidingSpec,
    on_close: Option<OnClose>,
) -> LogicalId {
    operator.add(graph, move |wiring, id| {
        let open = on_close.as_ref().map(|on_close| on_close.open(wiring, id));
        Ok(SlidingAggregate {
            fold: part.fold.clone(),
            initial: part.initial.clone(),
            windows,
            store: wiring.window(&part.store)?,
            key: part.key.clone(),
            value: part.value.clone(),
            row: part.row.clone(),
            old: part.old(wiring, id),
            cached: part.cached,
            time: part.time(wiring, id),
            open: open.transpose()?,
            scratch: RefCell::default(),
        })
    })
}

/// Folds each record into the rows of the windows that it creates or falls into.
///
/// Records with a null key or a null value are dropped. A row's timestamp is the largest of its records:
/// it is used to find the windows of a key.
struct SlidingAggregate<K, V, A> {
    fold: SharedFold<K, V, A>,
    initial: Initial<A>,
    windows: SlidingSpec,
    store: WindowStore,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    row: SharedCodec<A>,
    old: Option<Initial<A>>,
    cached: bool,
    time: OperatorTime,
    open: Option<OpenRows>,
    scratch: RefCell<Scratch>,
}

/// A record while it is folded into the windows of its key.
struct Arrival<'a, K, V> {
    record: &'a Record<K, V>,
    key: &'a [u8],
    lateness: Lateness,
}

/// The content of a window before a record is added.
enum Before<'a> {
    /// The initial row.
    Nothing,
    /// Its own row, `timestamp | value`.
    Own(&'a [u8]),
    /// The row of a window whose records it also contains.
    Of(&'a [u8]),
}

/// What the existing windows of a key imply for a record.
#[derive(Default)]
struct Found {
    starts: Vec<i64>,
    /// The row of the last window that ends before the record.
    left: Option<Vec<u8>>,
    /// The row of the last window that the record falls into.
    right: Option<Vec<u8>>,
    has_left: bool,
    has_right: bool,
    /// The timestamp of the record before this one.
    previous_ms: Option<i64>,
}

impl<K: Clone + 'static, V: Clone + 'static, A: 'static> SlidingAggregate<K, V, A> {
    /// The rows of the key's windows from a start up to the window after the record.
    fn rows(
        &self,
        arrival: &Arrival<'_, K, V>,
        from_ms: i64,
        direction: Direction,
    ) -> Result<Vec<(i64, Vec<u8>)>> {
        let to_ms = arrival.record.timestamp_ms.saturating_add(1);
        let rows = self
            .store
            .fetch_range_toward(arrival.key, from_ms, to_ms, direction);
        let mut rows = rows?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push((row.start_ms, row.row.to_vec()));
        }
        Ok(found)
    }

    fn take(
        &self,
        arrival: &Arrival<'_, K, V>,
        out: &Edges<Windowed<K>, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        let timestamp_ms = arrival.record.timestamp_ms;
        let difference_ms = self.windows.difference_ms;
        let from_ms = timestamp_ms.saturating_sub(difference_ms.saturating_mul(2));
        let mut found = Found::default();
        for (start_ms, row) in self.rows(arrival, from_ms.max(0), Direction::Backward)? {
            found.starts.push(start_ms);
            let end_ms = start_ms.saturating_add(difference_ms);
            let (last_ms, _) = split_row(&row)?;
            if start_ms > timestamp_ms {
                found.has_right = true;
            } else if end_ms > timestamp_ms {
                self.update(arrival, start_ms, &Before::Own(&row), out, cx)?;
                found.right.get_or_insert(row);
            } else if end_ms == timestamp_ms {
                found.has_left = true;
                self.update(arrival, start_ms, &Before::Own(&row), out, cx)?;
                if last_ms >= timestamp_ms {
                    // An earlier record of the same time has created the other windows.
                    return Ok(());
                }
                found.previous_ms = Some(last_ms);
            } else {
                found.previous_ms = Some(last_ms);
                found.left = Some(row);
                break;
            }
        }
        self.begin_behind_previous(arrival, &found, out, cx)?;
        if !found.has_left {
            let start_ms = timestamp_ms - difference_ms;
            let is_close = found.previous_ms.is_some_and(|ms| ms >= start_ms);
            let before = match &found.left {
                Some(row) if is_close => Before::Of(row),
                _ => Before::Nothing,
            };
            self.update(arrival, start_ms, &before, out, cx)?;
        }
        self.begin_behind(arrival, &found, out, cx)
    }

    /// As [`Self::take`], for a record whose timestamp lies within the first difference.
    fn take_early(
        &self,
        arrival: &Arrival<'_, K, V>,
        out: &Edges<Windowed<K>, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        let timestamp_ms = arrival.record.timestamp_ms;
        let mut found = Found::default();
        let mut first = None;
        for (start_ms, row) in self.rows(arrival, 0, Direction::Forward)? {
            found.starts.push(start_ms);
            if start_ms == 0 {
                let (last_ms, _) = split_row(&row)?;
                found.previous_ms = Some(last_ms).filter(|last_ms| *last_ms < timestamp_ms);
                first = Some(row);
            } else if start_ms <= timestamp_ms {
                self.update(arrival, start_ms, &Before::Own(&row), out, cx)?;
                found.right = Some(row);
            } else {
                found.has_right = true;
            }
        }
        // If nothing starts between 0 and the record, all records in the first window are after the
        // record.
        found.right = found.right.or_else(|| first.clone());
        self.begin_behind(arrival, &found, out, cx)?;
        self.begin_behind_previous(arrival, &found, out, cx)?;
        let before = first.as_deref().map_or(Before::Nothing, Before::Own);
        self.update(arrival, 0, &before, out, cx)
    }

    /// The window that starts after the record before this one, now that it contains this one.
    fn begin_behind_previous(
        &self,
        arrival: &Arrival<'_, K, V>,
        found: &Found,
        out: &Edges<Windowed<K>, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        let Some(start_ms) = found.previous_ms.map(|ms| ms.saturating_add(1)) else {
            return Ok(());
        };
        let end_ms = start_ms.saturating_add(self.windows.difference_ms);
        if found.starts.contains(&start_ms) || end_ms < arrival.record.timestamp_ms {
            return Ok(());
        }
        self.update(arrival, start_ms, &Before::Nothing, out, cx)
    }

    /// The window that starts after the record, if it is not empty; it does not contain the record.
    fn begin_behind(
        &self,
        arrival: &Arrival<'_, K, V>,
        found: &Found,
        out: &Edges<Windowed<K>, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        let Some(row) = found.right.as_ref().filter(|_| !found.has_right) else {
            return Ok(());
        };
        let (last_ms, value) = split_row(row)?;
        if last_ms <= arrival.record.timestamp_ms {
            return Ok(());
        }
        let start_ms = arrival.record.timestamp_ms + 1;
        if self.store.put(arrival.key, start_ms, Some(row))? == Put::Expired {
            cx.drop_record(DropReason::Expired);
        }
        if let Some(open) = &self.open {
            return open.add(start_ms, arrival.key);
        }
        let change = Change::to(Some(self.row.decode(Some(value))?));
        self.forward(arrival, (start_ms, last_ms), change, out, cx)
    }

    /// Folds the record into a window, unless that has closed.
    fn update(
        &self,
        arrival: &Arrival<'_, K, V>,
        start_ms: i64,
        before: &Before<'_>,
        out: &Edges<Windowed<K>, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        let end_ms = start_ms.saturating_add(self.windows.difference_ms);
        let closed_until = |time_ms: i64| time_ms.saturating_sub(self.windows.grace_ms);
        if end_ms < closed_until(arrival.lateness.late_ms) {
            cx.drop_record(DropReason::Late);
            return Ok(());
        }
        if end_ms < closed_until(arrival.lateness.closed_ms) {
            cx.drop_record(cx.closed_reason());
            return Ok(());
        }
        let Record {
            key,
            value,
            timestamp_ms,
            ..
        } = arrival.record;
        let read = |row: &[u8]| decode_row(&*self.row, Some(row));
        let (base, last_ms) = match before {
            Before::Nothing => ((self.initial)(), *timestamp_ms),
            Before::Of(row) => (read(row)?.map(|(row, _)| row), *timestamp_ms),
            Before::Own(row) => {
                let (row, last_ms) = read(row)?.unzip();
                (row, last_ms.unwrap_or(*timestamp_ms).max(*timestamp_ms))
            }
        };
        let old = match (&self.old, before) {
            (None, _) => None,
            (Some(initial), Before::Nothing) => initial(),
            (Some(_), Before::Of(_)) if self.cached => None,
            (Some(_), Before::Own(row) | Before::Of(row)) => read(row)?.map(|(row, _)| row),
        };
        let new = (self.fold)(key, value.clone(), base).filter(|new| !self.row.is_null(new));
        let put = {
            let scratch = &mut *self.scratch.borrow_mut();
            match &new {
                Some(row) if scratch.encode_row(&*self.row, row, last_ms)? => {
                    self.store.put(arrival.key, start_ms, Some(&scratch.row))?
                }
                _ => self.store.put(arrival.key, start_ms, None)?,
            }
        };
        if put == Put::Expired {
            cx.drop_record(DropReason::Expired);
        }
        if let Some(open) = &self.open {
            return match before {
                Before::Own(_) => Ok(()),
                Before::Nothing | Before::Of(_) => open.add(start_ms, arrival.key),
            };
        }
        self.forward(arrival, (start_ms, last_ms), Change { new, old }, out, cx)
    }

    fn forward(
        &self,
        arrival: &Arrival<'_, K, V>,
        (start_ms, timestamp_ms): (i64, i64),
        change: Change<A>,
        out: &Edges<Windowed<K>, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        let key = Windowed {
            key: arrival.record.key.clone(),
            start_ms,
            end_ms: start_ms.saturating_add(self.windows.difference_ms),
        };
        let record = Record {
            key,
            value: change,
            timestamp_ms,
            headers: arrival.record.headers.clone(),
        };
        out.push(record, cx)
    }

    fn close(&self, cx: &Context) {
        self.time
            .close(cx, |floor_ms| self.store.set_floor_ms(floor_ms));
    }

    /// Sends the rows of the windows that are closed at a time.
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
        let until_ms = due_until_ms(time_ms, self.windows.span_ms());
        let none = Headers::default();
        let headers = self.time.closing_headers(headers, &none);
        let codecs = (&self.key, &self.row);
        open.send_windows(
            &self.store,
            (until_ms, self.windows.difference_ms),
            codecs,
            headers,
            out,
            cx,
        )
    }
}

impl<K, V, A> Process for SlidingAggregate<K, V, A>
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
        let mut key = Vec::new();
        if self.key.encode(&record.key, &mut key)? == Encoded::Null {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        if self.value.is_null(&record.value) {
            cx.drop_record(DropReason::NullValue);
            return Ok(());
        }
        self.time.see(record.timestamp_ms);
        let emits_after = self.open.as_ref().is_some_and(|open| open.after);
        if !emits_after {
            self.emit(self.time.closing_ms(cx), Some(&record.headers), out, cx)?;
        }
        self.close(cx);
        let arrival = Arrival {
            record: &record,
            key: &key,
            lateness: self.time.lateness(cx),
        };
        let end_ms = record
            .timestamp_ms
            .saturating_add(self.windows.difference_ms);
        let closed_until = |time_ms: i64| time_ms.saturating_sub(self.windows.grace_ms);
        if end_ms < closed_until(arrival.lateness.late_ms) {
            cx.drop_record(DropReason::Late);
        } else if end_ms < closed_until(arrival.lateness.closed_ms) {
            cx.drop_record(cx.closed_reason());
        } else if record.timestamp_ms < self.windows.difference_ms {
            self.take_early(&arrival, out, cx)?;
        } else {
            self.take(&arrival, out, cx)?;
        }
        match &self.open {
            Some(_) if emits_after => {
                self.emit(self.time.closing_ms(cx), Some(&record.headers), out, cx)
            }
            Some(open) => open.report_held(cx),
            None => Ok(()),
        }
    }

    /// The end of the input closes all windows, for good: see `time_window`.
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
            let close_ms = self.store.observed_ms();
            self.time
                .close_until(close_ms.saturating_add(self.windows.span_ms()));
        }
        out.tick(tick, cx)
    }
}
