//! `suppress` for a time: holds back each row until time has passed it by a limit, and forwards its last
//! state.
//!
//! A row keeps the place in the queue that its first update got, which is the update's timestamp; it is
//! sent with timestamp and headers of its last update, including deletions. If the number of rows is
//! limited, the one that has waited longest is sent early. The old row that is sent along is that of the
//! last update, not what was sent before, as in Kafka Streams. A lookup shows what was sent last. Source:
//! `KTableSuppressProcessor`, `InMemoryTimeOrderedKeyValueChangeBuffer`.
//!
//! ```text
//! queue:  due i64 BE | key         nothing           in one store with
//! row:    255 | key                due | timestamp | headers | prior | old | new
//! early:  timestamp i64 BE | key   nothing           in a store of its own: rows that are older than due
//! ```

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Suppression;
use crate::base::{Error, Headers, NO_TIMESTAMP, Record, Result};
use crate::codec::{Encoded, SharedCodec};
use crate::dsl::operator::Operator;
use crate::dsl::operator_time::OperatorTime;
use crate::dsl::scratch::Scratch;
use crate::dsl::table::MakeView;
use crate::dsl::table::held_bytes::{put_option, take_option, take_time};
use crate::dsl::windows::millis;
use crate::dsl::{Change, Table};
use crate::plan::OldRows;
use crate::state::row::{put_headers, take_headers};
use crate::state::{KeyValueStore, StoreKind, StoreSpec, StoredTime, TimeOrderedStore};
use crate::task::{Context, DropReason, Edges, HeldRow, HoldId, Process, Tick, View, ViewPort};

/// Each row waits for a time: [`Suppressed::until_time_limit`](super::Suppressed::until_time_limit).
pub struct UntilTimeLimit<V> {
    pub(super) name: String,
    pub(super) row: SharedCodec<V>,
    pub(super) limit: Duration,
    pub(super) max_rows: Option<u64>,
}

impl<V> UntilTimeLimit<V> {
    /// Holds at most this many rows: when there would be more, the one that has waited longest is sent
    /// early.
    #[must_use]
    pub fn max_rows(mut self, max_rows: u64) -> Self {
        self.max_rows = Some(max_rows);
        self
    }
}

impl<K: 'static, V: 'static> Suppression<K, V> for UntilTimeLimit<V> {
    fn suppress(self, table: Table<K, V>) -> Table<K, V> {
        let graph = table.graph;
        let Self {
            name,
            row,
            limit,
            max_rows,
        } = self;
        let limit_ms = millis(limit, "a suppression's limit").unwrap_or_else(|error| {
            graph.borrow_mut().report(error.context(&name));
            0
        });
        let limit = LimitSpec { limit_ms, max_rows };
        let (store, early) = (format!("{name}-store"), format!("{name}-early-store"));
        let spec = |name: &str, row: String| {
            StoreSpec::new(name, StoreKind::key_value(), (table.key.name(), row))
        };
        // A row is reported as held from its arrival on, and is sent with its own timestamp.
        let operator = Operator::new("suppress_for")
            .of([table.id])
            .named(name)
            .holds_back_ms(0)
            // Meanwhile the table shows what was there before the row was held.
            .wants_old_rows()
            .old_rows(OldRows::OfParents)
            .store(spec(&store, row.name()))
            .store(spec(&early, "none".to_owned()));
        let codecs = (table.key.clone(), row);
        let (own_codecs, own_store) = (codecs.clone(), store.clone());
        let id = operator.add(&graph, move |wiring, id| {
            let store = &own_store;
            let stores = SuppressForStores {
                name: store.as_str().into(),
                rows: wiring.key_value(store)?,
                early: wiring.key_value(&early)?,
                time: OperatorTime::of(wiring, store, wiring.bound(id)),
                count: wiring.time(&format!("operator/{store}/count")),
            };
            let hold_id = wiring.hold(id)?;
            Ok(SuppressFor::<K, V>::new(
                limit,
                own_codecs.clone(),
                stores,
                hold_id,
            ))
        });
        let view = table.view.map(|(mut stores, below)| {
            stores.push(store.clone());
            let make: MakeView<K, V> = Arc::new(move |wiring| {
                let below = below(wiring)?;
                let rows = wiring.key_value(&store)?;
                let view = SuppressForView::new(codecs.clone(), rows, below);
                Ok(Rc::new(view) as ViewPort<K, V>)
            });
            (stores, make)
        });
        Table {
            graph,
            id,
            key: table.key,
            view,
            windows: table.windows,
        }
    }
}

/// Prefix of a row's key: sorts after all times, which are never negative.
const ROW: u8 = u8::MAX;

/// How long a row is held, and how many are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LimitSpec {
    /// How long, in milliseconds.
    pub limit_ms: i64,
    /// The largest number held at once, if there is a limit.
    pub max_rows: Option<u64>,
}

/// The state of a suppression for a time.
struct SuppressForStores {
    /// The name of the store with the rows and their queue.
    pub name: Arc<str>,
    /// That store.
    pub rows: KeyValueStore,
    /// The store of the rows that are older than their place in the queue.
    pub early: KeyValueStore,
    /// The time of the operator.
    pub time: OperatorTime,
    /// The number of held rows minus one.
    pub count: StoredTime,
}

/// Holds rows for a time.
struct SuppressFor<K, V> {
    limit: LimitSpec,
    key: SharedCodec<K>,
    row: SharedCodec<V>,
    name: Arc<str>,
    rows: KeyValueStore,
    queue: TimeOrderedStore,
    early: TimeOrderedStore,
    time: OperatorTime,
    count: StoredTime,
    hold_id: HoldId,
    scratch: RefCell<Scratch>,
}

/// The encoding of a held row.
struct Held<'a> {
    due_ms: i64,
    timestamp_ms: i64,
    headers: Headers,
    prior: Option<&'a [u8]>,
    old: Option<&'a [u8]>,
    new: Option<&'a [u8]>,
}

impl<K: 'static, V: 'static> SuppressFor<K, V> {
    /// A suppression that keeps its rows in `stores`.
    pub fn new(
        limit: LimitSpec,
        codecs: (SharedCodec<K>, SharedCodec<V>),
        stores: SuppressForStores,
        hold_id: HoldId,
    ) -> Self {
        let (key, row) = codecs;
        Self {
            limit,
            key,
            row,
            name: stores.name,
            queue: TimeOrderedStore::new(stores.rows.clone()),
            rows: stores.rows,
            early: TimeOrderedStore::new(stores.early),
            time: stores.time,
            count: stores.count,
            hold_id,
            scratch: RefCell::default(),
        }
    }

    /// The time of the row that is next in the queue.
    fn first_due_ms(&self) -> Result<Option<i64>> {
        // Without a queue the first key of the store would be that of a row.
        let first_ms = self.queue.first_time_ms()?;
        Ok(first_ms.filter(|first_ms| *first_ms >= 0))
    }

    /// The oldest timestamp held.
    fn oldest_ms(&self) -> Result<i64> {
        let due_ms = self.first_due_ms()?.unwrap_or(i64::MAX);
        Ok(due_ms.min(self.early.first_time_ms()?.unwrap_or(i64::MAX)))
    }

    /// Stores the last state of a row in its place.
    fn hold(&self, record: &Record<K, Change<V>>, cx: &mut Context) -> Result<()> {
        let Scratch { key, row } = &mut *self.scratch.borrow_mut();
        key.clear();
        key.push(ROW);
        if self.key.encode(&record.key, key)? == Encoded::Null {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        // Both before anything is written: what is written before an error may stay, and a key in the queue without a
        // row is damage.
        let (mut old, mut new) = (Vec::new(), Vec::new());
        let old = self.encode(record.value.old.as_ref(), &mut old)?;
        let new = self.encode(record.value.new.as_ref(), &mut new)?;
        let timestamp_ms = record.timestamp_ms;
        let found = self.rows.get(key, |row| row.map(<[u8]>::to_vec))?;
        let found = found.as_deref().map(read_held).transpose()?;
        let (due_ms, prior) = match &found {
            Some(found) => (found.due_ms, found.prior),
            None => (timestamp_ms, old),
        };
        let plain_key = &key[1..];
        match &found {
            None => {
                self.queue.put(due_ms, plain_key, Some(&[]))?;
                self.count.set(self.count.get() + 1);
            }
            Some(found) if found.timestamp_ms < due_ms => {
                self.early.put(found.timestamp_ms, plain_key, None)?;
            }
            Some(_) => {}
        }
        if timestamp_ms < due_ms {
            self.early.put(timestamp_ms, plain_key, Some(&[]))?;
        }
        row.clear();
        row.extend_from_slice(&due_ms.to_be_bytes());
        row.extend_from_slice(&timestamp_ms.to_be_bytes());
        put_headers(&record.headers, row);
        put_option(row, prior);
        put_option(row, old);
        put_option(row, new);
        self.rows.put(key, Some(row))
    }

    fn encode<'a>(&self, row: Option<&V>, out: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        let has_bytes = match row {
            Some(row) => self.row.encode(row, out)? == Encoded::Bytes,
            None => false,
        };
        Ok(has_bytes.then_some(&out[..]))
    }

    /// Forwards the rows whose time has come, and those in excess of the limit.
    fn release(&self, time_ms: i64, out: &Edges<K, Change<V>>, cx: &mut Context) -> Result<()> {
        let until_ms = match time_ms {
            i64::MAX => i64::MAX,
            _ => time_ms.saturating_sub(self.limit.limit_ms),
        };
        let (mut key, mut row) = (Vec::new(), Vec::new());
        loop {
            let held = (self.count.get() + 1) as u64;
            let has_too_many = self.limit.max_rows.is_some_and(|max_rows| held > max_rows);
            let until_ms = if has_too_many { i64::MAX } else { until_ms };
            if self.first_due_ms()?.is_none_or(|due_ms| due_ms > until_ms) {
                break;
            }
            let Some(due_ms) = self.queue.pop(until_ms, &mut key, &mut row)? else {
                break;
            };
            self.let_go(due_ms, &key, out, cx)?;
        }
        let oldest_ms = self.oldest_ms()?;
        cx.set_held(self.hold_id, oldest_ms);
        Ok(())
    }

    fn let_go(
        &self,
        due_ms: i64,
        key: &[u8],
        out: &Edges<K, Change<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        let mut row_key = vec![ROW];
        row_key.extend_from_slice(key);
        let row = self.rows.get(&row_key, |row| row.map(<[u8]>::to_vec))?;
        let row =
            row.ok_or_else(|| Error::corrupt("a held row is in the queue and nowhere else"))?;
        let held = read_held(&row)?;
        self.rows.put(&row_key, None)?;
        self.count.set(self.count.get() - 1);
        if held.timestamp_ms < due_ms {
            self.early.put(held.timestamp_ms, key, None)?;
        }
        // Records that follow from this row may be as old as it is.
        cx.set_held(self.hold_id, held.timestamp_ms.min(self.oldest_ms()?));
        let held_row = HeldRow {
            store: &self.name,
            key,
            value: held.new.unwrap_or_default(),
            end_ms: due_ms.saturating_add(self.limit.limit_ms),
            timestamp_ms: held.timestamp_ms,
        };
        cx.release(held_row, &held.headers, |cx, headers| {
            let decode = |bytes: Option<&[u8]>| match bytes {
                Some(bytes) => self.row.decode(Some(bytes)).map(Some),
                None => Ok(None),
            };
            let value = Change {
                new: decode(held.new)?,
                old: decode(held.old)?,
            };
            let record = Record {
                key: self.key.decode(Some(key))?,
                value,
                timestamp_ms: held.timestamp_ms,
                headers,
            };
            out.push(record, cx)
        })
    }
}

fn read_held(row: &[u8]) -> Result<Held<'_>> {
    let mut rest = row;
    read_parts(&mut rest).ok_or_else(|| Error::corrupt("a held row ends early"))
}

fn read_parts<'a>(rest: &mut &'a [u8]) -> Option<Held<'a>> {
    Some(Held {
        due_ms: take_time(rest)?,
        timestamp_ms: take_time(rest)?,
        headers: take_headers(rest)?,
        prior: take_option(rest)?,
        old: take_option(rest)?,
        new: take_option(rest)?,
    })
}

impl<K: 'static, V: 'static> Process for SuppressFor<K, V> {
    type KeyIn = K;
    type ValueIn = Change<V>;
    type KeyOut = K;
    type ValueOut = Change<V>;

    fn process(
        &self,
        record: Record<K, Change<V>>,
        out: &Edges<K, Change<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        self.time.see(record.timestamp_ms);
        self.hold(&record, cx)?;
        self.release(self.time.closing_ms(cx), out, cx)
    }

    fn tick(&self, tick: Tick, out: &Edges<K, Change<V>>, cx: &mut Context) -> Result<()> {
        let time_ms = match tick {
            Tick::Moved => self.time.closing_ms(cx),
            Tick::Ended => i64::MAX,
        };
        self.release(time_ms, out, cx)?;
        out.tick(tick, cx)
    }
}

/// The view of a table behind a suppression: what was sent last.
struct SuppressForView<K, V> {
    key: SharedCodec<K>,
    row: SharedCodec<V>,
    rows: KeyValueStore,
    below: ViewPort<K, V>,
    row_key: RefCell<Vec<u8>>,
}

impl<K, V> SuppressForView<K, V> {
    /// A view of the held rows, over `below` for the others.
    pub fn new(
        codecs: (SharedCodec<K>, SharedCodec<V>),
        rows: KeyValueStore,
        below: ViewPort<K, V>,
    ) -> Self {
        let (key, row) = codecs;
        Self {
            key,
            row,
            rows,
            below,
            row_key: RefCell::default(),
        }
    }
}

impl<K: 'static, V: 'static> View<K, V> for SuppressForView<K, V> {
    fn get(&self, key: &K, cx: &mut Context) -> Result<Option<(V, i64)>> {
        let row_key = &mut *self.row_key.borrow_mut();
        row_key.clear();
        row_key.push(ROW);
        if self.key.encode(key, row_key)? == Encoded::Null {
            return Ok(None);
        }
        let held = self.rows.get(row_key, |row| {
            row.map(|row| match read_held(row)?.prior {
                Some(prior) => self.row.decode(Some(prior)).map(Some),
                None => Ok(None),
            })
        })?;
        match held.transpose()? {
            // It is no longer known when it was sent.
            Some(prior) => Ok(prior.map(|row| (row, NO_TIMESTAMP))),
            None => self.below.get(key, cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_row_comes_back_and_damage_is_named() {
        let mut headers = Headers::default();
        headers.add("a", Some(b"salt".to_vec()));
        let mut row = Vec::new();
        row.extend_from_slice(&5i64.to_be_bytes());
        row.extend_from_slice(&3i64.to_be_bytes());
        put_headers(&headers, &mut row);
        put_option(&mut row, None);
        put_option(&mut row, Some(b""));
        put_option(&mut row, Some(b"new"));
        let held = read_held(&row).expect("a whole row");
        assert_eq!((held.due_ms, held.timestamp_ms), (5, 3));
        assert_eq!(held.headers, headers);
        assert_eq!(
            (held.prior, held.old, held.new),
            (None, Some(&b""[..]), Some(&b"new"[..]))
        );
        assert!(read_held(&row[..row.len() - 1]).is_err());
    }
}
