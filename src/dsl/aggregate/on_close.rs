//! `emit_on_close`: windows and sessions send one row, their last, when they close.
//!
//! The rows are in the store of the aggregate. An additional index, `<store>-open-store`, lists those
//! that have not been sent, in the order in which they will be: windows by start, then key; sessions by
//! end, then start, then key. So only rows that are due are visited.
//!
//! Results are sent before the record that closes their window is put, while the store still shows them
//! all. Kafka Streams puts it first, so that a jump of time loses windows; an explicit retention has the
//! same effect here. Source: KIP-825, `AbstractKStreamTimeWindowAggregateProcessor`.

use std::sync::Arc;

use super::fold::Emit;
use super::{GroupedStream, SessionWindows, SlidingWindows, TimeWindows};
use crate::base::{Headers, Record, Result};
use crate::codec::{SharedCodec, Windowed};
use crate::dsl::operator::Operator;
use crate::dsl::scratch::split_row;
use crate::dsl::{Change, Materialized};
use crate::state::{Changelog, StoreKind, StoreSpec, TimeOrderedStore, WindowStore};
use crate::task::{Context, Edges, HeldRow, HoldId, NodeId, Wiring};

/// Windows that close, so that each can have a final row.
#[diagnostic::on_unimplemented(
    message = "`{Self}` never closes, so that nothing would come out",
    note = "`emit_on_close` needs `TimeWindows`, `SlidingWindows` or `SessionWindows`"
)]
pub trait ClosingWindows {}

impl ClosingWindows for TimeWindows {}
impl ClosingWindows for SlidingWindows {}
impl ClosingWindows for SessionWindows {}

impl<K: 'static, V: 'static, W: ClosingWindows> GroupedStream<K, V, W> {
    /// Sends one row for each window or session, its last, when it has closed, and no updates before. A
    /// row has the headers of the record that closed its window. Nothing is lost however far time jumps,
    /// unless the store's [`retention`](Materialized::retention) is set explicitly: then rows past it are
    /// not sent, as in Kafka Streams.
    ///
    /// Unlike [`Table::suppress`](crate::dsl::Table::suppress) it keeps no second copy of the rows; open
    /// windows are listed in an index called `<store>-open-store`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings
    ///     .group_by_key("by-sensor")
    ///     .windowed_by(SessionWindows::with_gap(Duration::from_secs(300)))
    ///     .emit_on_close()
    ///     .count("readings-a-session")
    ///     .to_stream()
    ///     .to("sessions");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn emit_on_close(mut self) -> Self {
        self.groups.emit = Emit::OnClose;
        self
    }
}

/// The declaration of an operator that emits on close.
#[derive(Clone, Debug)]
pub(super) struct OnClose {
    /// The store of the index.
    index: String,
    /// The store of the rows.
    rows: Arc<str>,
    /// Whether results are sent after the put of the record that closes them.
    after: bool,
}

impl OnClose {
    /// If emitting on close is configured: adds the index to the operator. `behind_ms` is how far behind
    /// the current time a sent row may be.
    pub(super) fn declare<A: 'static>(
        emit: Emit,
        store: &Materialized<A>,
        key: String,
        behind_ms: i64,
        operator: Operator,
    ) -> (Option<Self>, Operator) {
        if emit == Emit::Updates {
            return (None, operator);
        }
        let index = format!("{}-open-store", store.name);
        let codecs = (key, "none".to_owned());
        let mut spec = StoreSpec::new(index.clone(), StoreKind::time_ordered(), codecs);
        spec.changelog = Changelog::own_if(store.logged);
        let on_close = Self {
            index,
            rows: store.name.as_str().into(),
            after: store.retention.is_some(),
        };
        let operator = operator.store(spec).holds_back_ms(behind_ms);
        (Some(on_close), operator)
    }

    /// The index within a task.
    pub(super) fn open(&self, wiring: &Wiring<'_>, id: NodeId) -> Result<OpenRows> {
        Ok(OpenRows {
            index: wiring.store(&self.index)?,
            rows: self.rows.clone(),
            hold: wiring.hold(id)?,
            after: self.after,
        })
    }
}

/// The windows or sessions whose row has not been sent, by time and by the key that the operator builds.
pub(super) struct OpenRows {
    index: TimeOrderedStore,
    rows: Arc<str>,
    hold: HoldId,
    /// Whether results are sent after the put of the record that closes them.
    pub(super) after: bool,
}

impl OpenRows {
    /// A window or session now has a row.
    pub(super) fn add(&self, time_ms: i64, key: &[u8]) -> Result<()> {
        self.index.put(time_ms, key, Some(&[]))
    }

    /// A session has been merged into another one.
    pub(super) fn remove(&self, time_ms: i64, key: &[u8]) -> Result<()> {
        self.index.put(time_ms, key, None)
    }

    /// Takes out all entries up to a time, in order.
    pub(super) fn take(
        &self,
        until_ms: i64,
        cx: &mut Context,
        mut let_go: impl FnMut(i64, &[u8], &mut Context) -> Result<()>,
    ) -> Result<()> {
        let (mut key, mut row) = (Vec::new(), Vec::new());
        while let Some(time_ms) = self.index.pop(until_ms, &mut key, &mut row)? {
            // Records that follow from this row may be as old as its window.
            cx.set_held(self.hold, time_ms);
            let_go(time_ms, &key, cx)?;
        }
        self.report_held(cx)
    }

    /// Reports how old the oldest row is that has not been sent.
    pub(super) fn report_held(&self, cx: &mut Context) -> Result<()> {
        let first_ms = self.index.first_time_ms()?.unwrap_or(i64::MAX);
        cx.set_held(self.hold, first_ms);
        Ok(())
    }
}

/// The time up to which an index is due when time has reached `time_ms`: entries there close `span_ms` later.
pub(super) fn due_until_ms(time_ms: i64, span_ms: i64) -> i64 {
    match time_ms {
        i64::MAX => i64::MAX,
        _ => time_ms.saturating_sub(span_ms),
    }
}

/// A row that is sent.
pub(super) struct LastRow<'a> {
    /// The bytes of its plain key.
    pub(super) key: &'a [u8],
    /// The bytes of its windowed key, as dead letters show it.
    pub(super) windowed: &'a [u8],
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) value: &'a [u8],
    pub(super) timestamp_ms: i64,
}

impl OpenRows {
    /// Sends the last rows of the windows of `size_ms` milliseconds that began at `until_ms` or before.
    pub(super) fn send_windows<K: 'static, A: 'static>(
        &self,
        store: &WindowStore,
        (until_ms, size_ms): (i64, i64),
        codecs: (&SharedCodec<K>, &SharedCodec<A>),
        headers: &Headers,
        out: &Edges<Windowed<K>, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        self.take(until_ms, cx, |start_ms, key, cx| {
            let copy = |row: Option<&[u8]>| row.map(<[u8]>::to_vec);
            let Some(row) = store.fetch(key, start_ms, copy)? else {
                return Ok(());
            };
            let (timestamp_ms, value) = split_row(&row)?;
            let windowed = [key, &start_ms.to_be_bytes()].concat();
            let row = LastRow {
                key,
                windowed: &windowed,
                start_ms,
                end_ms: start_ms.saturating_add(size_ms),
                value,
                timestamp_ms,
            };
            self.send(&row, codecs, headers, out, cx)
        })
    }

    /// Sends the last row of a window; if this fails, only this row fails.
    pub(super) fn send<K: 'static, A: 'static>(
        &self,
        row: &LastRow<'_>,
        (key, value): (&SharedCodec<K>, &SharedCodec<A>),
        headers: &Headers,
        out: &Edges<Windowed<K>, Change<A>>,
        cx: &mut Context,
    ) -> Result<()> {
        let held_row = HeldRow {
            store: &self.rows,
            key: row.windowed,
            value: row.value,
            end_ms: row.end_ms,
            timestamp_ms: row.timestamp_ms,
        };
        cx.release(held_row, headers, |cx, headers| {
            let windowed = Windowed {
                key: key.decode(Some(row.key))?,
                start_ms: row.start_ms,
                end_ms: row.end_ms,
            };
            let record = Record {
                key: windowed,
                value: Change::to(Some(value.decode(Some(row.value))?)),
                timestamp_ms: row.timestamp_ms,
                headers,
            };
            out.push(record, cx)
        })
    }
}
