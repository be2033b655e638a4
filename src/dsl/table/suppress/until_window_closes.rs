//! `suppress` until the window closes: holds back each row and forwards its last state, once.
//!
//! Held rows are in their own store, ordered by the end of their window, then key, then start: the order
//! in which they are sent. A window closes when the time passes its end plus grace; with several origins
//! this is the smallest of their clocks. A row that was deleted in the meantime is never sent. A window
//! that was closed stays closed: an origin that was left out may return with older records, whose rows
//! are late here. Source: KIP-328, `KTableSuppressProcessorSupplier`.
//!
//! ```text
//! key:  end i64 BE | windowed key        row:  timestamp i64 BE | headers | value
//! ```

use std::cell::RefCell;
use std::sync::Arc;

use super::Suppression;
use crate::base::{Error, Headers, Record, Result};
use crate::codec::{Encoded, SharedCodec, Windowed};
use crate::dsl::operator::Operator;
use crate::dsl::operator_time::OperatorTime;
use crate::dsl::table::held_bytes::take_time;
use crate::dsl::{Change, Materialized, Table};
use crate::plan::OldRows;
use crate::state::row::{put_headers, take_headers};
use crate::state::{StoreKind, StoreSpec, TimeOrderedStore};
use crate::task::{Context, DropReason, Edges, HeldRow, HoldId, Process, Tick};

/// Each row waits until its window closes: [`Suppressed::until_window_closes`](super::Suppressed::until_window_closes).
pub struct UntilWindowCloses<V> {
    pub(super) name: String,
    pub(super) row: SharedCodec<V>,
}

impl<K: 'static, V: 'static> Suppression<Windowed<K>, V> for UntilWindowCloses<V> {
    fn suppress(self, table: Table<Windowed<K>, V>) -> Table<Windowed<K>, V> {
        let Self { name, row: value } = self;
        let store = format!("{name}-store");
        let hold = table.windows.unwrap_or_else(|| {
            let message = format!(
                "suppress {name:?} follows a table that is not windowed; use `Suppressed::until_time_limit`"
            );
            table.graph.borrow_mut().report(Error::invalid(message));
            HoldSpec {
                size_ms: 0,
                grace_ms: 0,
                reopens: false,
            }
        });
        let codecs = (table.key.name(), value.name());
        let spec = StoreSpec::new(store.clone(), StoreKind::key_value(), codecs);
        // A row is sent when its window closes, with the age of its window.
        let operator = Operator::new("suppress")
            .of([table.id])
            .named(name)
            .store(spec)
            .holds_back_ms(hold.size_ms.saturating_add(hold.grace_ms));
        // A row is sent once, unless its window may open again.
        let operator = match hold.reopens {
            true => operator,
            false => operator.old_rows(OldRows::Absent),
        };
        let key = table.key.clone();
        let id = operator.add(&table.graph, move |wiring, id| {
            Ok(Suppress {
                hold,
                key: key.clone(),
                value: value.clone(),
                name: store.as_str().into(),
                store: TimeOrderedStore::new(wiring.key_value(&store)?),
                time: OperatorTime::of(wiring, &store, wiring.bound(id)),
                hold_id: wiring.hold(id)?,
                buffers: RefCell::default(),
            })
        });
        Table {
            id,
            view: None,
            ..table
        }
    }
}

/// Which windows are held, and how long after their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldSpec {
    /// Length of a window, in milliseconds.
    pub size_ms: i64,
    /// How long after its end a window accepts records, in milliseconds.
    pub grace_ms: i64,
    /// Whether, with one origin, a window that was closed may open again: this is Kafka Streams' rule for
    /// sessions and sliding windows in the millisecond of their close.
    pub reopens: bool,
}

impl HoldSpec {
    /// Windows of which both ends are timestamps of records. They accept records until time is more than
    /// `grace_ms` past their end. Kafka Streams sends them a millisecond earlier; so do we if the
    /// retention of the store is set explicitly.
    pub(in crate::dsl) fn of_inclusive<A>(
        size_ms: i64,
        grace_ms: i64,
        store: &Materialized<A>,
    ) -> Self {
        let is_stated = store.retention.is_some();
        Self {
            size_ms,
            grace_ms: grace_ms.saturating_add(i64::from(!is_stated)),
            reopens: is_stated,
        }
    }
}

/// Holds the rows of windows until they close.
struct Suppress<K, V> {
    hold: HoldSpec,
    key: SharedCodec<Windowed<K>>,
    value: SharedCodec<V>,
    name: Arc<str>,
    store: TimeOrderedStore,
    time: OperatorTime,
    hold_id: HoldId,
    buffers: RefCell<Buffers>,
}

#[derive(Default)]
struct Buffers {
    key: Vec<u8>,
    row: Vec<u8>,
}

impl<K: 'static, V: 'static> Suppress<K, V> {
    fn hold(&self, record: &Record<Windowed<K>, Change<V>>, cx: &mut Context) -> Result<()> {
        let Buffers { key, row } = &mut *self.buffers.borrow_mut();
        let end_ms = record.key.end_ms;
        let may_reopen = self.hold.reopens && !self.time.has_several_origins();
        if self.close_ms(end_ms) <= self.time.closed_ms() && !may_reopen {
            cx.drop_record(cx.closed_reason());
            return Ok(());
        }
        key.clear();
        if self.key.encode(&record.key, key)? == Encoded::Null {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        row.clear();
        row.extend_from_slice(&record.timestamp_ms.to_be_bytes());
        put_headers(&record.headers, row);
        let held = match &record.value.new {
            Some(value) => self.value.encode(value, row)? == Encoded::Bytes,
            None => false,
        };
        self.store.put(end_ms, key, held.then_some(row.as_slice()))
    }

    /// When a window that ends at `end_ms` closes.
    fn close_ms(&self, end_ms: i64) -> i64 {
        end_ms.saturating_add(self.hold.grace_ms)
    }

    /// The end of the earliest held window, `i64::MAX` if none is held.
    fn first_end_ms(&self) -> Result<i64> {
        Ok(self.store.first_time_ms()?.unwrap_or(i64::MAX))
    }

    /// Forwards the rows of all windows that close at or before `time_ms`.
    fn release(
        &self,
        time_ms: i64,
        out: &Edges<Windowed<K>, Change<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        let last_end_ms = match time_ms {
            i64::MAX => i64::MAX,
            _ => time_ms.saturating_sub(self.hold.grace_ms),
        };
        if time_ms != i64::MAX && self.time.has_several_origins() {
            self.time.close_until(time_ms);
        }
        let (mut windowed, mut row) = (Vec::new(), Vec::new());
        while let Some(end_ms) = self.store.pop(last_end_ms, &mut windowed, &mut row)? {
            self.time.close_until(self.close_ms(end_ms));
            // Records that follow from this row may be as old as its window.
            cx.set_held(self.hold_id, self.oldest_ms(end_ms));
            let (timestamp_ms, headers, value) = take_row(&row)?;
            let held_row = HeldRow {
                store: &self.name,
                key: &windowed,
                value,
                end_ms,
                timestamp_ms,
            };
            cx.release(held_row, &headers, |cx, headers| {
                let mut key = self.key.decode(Some(&windowed))?;
                key.end_ms = end_ms;
                let value = Change::to(Some(self.value.decode(Some(value))?));
                let record = Record {
                    key,
                    value,
                    timestamp_ms,
                    headers,
                };
                out.push(record, cx)
            })?;
        }
        cx.set_held(self.hold_id, self.oldest_ms(self.first_end_ms()?));
        Ok(())
    }

    /// The oldest timestamp that a row of a window with this end may have.
    fn oldest_ms(&self, end_ms: i64) -> i64 {
        match end_ms {
            i64::MAX => i64::MAX,
            _ => end_ms.saturating_sub(self.hold.size_ms),
        }
    }
}

impl<K: 'static, V: 'static> Process for Suppress<K, V> {
    type KeyIn = Windowed<K>;
    type ValueIn = Change<V>;
    type KeyOut = Windowed<K>;
    type ValueOut = Change<V>;

    fn process(
        &self,
        record: Record<Windowed<K>, Change<V>>,
        out: &Edges<Windowed<K>, Change<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        self.time.see(record.timestamp_ms);
        self.hold(&record, cx)?;
        self.release(self.time.closing_ms(cx), out, cx)
    }

    fn tick(
        &self,
        tick: Tick,
        out: &Edges<Windowed<K>, Change<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        let time_ms = match tick {
            Tick::Moved => self.time.closing_ms(cx),
            Tick::Ended => i64::MAX,
        };
        self.release(time_ms, out, cx)?;
        out.tick(tick, cx)
    }
}

fn take_row(row: &[u8]) -> Result<(i64, Headers, &[u8])> {
    let mut rest = row;
    let time = take_time(&mut rest);
    let headers = take_headers(&mut rest);
    match (time, headers) {
        (Some(timestamp_ms), Some(headers)) => Ok((timestamp_ms, headers, rest)),
        _ => Err(Error::corrupt("a held row ends early")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_a_held_row_come_back() {
        let mut headers = Headers::default();
        headers.add("a", None);
        headers.add("b", Some(Vec::new()));
        headers.add("c", Some(b"salt".to_vec()));
        let mut row = 7i64.to_be_bytes().to_vec();
        put_headers(&headers, &mut row);
        row.extend_from_slice(b"value");
        assert_eq!(take_row(&row).expect("intact"), (7, headers, &b"value"[..]));
        assert!(take_row(&row[..12]).is_err());
    }
}
