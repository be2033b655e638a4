//! `suppress` until the window closes: holds each row back and forwards its last state, once.
//!
//! Held rows live in a store of their own, ordered by the end of their window, then key, then start:
//! the order in which they come out. A window closes when the time passes its end plus grace; with
//! several origins (decision D13) that is the least of their clocks. A row that was deleted meanwhile
//! never comes out. A window that was closed stays closed: an origin that was left out may come back with
//! older records, whose rows are late here. Source: KIP-328, `KTableSuppressProcessorSupplier`.
//!
//! ```text
//! key:  end i64 BE | windowed key        row:  timestamp i64 BE | headers | value
//! headers:  count u32 BE, then for each: length u32 BE, name, length + 1 u32 BE (0 null), value
//! ```

use std::cell::RefCell;
use std::ops::Bound;
use std::sync::Arc;

use super::Change;
use crate::base::{Error, Header, Headers, Record, Result};
use crate::codec::{Encoded, SharedCodec, Windowed};
use crate::state::{Direction, KeyValueStore, TimeSlot};
use crate::task::{Context, DropReason, Edges, HeldRow, Process, TimeBound};

/// Which windows are held, and how long after their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldSpec {
    /// Length of a window, in milliseconds.
    pub size_ms: i64,
    /// How long after its end a window takes records, in milliseconds.
    pub grace_ms: i64,
}

/// Holds the rows of windows until they close.
pub struct Suppress<K, V> {
    hold: HoldSpec,
    key: SharedCodec<Windowed<K>>,
    value: SharedCodec<V>,
    name: Arc<str>,
    store: KeyValueStore,
    observed: TimeSlot,
    closed: TimeSlot,
    bound: TimeBound,
    buffers: RefCell<Buffers>,
}

#[derive(Default)]
struct Buffers {
    key: Vec<u8>,
    row: Vec<u8>,
    /// No held row ends before this; `None` when the store has not been looked at yet. An undone
    /// record takes rows back and forth, so this goes with the number of those.
    first_end_ms: Option<i64>,
    undone: u64,
}

impl<K: 'static, V: 'static> Suppress<K, V> {
    /// A buffer in the store of that name. `times` are the operator's own, kept with the state: the
    /// largest timestamp it has seen, and the time at which the last window that came out closed.
    pub fn new(
        hold: HoldSpec,
        codecs: (SharedCodec<Windowed<K>>, SharedCodec<V>),
        store: (Arc<str>, KeyValueStore),
        times: (TimeSlot, TimeSlot),
        bound: TimeBound,
    ) -> Self {
        let (key, value) = codecs;
        let (name, store) = store;
        let (observed, closed) = times;
        Self {
            hold,
            key,
            value,
            name,
            store,
            observed,
            closed,
            bound,
            buffers: RefCell::default(),
        }
    }

    fn hold(&self, record: &Record<Windowed<K>, Change<V>>, cx: &mut Context) -> Result<()> {
        let Buffers {
            key,
            row,
            first_end_ms,
            ..
        } = &mut *self.buffers.borrow_mut();
        let end_ms = record.key.end_ms;
        if self.close_ms(end_ms) <= self.closed.get() {
            cx.drop_record(DropReason::Late);
            return Ok(());
        }
        key.clear();
        key.extend_from_slice(&end_ms.to_be_bytes());
        if self.key.encode(&record.key, key)? == Encoded::Null {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        row.clear();
        row.extend_from_slice(&record.timestamp_ms.to_be_bytes());
        put_headers(row, &record.headers);
        let held = match &record.value.new {
            Some(value) => self.value.encode(value, row)? == Encoded::Bytes,
            None => false,
        };
        if held && let Some(first) = first_end_ms {
            *first = end_ms.min(*first);
        }
        self.store.put(key, held.then_some(row.as_slice()))
    }

    /// When a window that ends at `end_ms` closes.
    fn close_ms(&self, end_ms: i64) -> i64 {
        end_ms.saturating_add(self.hold.grace_ms)
    }

    /// The end of the earliest held window, `i64::MAX` if none is held.
    fn first_end_ms(&self, cx: &Context) -> Result<i64> {
        {
            let buffers = &mut *self.buffers.borrow_mut();
            if buffers.undone != cx.undone() {
                buffers.undone = cx.undone();
                buffers.first_end_ms = None;
            }
            if let Some(first) = buffers.first_end_ms {
                return Ok(first);
            }
        }
        let first = self.end_of_first(Bound::Unbounded)?;
        self.buffers.borrow_mut().first_end_ms = Some(first);
        Ok(first)
    }

    fn end_of_first(&self, from: Bound<&[u8]>) -> Result<i64> {
        let end = |held: Option<(&[u8], &[u8])>| held?.0.first_chunk::<8>().copied();
        let end = self.store.first(from, end)?;
        Ok(end.map_or(i64::MAX, i64::from_be_bytes))
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
        if self.first_end_ms(cx)? > last_end_ms {
            return Ok(());
        }
        let after = last_end_ms.checked_add(1).map(i64::to_be_bytes);
        let after = after.as_ref().map(<[u8; 8]>::as_slice);
        let to = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut held = self.store.range(Bound::Unbounded, to, Direction::Forward)?;
        while let Some((key, row)) = held.next()? {
            let Some((end, windowed)) = key.split_first_chunk::<8>() else {
                return Err(Error::corrupt("a held row has a key of less than 8 bytes"));
            };
            let end_ms = i64::from_be_bytes(*end);
            if self.close_ms(end_ms) > self.closed.get() {
                self.closed.set(self.close_ms(end_ms));
            }
            self.store.put(key, None)?;
            let (timestamp_ms, headers, value) = take_row(row)?;
            let held_row = HeldRow {
                store: &self.name,
                key: windowed,
                value,
                end_ms,
                timestamp_ms,
            };
            cx.release(held_row, &headers, |cx, headers| {
                let mut key = self.key.decode(Some(windowed))?;
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
        let next_end_ms = match after {
            Some(after) => self.end_of_first(Bound::Included(after))?,
            None => i64::MAX,
        };
        let buffers = &mut *self.buffers.borrow_mut();
        buffers.first_end_ms = Some(next_end_ms);
        buffers.undone = cx.undone();
        Ok(())
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
        if record.timestamp_ms > self.observed.get() {
            self.observed.set(record.timestamp_ms);
        }
        self.hold(&record, cx)?;
        self.release(self.observed.get().min(cx.floor_ms(&self.bound)), out, cx)
    }

    /// Another origin moved on, or the input ended. Behind this operator time runs late by a window
    /// and its grace: nothing that is still to come starts before that.
    fn tick(
        &self,
        time_ms: i64,
        out: &Edges<Windowed<K>, Change<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        if time_ms == i64::MAX {
            self.release(i64::MAX, out, cx)?;
            return out.tick(i64::MAX, cx);
        }
        let floor_ms = cx.floor_ms(&self.bound);
        let reached_ms = self.observed.get().min(floor_ms);
        self.release(reached_ms, out, cx)?;
        let empty = self.first_end_ms(cx)? == i64::MAX;
        let promise_ms = if empty { floor_ms } else { reached_ms };
        let behind_ms = self.hold.grace_ms.saturating_add(self.hold.size_ms);
        match promise_ms.min(time_ms).saturating_sub(behind_ms) {
            promise_ms if promise_ms >= 0 => out.tick(promise_ms, cx),
            _ => Ok(()),
        }
    }
}

fn put_headers(out: &mut Vec<u8>, headers: &Headers) {
    let put_len = |out: &mut Vec<u8>, len: usize| out.extend((len as u32).to_be_bytes());
    put_len(out, headers.as_slice().len());
    for Header { key, value } in headers.as_slice() {
        put_len(out, key.len());
        out.extend_from_slice(key.as_bytes());
        put_len(out, value.as_ref().map_or(0, |value| value.len() + 1));
        out.extend_from_slice(value.as_deref().unwrap_or_default());
    }
}

fn take_row(row: &[u8]) -> Result<(i64, Headers, &[u8])> {
    let parse = || {
        let (timestamp, mut rest) = row.split_first_chunk::<8>()?;
        let take_len = |rest: &mut &[u8]| {
            let (len, after) = rest.split_first_chunk::<4>()?;
            *rest = after;
            Some(u32::from_be_bytes(*len) as usize)
        };
        let count = take_len(&mut rest)?;
        let mut headers = Vec::with_capacity(count.min(rest.len()));
        for _ in 0..count {
            let len = take_len(&mut rest)?;
            let (key, after) = rest.split_at_checked(len)?;
            rest = after;
            let len = take_len(&mut rest)?;
            let (value, after) = rest.split_at_checked(len.saturating_sub(1))?;
            rest = after;
            let key = String::from_utf8(key.to_vec()).ok()?;
            headers.push(Header {
                key,
                value: (len > 0).then(|| value.to_vec()),
            });
        }
        Some((
            i64::from_be_bytes(*timestamp),
            Headers::from_vec(headers),
            rest,
        ))
    };
    parse().ok_or_else(|| Error::corrupt("a held row ends early"))
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
        put_headers(&mut row, &headers);
        row.extend_from_slice(b"value");
        assert_eq!(take_row(&row).expect("intact"), (7, headers, &b"value"[..]));
        assert!(take_row(&row[..12]).is_err());
    }
}
