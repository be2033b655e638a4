//! `join` of two streams: pairs records of one key whose timestamps are close.
//!
//! Each side keeps its records in a window store and looks into the other's. A result has the larger
//! of the two timestamps and the headers of the record that made it. A record with a null key or a
//! null value is dropped and counted. There is no drop of late records as such: a record meets what
//! the other store still shows. Source: `KStreamKStreamJoin`.

use std::cell::RefCell;
use std::marker::PhantomData;

use super::scratch::Scratch;
use crate::base::{Record, Result};
use crate::codec::{Encoded, SharedCodec};
use crate::state::{Put, WindowStore};
use crate::task::{Context, DropReason, Edges, Process, Tick, TimeBound};

/// How far from a record's timestamp its partners may be, in milliseconds; either may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinReach {
    /// How much earlier.
    pub before_ms: i64,
    /// How much later.
    pub after_ms: i64,
}

/// One side of a join: writes its records to its own store and pairs them with the other side's.
pub struct JoinSide<F, K, V, W, R> {
    join: F,
    reach: JoinReach,
    own: WindowStore,
    other: WindowStore,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    other_value: SharedCodec<W>,
    bound: TimeBound,
    scratch: RefCell<Scratch>,
    types: PhantomData<fn() -> R>,
}

impl<F, K, V, W, R> JoinSide<F, K, V, W, R> {
    /// A side that writes `stores.0` and reads `stores.1`. `bound` is that of both sides: a record of
    /// either finds its partners as long as the slowest origin of the two may send them.
    pub fn new(
        join: F,
        reach: JoinReach,
        stores: (WindowStore, WindowStore),
        key: SharedCodec<K>,
        values: (SharedCodec<V>, SharedCodec<W>),
        bound: TimeBound,
    ) -> Self {
        Self {
            join,
            reach,
            own: stores.0,
            other: stores.1,
            key,
            value: values.0,
            other_value: values.1,
            bound,
            scratch: RefCell::default(),
            types: PhantomData,
        }
    }
}

impl<F, K, V, W, R> JoinSide<F, K, V, W, R> {
    /// Rows stay for as long as the slowest origin of either side may send a partner.
    fn hold_back(&self, cx: &Context) {
        if self.bound.has_several_origins() {
            let floor_ms = cx.floor_ms(&self.bound);
            self.own.set_floor_ms(floor_ms);
            self.other.set_floor_ms(floor_ms);
        }
    }
}

impl<F, K, V, W, R> Process for JoinSide<F, K, V, W, R>
where
    F: Fn(&K, &V, &W) -> R + 'static,
    K: Clone + 'static,
    V: 'static,
    W: 'static,
    R: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = K;
    type ValueOut = R;

    fn process(&self, record: Record<K, V>, out: &Edges<K, R>, cx: &mut Context) -> Result<()> {
        let Record {
            key,
            value,
            timestamp_ms,
            headers,
        } = record;
        let mut scratch = self.scratch.borrow_mut();
        if !scratch.encode_key(&*self.key, &key)? {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        scratch.row.clear();
        if self.value.encode(&value, &mut scratch.row)? == Encoded::Null {
            cx.drop_record(DropReason::NullValue);
            return Ok(());
        }
        self.hold_back(cx);
        if self
            .own
            .put(&scratch.key, timestamp_ms, Some(&scratch.row))?
            == Put::Expired
        {
            cx.drop_record(DropReason::Expired);
        }
        let from_ms = timestamp_ms.saturating_sub(self.reach.before_ms).max(0);
        // The peer moves a reach that ends before 1970 to 1970: the record at 0 is met.
        let to_ms = timestamp_ms.saturating_add(self.reach.after_ms).max(0);
        if to_ms < from_ms {
            return Ok(());
        }
        let mut partners = self.other.fetch_range(&scratch.key, from_ms, to_ms)?;
        drop(scratch);
        while let Some(partner) = partners.next()? {
            let other = self.other_value.decode(Some(partner.row))?;
            let joined = (self.join)(&key, &value, &other);
            let timestamp_ms = timestamp_ms.max(partner.start_ms);
            let (key, headers) = (key.clone(), headers.clone());
            out.push(
                Record {
                    key,
                    value: joined,
                    timestamp_ms,
                    headers,
                },
                cx,
            )?;
        }
        Ok(())
    }

    fn tick(&self, tick: Tick, out: &Edges<K, R>, cx: &mut Context) -> Result<()> {
        self.hold_back(cx);
        out.tick(tick, cx)
    }
}
