//! Records of a stream that wait before they meet a versioned table, so that late rows of the table are
//! there.
//!
//! ```text
//! row key:  timestamp i64 BE | key | number u64 BE       row:  headers | value
//! ```
//!
//! They are passed on in the order of their timestamps, then of their keys, then of their arrival, when
//! stream time has passed them by the grace. A record that arrives later than that is passed on at once.
//! So is one without a key or a value, which does not advance time: the join drops it, or joins it with
//! nothing. Source: `KStreamKTableJoinProcessor`, KIP-923.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Error, Record, Result};
use crate::codec::SharedCodec;
use crate::dsl::builder::SharedGraph;
use crate::dsl::operator::Operator;
use crate::dsl::operator_time::OperatorTime;
use crate::dsl::scratch::Scratch;
use crate::dsl::windows::millis;
use crate::plan::LogicalId;
use crate::state::row::{put_headers, take_headers};
use crate::state::{StoreKind, StoreSpec, StoredTime, TimeOrderedStore};
use crate::task::{Context, Edges, HeldRow, HoldId, Process, Tick};

/// Length of the number after a key.
const NUMBER_LEN: usize = 8;

/// Inserts the buffer of the join `name` after `parent`, before a table whose rows are known `history_ms`
/// back.
pub(super) fn add_buffer<K: 'static, V: 'static>(
    graph: &SharedGraph,
    parent: LogicalId,
    name: &str,
    (key, value): (SharedCodec<K>, SharedCodec<V>),
    (grace, history_ms): (Duration, Option<i64>),
) -> LogicalId {
    let grace_ms = millis(grace, "a grace").and_then(|grace_ms| match history_ms {
        Some(history_ms) if history_ms >= grace_ms => Ok(grace_ms),
        Some(history_ms) => Err(Error::invalid(format!(
            "a grace period of {grace_ms} ms is longer than the table's history of {history_ms} ms; give the \
             table a longer history"
        ))),
        None => Err(Error::invalid(
            "a join with a grace period needs a versioned table; make it with `Materialized::versioned`",
        )),
    });
    let grace_ms = grace_ms.unwrap_or_else(|error| {
        let error = error.context(format_args!("join {name:?}"));
        graph.borrow_mut().report(error);
        0
    });
    let store = format!("{name}-buffer");
    let codecs = (key.name(), value.name());
    // A record keeps its timestamp while it is held.
    let operator = Operator::new("join_buffer")
        .of([parent])
        .holds_back_ms(0)
        .store(StoreSpec::new(&*store, StoreKind::time_ordered(), codecs));
    operator.add(graph, move |wiring, id| {
        Ok(GraceBuffer::<K, V> {
            grace_ms,
            key: key.clone(),
            value: value.clone(),
            name: store.as_str().into(),
            rows: wiring.store(&store)?,
            time: OperatorTime::of(wiring, &store, wiring.bound(id)),
            number: wiring.time(&format!("operator/{store}/number")),
            hold_id: wiring.hold(id)?,
            scratch: RefCell::default(),
            types: PhantomData,
        })
    })
}

struct GraceBuffer<K, V> {
    grace_ms: i64,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    name: Arc<str>,
    rows: TimeOrderedStore,
    time: OperatorTime,
    /// The number of the latest record.
    number: StoredTime,
    hold_id: HoldId,
    scratch: RefCell<Scratch>,
    types: PhantomData<fn(K, V)>,
}

impl<K: 'static, V: 'static> GraceBuffer<K, V> {
    /// Holds a record.
    fn keep(&self, record: &Record<K, V>) -> Result<()> {
        let Scratch { key, row } = &mut *self.scratch.borrow_mut();
        key.clear();
        row.clear();
        put_headers(&record.headers, row);
        self.key.encode(&record.key, key)?;
        self.value.encode(&record.value, row)?;
        let number = self.number.get().wrapping_add(1).max(0);
        self.number.set(number);
        key.extend_from_slice(&number.to_be_bytes());
        self.rows.put(record.timestamp_ms, key, Some(row))
    }

    /// Passes on records that time has passed by the grace.
    fn release(&self, time_ms: i64, out: &Edges<K, V>, cx: &mut Context) -> Result<()> {
        let until_ms = match time_ms {
            i64::MAX => i64::MAX - 1,
            _ => time_ms.saturating_sub(self.grace_ms),
        };
        let (mut key, mut row) = (Vec::new(), Vec::new());
        while let Some(timestamp_ms) = self.rows.pop(until_ms, &mut key, &mut row)? {
            cx.set_held(self.hold_id, timestamp_ms);
            self.let_go(timestamp_ms, &key, &row, out, cx)?;
        }
        let oldest_ms = self.rows.first_time_ms()?;
        cx.set_held(self.hold_id, oldest_ms.unwrap_or(i64::MAX));
        Ok(())
    }

    fn let_go(
        &self,
        timestamp_ms: i64,
        row_key: &[u8],
        row: &[u8],
        out: &Edges<K, V>,
        cx: &mut Context,
    ) -> Result<()> {
        let damaged = || Error::corrupt("a record that waits for a table is damaged");
        let key_len = row_key.len().checked_sub(NUMBER_LEN).ok_or_else(damaged)?;
        let key = &row_key[..key_len];
        let mut value = row;
        let headers = take_headers(&mut value).ok_or_else(damaged)?;
        let held = HeldRow {
            store: &self.name,
            key,
            value,
            end_ms: timestamp_ms.saturating_add(self.grace_ms),
            timestamp_ms,
        };
        cx.release(held, &headers, |cx, headers| {
            let record = Record {
                key: self.key.decode(Some(key))?,
                value: self.value.decode(Some(value))?,
                timestamp_ms,
                headers,
            };
            out.push(record, cx)
        })
    }
}

impl<K: 'static, V: 'static> Process for GraceBuffer<K, V> {
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = K;
    type ValueOut = V;

    fn process(&self, record: Record<K, V>, out: &Edges<K, V>, cx: &mut Context) -> Result<()> {
        if self.key.is_null(&record.key) || self.value.is_null(&record.value) {
            return out.push(record, cx);
        }
        self.time.see(record.timestamp_ms);
        let late_before_ms = self.time.lateness(cx).late_ms;
        if record.timestamp_ms < late_before_ms.saturating_sub(self.grace_ms) {
            out.push(record, cx)?;
        } else {
            self.keep(&record)?;
        }
        self.release(self.time.closing_ms(cx), out, cx)
    }

    fn tick(&self, tick: Tick, out: &Edges<K, V>, cx: &mut Context) -> Result<()> {
        let time_ms = match tick {
            Tick::Moved => self.time.closing_ms(cx),
            Tick::Ended => i64::MAX,
        };
        self.release(time_ms, out, cx)?;
        out.tick(tick, cx)
    }
}
