//! The record cache: holds the changes of a table until the commit, and sends the last change of each
//! key.
//!
//! It follows the operator that keeps the rows, and is not part of its store: readers of the store see
//! each row at once. Held changes are in a separate store without a changelog, so they are undone with
//! the record that made them, lost with an abort, and count as uncommitted; it is empty when a commit
//! begins. Rows are sent in the order of their last updates, as in Kafka Streams (`NamedCache`).
//!
//! ```text
//! time: number of the update | key         row: timestamp i64 BE | headers | first old | last new
//! ```

use std::cell::RefCell;
use std::sync::Arc;

use super::Table;
use super::held_bytes::{put_option, take_option, take_time};
use crate::base::{Error, NO_TIMESTAMP, Record, Result};
use crate::codec::{Encoded, SharedCodec};
use crate::dsl::Change;
use crate::dsl::operator::Operator;
use crate::plan::OldRows;
use crate::state::row::{put_headers, take_headers};
use crate::state::{Changelog, StoreKind, StoreSpec, StoredTime, TimeOrderedStore};
use crate::task::{Context, DropReason, Edges, HeldRow, HoldId, Process, Tick};

impl<K: 'static, V: 'static> Table<K, V> {
    /// With a cache behind it, if it is to have a store of that name.
    pub(in crate::dsl) fn cached_if(self, cached: bool, store: &str, row: SharedCodec<V>) -> Self {
        if !cached {
            return self;
        }
        let held = format!("{store}-cache-store");
        let codecs = (self.key.name(), row.name());
        let mut spec = StoreSpec::new(held.clone(), StoreKind::time_ordered_by_key(), codecs);
        spec.changelog = Changelog::None;
        let key = self.key.clone();
        // A row is reported as held from its arrival on, and is sent with its own timestamp.
        let operator = Operator::new("cache").of([self.id]).store(spec);
        let operator = operator.holds_back_ms(0).flushes();
        // The row before the first change is sent along with the last.
        let operator = operator.wants_old_rows().old_rows(OldRows::Kept);
        let id = operator.add(&self.graph, move |wiring, id| {
            Ok(Cache {
                name: held.as_str().into(),
                key: key.clone(),
                row: row.clone(),
                held: wiring.store(&held)?,
                number: wiring.time(&format!("operator/{held}/number")),
                oldest: wiring.time(&format!("operator/{held}/oldest")),
                hold: wiring.hold(id)?,
                sends_old: wiring.sends_old_rows(id),
                buffers: RefCell::default(),
            })
        });
        Table { id, ..self }
    }
}

/// Holds the last change of each key.
struct Cache<K, V> {
    name: Arc<str>,
    key: SharedCodec<K>,
    row: SharedCodec<V>,
    held: TimeOrderedStore,
    /// The number of the last update since the commit.
    number: StoredTime,
    /// The oldest timestamp held.
    oldest: StoredTime,
    hold: HoldId,
    sends_old: bool,
    buffers: RefCell<Buffers>,
}

#[derive(Default)]
struct Buffers {
    key: Vec<u8>,
    row: Vec<u8>,
    value: Vec<u8>,
}

impl<K: 'static, V: 'static> Cache<K, V> {
    fn encode<'a>(&self, row: Option<&V>, out: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        out.clear();
        let has_bytes = match row {
            Some(row) => self.row.encode(row, out)? == Encoded::Bytes,
            None => false,
        };
        Ok(has_bytes.then_some(&out[..]))
    }

    fn take(&self, record: &Record<K, Change<V>>, cx: &mut Context) -> Result<()> {
        let Buffers { key, row, value } = &mut *self.buffers.borrow_mut();
        key.clear();
        if self.key.encode(&record.key, key)? == Encoded::Null {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        row.clear();
        row.extend_from_slice(&record.timestamp_ms.to_be_bytes());
        put_headers(&record.headers, row);
        let is_held = self.held.find(key, |found| match found {
            Some((_, held)) => read_held(held).map(|held| {
                put_option(row, held.old);
                true
            }),
            None => Ok(false),
        })??;
        if !is_held {
            put_option(row, self.encode(record.value.old.as_ref(), value)?);
        }
        put_option(row, self.encode(record.value.new.as_ref(), value)?);
        let number = self.number.get().max(NO_TIMESTAMP) + 1;
        self.number.set(number);
        self.held.put(number, key, Some(row))?;
        let oldest_ms = self.oldest.get();
        if oldest_ms == NO_TIMESTAMP || record.timestamp_ms < oldest_ms {
            self.oldest.set(record.timestamp_ms);
        }
        Ok(())
    }

    fn report_held(&self, cx: &mut Context) {
        let oldest_ms = match self.oldest.get() {
            NO_TIMESTAMP => i64::MAX,
            oldest_ms => oldest_ms,
        };
        cx.set_held(self.hold, oldest_ms);
    }

    fn send(
        &self,
        key: &[u8],
        row: &[u8],
        out: &Edges<K, Change<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        let held = read_held(row)?;
        if held.old.is_none() && held.new.is_none() {
            // It was added and deleted between two commits.
            return Ok(());
        }
        let decode = |row: Option<&[u8]>| row.map(|row| self.row.decode(Some(row))).transpose();
        let headers = take_headers(&mut &*held.headers).unwrap_or_default();
        let timestamp_ms = held.timestamp_ms;
        let held_row = HeldRow {
            store: &self.name,
            key,
            value: held.new.unwrap_or_default(),
            end_ms: timestamp_ms,
            timestamp_ms,
        };
        // A row that fails must not keep the others from the commit.
        cx.release(held_row, &headers, |cx, headers| {
            let old = match self.sends_old {
                true => decode(held.old)?,
                false => None,
            };
            let new = decode(held.new)?;
            let record = Record {
                key: self.key.decode(Some(key))?,
                value: Change { new, old },
                timestamp_ms,
                headers,
            };
            out.push(record, cx)
        })
    }
}

impl<K: 'static, V: 'static> Process for Cache<K, V> {
    type KeyIn = K;
    type ValueIn = Change<V>;
    type KeyOut = K;
    type ValueOut = Change<V>;

    fn process(
        &self,
        record: Record<K, Change<V>>,
        _out: &Edges<K, Change<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        self.take(&record, cx)?;
        self.report_held(cx);
        Ok(())
    }

    /// The end comes after a flush, but rows may have come with it.
    fn tick(&self, tick: Tick, out: &Edges<K, Change<V>>, cx: &mut Context) -> Result<()> {
        match tick {
            Tick::Moved => self.report_held(cx),
            Tick::Ended => self.flush(out, cx)?,
        }
        out.tick(tick, cx)
    }

    fn flush(&self, out: &Edges<K, Change<V>>, cx: &mut Context) -> Result<()> {
        let (mut key, mut row) = (Vec::new(), Vec::new());
        while self.held.pop(i64::MAX, &mut key, &mut row)?.is_some() {
            self.send(&key, &row, out, cx)?;
        }
        self.number.set(NO_TIMESTAMP);
        self.oldest.set(NO_TIMESTAMP);
        self.report_held(cx);
        Ok(())
    }
}

/// The encoding of a held row.
struct Held<'a> {
    timestamp_ms: i64,
    headers: &'a [u8],
    old: Option<&'a [u8]>,
    new: Option<&'a [u8]>,
}

fn read_held(row: &[u8]) -> Result<Held<'_>> {
    let mut rest = row;
    let held = (|| {
        let timestamp_ms = take_time(&mut rest)?;
        let headers = rest;
        take_headers(&mut rest)?;
        let old = take_option(&mut rest)?;
        let new = take_option(&mut rest)?;
        Some(Held {
            timestamp_ms,
            headers,
            old,
            new,
        })
    })();
    held.ok_or_else(|| Error::corrupt("a row that is held until the commit ends early"))
}
