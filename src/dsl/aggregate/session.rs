//! Aggregates in sessions: one row per key and run of records without a gap.
//!
//! A record joins all sessions of its key that are close to it: their rows are merged, in the order of
//! their ends, and folded with the record; the merged sessions are deleted, with a change for each. A
//! session's row has no timestamp of its own: it is as old as its end. Source:
//! `KStreamSessionWindowAggregate`.

use std::cell::RefCell;
use std::sync::Arc;

use super::fold::{Aggregation, Grouping, Groups, Initial, Part, SharedFold, SharedMerge, Verb};
use super::on_close::{LastRow, OnClose, OpenRows, due_until_ms};
use super::specs::session_spec;
use super::{GroupedStream, SessionSpec, SessionWindows};
use crate::base::{Error, Headers, Record, Result};
use crate::codec::{Encoded, SharedCodec, Windowed};
use crate::dsl::builder::SharedGraph;
use crate::dsl::operator::Operator;
use crate::dsl::operator_time::OperatorTime;
use crate::dsl::{Change, Materialized, Table};
use crate::plan::LogicalId;
use crate::state::{Direction, Put, SessionStore};
use crate::task::{Context, DropReason, Edges, HoldId, Process, Tick};

impl<K: Clone + 'static, V: Clone + 'static> Grouping<K, V> for SessionWindows {
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
        let sessions = session_spec(&graph, self, &store.name);
        let spec = sessions.store_spec(&graph, store, &key);
        let words = ["session_count", "session_reduce", "session_aggregate"];
        let operator = Operator::new(aggregation.verb.of(words));
        let operator = operator.of([parent]).store(spec);
        let operator = operator
            .holds_back_ms(sessions.gap_ms)
            .old_rows(emit.old_rows());
        let behind_ms = sessions.span_ms();
        let (on_close, operator) = OnClose::declare(emit, store, key.name(), behind_ms, operator);
        let part = Part::of(&key, value, &aggregation);
        // All three verbs merge sessions; `aggregate` requires a merger.
        let merge = aggregation
            .merge
            .unwrap_or_else(|| Arc::new(|_, one, _| Some(one)));
        let id = add(&graph, operator, part, (sessions, merge), on_close);
        sessions.table(graph, id, key, aggregation.store, emit)
    }
}

impl<K: Clone + 'static, V: Clone + 'static> GroupedStream<K, V, SessionWindows> {
    /// Folds the values of each session into a row that starts as `initial`; `merge` combines two rows
    /// into one when a record closes the gap between sessions. A fresh row is merged too, as the first,
    /// so merging with `initial` must change nothing. `None` (or a null) deletes the row.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings
    ///     .group_by_key("by-sensor")
    ///     .windowed_by(SessionWindows::with_gap(Duration::from_secs(300)).grace(Duration::from_secs(60)))
    ///     .aggregate(
    ///         || 0,
    ///         |_sensor, reading, bytes| bytes + reading.len() as i64,
    ///         |_sensor, earlier, later| earlier + later,
    ///         "bytes-a-session",
    ///     )
    ///     .to_stream()
    ///     .to("bytes-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn aggregate<A: 'static, R: Into<Option<A>>, M: Into<Option<A>>>(
        self,
        initial: impl Fn() -> A + Send + Sync + 'static,
        aggregate: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
        merge: impl Fn(&K, A, A) -> M + Send + Sync + 'static,
        store: impl Into<Materialized<A>>,
    ) -> Table<Windowed<K>, A> {
        let initial = Arc::new(initial);
        let first = initial.clone();
        self.build(Aggregation {
            verb: Verb::Aggregate,
            initial: Arc::new(move || Some(first())),
            fold: Arc::new(move |key, value, row| {
                aggregate(key, value, row.unwrap_or_else(|| initial())).into()
            }),
            merge: Some(Arc::new(move |key, one, other| {
                merge(key, one, other).into()
            })),
            store: store.into(),
        })
    }
}

/// Adds an operator over a store that already exists.
pub(super) fn add<K: Clone + 'static, V: 'static, A: 'static>(
    graph: &SharedGraph,
    operator: Operator,
    part: Part<K, V, A>,
    (sessions, merge): (SessionSpec, SharedMerge<K, A>),
    on_close: Option<OnClose>,
) -> LogicalId {
    operator.add(graph, move |wiring, id| {
        let open = on_close.as_ref().map(|on_close| on_close.open(wiring, id));
        Ok(SessionAggregate {
            fold: part.fold.clone(),
            merge: merge.clone(),
            initial: part.initial.clone(),
            sessions,
            store: wiring.store(&part.store)?,
            key: part.key.clone(),
            row: part.row.clone(),
            sends_old: part.old(wiring, id).is_some(),
            cached: part.cached,
            time: part.time(wiring, id),
            hold: wiring.hold(id)?,
            open: open.transpose()?,
            buffers: RefCell::default(),
        })
    })
}

/// Folds each record into the session it belongs to, which may absorb others.
///
/// A null key is dropped; a null value counts. A record is late if it would extend a session that has
/// closed, even if the record alone would not be late.
struct SessionAggregate<K, V, A> {
    fold: SharedFold<K, V, A>,
    merge: SharedMerge<K, A>,
    initial: Initial<A>,
    sessions: SessionSpec,
    store: SessionStore,
    key: SharedCodec<K>,
    row: SharedCodec<A>,
    sends_old: bool,
    cached: bool,
    time: OperatorTime,
    hold: HoldId,
    open: Option<OpenRows>,
    buffers: RefCell<Buffers>,
}

#[derive(Default)]
struct Buffers {
    row: Vec<u8>,
    open: Vec<u8>,
}

/// A session as found in the store.
struct Found {
    start_ms: i64,
    end_ms: i64,
    row: Vec<u8>,
}

impl<K: Clone + 'static, V: 'static, A: 'static> SessionAggregate<K, V, A> {
    fn decode(&self, row: &[u8]) -> Result<A> {
        self.row.decode(Some(row))
    }

    /// The sessions that are close to a record of that time, by end.
    /// A session that has closed for good is not touched.
    fn find(&self, key: &[u8], timestamp_ms: i64, closed_until_ms: i64) -> Result<Vec<Found>> {
        let gap_ms = self.sessions.gap_ms;
        let (earliest_ms, latest_ms) = (
            timestamp_ms.saturating_sub(gap_ms).max(closed_until_ms),
            timestamp_ms.saturating_add(gap_ms),
        );
        let mut rows = self
            .store
            .find_sessions(key, earliest_ms, latest_ms, Direction::Forward)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(Found {
                start_ms: row.start_ms,
                end_ms: row.end_ms,
                row: row.row.to_vec(),
            });
        }
        Ok(found)
    }

    fn take(
        &self,
        record: Record<K, V>,
        key: &[u8],
        out: &Edges<Windowed<K>, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        let timestamp_ms = record.timestamp_ms;
        let lateness = self.time.lateness(cx);
        let closed_until = |time_ms: i64| time_ms.saturating_sub(self.sessions.open_ms());
        let found = self.find(key, timestamp_ms, closed_until(lateness.closed_ms))?;
        let starts = found.iter().map(|session| session.start_ms);
        let ends = found.iter().map(|session| session.end_ms);
        let start_ms = starts.fold(timestamp_ms, i64::min);
        let end_ms = ends.fold(timestamp_ms, i64::max);
        if end_ms < closed_until(lateness.late_ms) {
            cx.drop_record(DropReason::Late);
            return Ok(());
        }
        if end_ms < closed_until(lateness.closed_ms) {
            cx.drop_record(cx.closed_reason());
            return Ok(());
        }
        let mut row = (self.initial)();
        for session in &found {
            let other = self.decode(&session.row)?;
            row = match row {
                Some(row) => (self.merge)(&record.key, row, other),
                None => Some(other),
            };
        }
        let is_new = start_ms == timestamp_ms && end_ms == timestamp_ms;
        let mut old = None;
        if !is_new {
            for session in &found {
                self.delete(&record.key, key, session, out, cx)?;
            }
        } else if let Some(same) = found.first().filter(|_| self.cached) {
            // Kafka Streams sends nothing for this row; a cache must know of it.
            old = Some(self.decode(&same.row)?);
        }
        let new = (self.fold)(&record.key, record.value, row).filter(|row| !self.row.is_null(row));
        self.put(key, (start_ms, end_ms), new.as_ref(), cx)?;
        if self.open.is_some() {
            return Ok(());
        }
        let session = (start_ms, end_ms);
        self.forward(record.key, session, Change { new, old }, out, cx)
    }

    fn put(
        &self,
        key: &[u8],
        (start_ms, end_ms): (i64, i64),
        new: Option<&A>,
        cx: &mut Context,
    ) -> Result<()> {
        let Buffers { row, open } = &mut *self.buffers.borrow_mut();
        row.clear();
        let has_row = match new {
            Some(new) => self.row.encode(new, row)? == Encoded::Bytes,
            None => false,
        };
        if !has_row {
            self.store.remove(key, start_ms, end_ms)?;
        } else if self.store.put(key, start_ms, end_ms, row)? == Put::Expired {
            cx.drop_record(DropReason::Expired);
        }
        if let Some(index) = &self.open {
            open_key(start_ms, key, open);
            match has_row {
                true => index.add(end_ms, open)?,
                false => index.remove(end_ms, open)?,
            }
        }
        Ok(())
    }

    /// Deletes a session that was merged into another one.
    fn delete(
        &self,
        key: &K,
        key_bytes: &[u8],
        session: &Found,
        out: &Edges<Windowed<K>, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        self.store
            .remove(key_bytes, session.start_ms, session.end_ms)?;
        if let Some(index) = &self.open {
            let open = &mut self.buffers.borrow_mut().open;
            open_key(session.start_ms, key_bytes, open);
            return index.remove(session.end_ms, open);
        }
        let old = match self.sends_old {
            true => Some(self.decode(&session.row)?),
            false => None,
        };
        let bounds = (session.start_ms, session.end_ms);
        let change = Change { new: None, old };
        cx.push_older(session.end_ms, |cx| {
            self.forward(key.clone(), bounds, change, out, cx)
        })
    }

    /// As in Kafka Streams, the row of a session has no headers.
    fn forward(
        &self,
        key: K,
        (start_ms, end_ms): (i64, i64),
        change: Change<A>,
        out: &Edges<Windowed<K>, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        let record = Record {
            key: Windowed {
                key,
                start_ms,
                end_ms,
            },
            value: change,
            timestamp_ms: end_ms,
            headers: Headers::default(),
        };
        out.push(record, cx)
    }

    fn close(&self, cx: &Context) {
        self.time
            .close(cx, |floor_ms| self.store.set_floor_ms(floor_ms));
    }

    /// Sends the rows of the sessions that are closed at a time.
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
        let until_ms = due_until_ms(time_ms, self.sessions.span_ms());
        let none = Headers::default();
        let headers = self.time.closing_headers(headers, &none);
        open.take(until_ms, cx, |end_ms, open_key, cx| {
            let Some((start, key)) = open_key.split_first_chunk::<START_LEN>() else {
                return Err(Error::corrupt("the key of an open session ends early"));
            };
            let start_ms = i64::from_be_bytes(*start);
            let copy = |row: Option<&[u8]>| row.map(<[u8]>::to_vec);
            let Some(value) = self.store.fetch_kept(key, start_ms, end_ms, copy)? else {
                return Ok(());
            };
            let windowed = [key, &end_ms.to_be_bytes(), start].concat();
            let row = LastRow {
                key,
                windowed: &windowed,
                start_ms,
                end_ms,
                value: &value,
                timestamp_ms: end_ms,
            };
            open.send(&row, (&self.key, &self.row), headers, out, cx)
        })
    }

    /// Without an index nothing is held; only the deletions of merged sessions are behind time, by a gap.
    fn report_held(&self, cx: &mut Context) -> Result<()> {
        match &self.open {
            Some(open) => open.report_held(cx),
            None => {
                cx.set_held(self.hold, i64::MAX);
                Ok(())
            }
        }
    }
}

const START_LEN: usize = 8;

/// The key of a session in the index of its end: it orders sessions with the same end by start, then key.
fn open_key(start_ms: i64, key: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&start_ms.to_be_bytes());
    out.extend_from_slice(key);
}

impl<K, V, A> Process for SessionAggregate<K, V, A>
where
    K: Clone + 'static,
    V: 'static,
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
        self.time.see(record.timestamp_ms);
        let headers = match &self.open {
            Some(_) => record.headers.clone(),
            None => Headers::default(),
        };
        let emits_after = self.open.as_ref().is_some_and(|open| open.after);
        if !emits_after {
            self.emit(self.time.closing_ms(cx), Some(&headers), out, cx)?;
        }
        self.close(cx);
        self.take(record, &key, out, cx)?;
        match emits_after {
            true => self.emit(self.time.closing_ms(cx), Some(&headers), out, cx),
            false => self.report_held(cx),
        }
    }

    /// The end of the input closes all sessions, for good: see `time_window`.
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
                .close_until(close_ms.saturating_add(self.sessions.span_ms()));
        }
        self.report_held(cx)?;
        out.tick(tick, cx)
    }
}
