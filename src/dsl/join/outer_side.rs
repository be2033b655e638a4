//! `left_join` and `outer_join` of two streams: a record without a partner is sent alone when none can
//! arrive any more.
//!
//! With one origin the rule matches Kafka Streams record by record: waiting records are checked when a
//! record advances the time of the join, and an older record without a partner does not wait once time
//! has passed its window, grace or not. With several origins a record gives up when the slowest of them
//! has passed its window and the grace, whichever record advanced time; results then do not depend on
//! pace. Source: `KStreamKStreamJoin`.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

use super::hand::Hand;
use super::rows::{JoinKind, JoinRows};
use super::unmatched::{Unmatched, UnmatchedRow, read_row};
use crate::base::{Headers, Record, Result};
use crate::codec::{Encoded, SharedCodec};
use crate::dsl::operator_time::OperatorTime;
use crate::dsl::scratch::Scratch;
use crate::dsl::windows::JoinReach;
use crate::state::{KeyValueStore, Put, StoredTime, WindowStore};
use crate::task::{Context, DropReason, Edges, HeldRow, HoldId, Process, Tick};

/// Which records meet, seen from the left side, and for how much longer they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OuterReach {
    /// Where the partners of a left record are.
    pub left: JoinReach,
    /// How much longer a record waits after that, in milliseconds.
    pub grace_ms: i64,
}

impl OuterReach {
    /// How long after its timestamp a record of a side may find partners, including grace.
    fn waits_ms(&self, is_left: bool) -> i64 {
        let after_ms = match is_left {
            true => self.left.after_ms,
            false => self.left.before_ms,
        };
        after_ms.saturating_add(self.grace_ms)
    }
}

/// The times that both sides of an outer join share, kept with the state.
pub(super) struct OuterTimes {
    /// What was seen on either side, and what may still reach them.
    pub both: OperatorTime,
    /// The timestamp of the last check, which may be that of a waiting record; with one origin there is
    /// no other check before that time, as in Kafka Streams.
    pub looked_at: StoredTime,
    /// Whether the left input has ended, and whether the right one has.
    pub ended: (StoredTime, StoredTime),
}

/// The stores of an outer join, seen from one side.
pub(super) struct OuterStores {
    /// Where the side stores its records.
    pub own: WindowStore,
    /// Where it looks for partners.
    pub other: WindowStore,
    /// The waiting records of both sides, and the store's name.
    pub unmatched: (Arc<str>, KeyValueStore),
}

/// The codecs of an outer join, seen from one side.
pub(super) struct OuterCodecs<K, L, R, Own, Other> {
    /// Of the keys.
    pub key: SharedCodec<K>,
    /// Of the left values.
    pub left: SharedCodec<L>,
    /// Of the right values.
    pub right: SharedCodec<R>,
    /// Of the side's own values.
    pub own: SharedCodec<Own>,
    /// Of the other side's.
    pub other: SharedCodec<Other>,
}

/// One side of a left or outer join.
pub(super) struct OuterJoinSide<J, H: Hand<L, R>, K, L, R, Out> {
    join: Arc<J>,
    reach: OuterReach,
    own: WindowStore,
    other: WindowStore,
    unmatched: Unmatched,
    codecs: OuterCodecs<K, L, R, H::Own, H::Other>,
    times: OuterTimes,
    holds: Vec<HoldId>,
    scratch: RefCell<Scratch>,
    types: PhantomData<fn() -> Out>,
}

impl<J, H: Hand<L, R>, K, L, R, Out> OuterJoinSide<J, H, K, L, R, Out> {
    /// A side of a join; `holds` are the numbers under which both sides report what is waiting.
    pub fn new(
        join: Arc<J>,
        reach: OuterReach,
        stores: OuterStores,
        codecs: OuterCodecs<K, L, R, H::Own, H::Other>,
        times: OuterTimes,
        holds: Vec<HoldId>,
    ) -> Self {
        let (name, unmatched) = stores.unmatched;
        Self {
            join,
            reach,
            own: stores.own,
            other: stores.other,
            unmatched: Unmatched::new(name, unmatched),
            codecs,
            times,
            holds,
            scratch: RefCell::default(),
            types: PhantomData,
        }
    }

    /// Where the partners of a record of this side are.
    fn own_reach(&self) -> JoinReach {
        let JoinReach {
            before_ms,
            after_ms,
        } = self.reach.left;
        match H::IS_LEFT {
            true => self.reach.left,
            false => JoinReach {
                before_ms: after_ms,
                after_ms: before_ms,
            },
        }
    }

    /// Rows are kept for as long as the slowest origin of either side may send a partner.
    fn hold_back(&self, cx: &Context) {
        if self.times.both.has_several_origins() {
            let floor_ms = self.times.both.floor_ms(cx);
            self.own.set_floor_ms(floor_ms);
            self.other.set_floor_ms(floor_ms);
        }
    }

    /// Waiting records may still be sent, with their own timestamps.
    fn report_held(&self, cx: &mut Context) -> Result<()> {
        let oldest_ms = self.unmatched.first_ms()?.unwrap_or(i64::MAX);
        for hold in &self.holds {
            cx.set_held(*hold, oldest_ms);
        }
        Ok(())
    }

    /// The slots of this side in both.
    fn ended(&self) -> (&StoredTime, &StoredTime) {
        let (left, right) = &self.times.ended;
        match H::IS_LEFT {
            true => (left, right),
            false => (right, left),
        }
    }
}

impl<J, H, K, L, R, Out> OuterJoinSide<J, H, K, L, R, Out>
where
    J: JoinRows<K, L, R, Out>,
    H: Hand<L, R>,
    K: 'static,
    L: 'static,
    R: 'static,
    Out: 'static,
{
    /// Whether a record of this side is sent alone if it has no partner.
    const IS_OUTER: bool = match J::KIND {
        JoinKind::Inner => false,
        JoinKind::Left => H::IS_LEFT,
        JoinKind::Outer => true,
    };

    fn pair(&self, key: &K, own: &H::Own, other: Option<&H::Other>) -> Option<Out> {
        let (left, right) = H::sides(Some(own), other);
        self.join.join(key, left, right)
    }

    /// Sends what has waited long enough when time has reached `time_ms`. `looks_on` if the caller needs
    /// to know how long the next check may wait.
    fn release(
        &self,
        time_ms: i64,
        looks_on: bool,
        headers: &Headers,
        out: &Edges<K, Out>,
        cx: &mut Context,
    ) -> Result<()> {
        self.report_held(cx)?;
        self.times.looked_at.set(-1);
        let Some(first_ms) = self.unmatched.first_ms()? else {
            return Ok(());
        };
        // Nothing younger can have waited long enough.
        let least_ms = self.reach.waits_ms(true).min(self.reach.waits_ms(false));
        let last_ms = match (time_ms, looks_on) {
            (i64::MAX, _) => i64::MAX,
            (_, true) => time_ms,
            (_, false) => time_ms.saturating_sub(least_ms),
        };
        let mut open = (false, false);
        let (mut from_ms, mut width_ms) = (first_ms, least_ms.max(1));
        while from_ms <= last_ms {
            let to_ms = from_ms.saturating_add(width_ms).min(last_ms);
            let mut rows = self.unmatched.range(from_ms, to_ms)?;
            while let Some((row_key, row)) = rows.next()? {
                let row = read_row(row_key, row)?;
                if looks_on {
                    self.times.looked_at.set(row.timestamp_ms);
                }
                if open == (true, true) {
                    return Ok(());
                }
                let until_ms = row
                    .timestamp_ms
                    .saturating_add(self.reach.waits_ms(row.is_left));
                if until_ms >= time_ms && time_ms != i64::MAX {
                    match row.is_left {
                        true => open.0 = true,
                        false => open.1 = true,
                    }
                    // Kafka Streams checks record by record, so a second record of the row ends its scan.
                    if open == (true, true) && row.values.count() > 1 {
                        return Ok(());
                    }
                    continue;
                }
                self.let_go(&row, headers, out, cx)?;
            }
            if to_ms == i64::MAX {
                break;
            }
            from_ms = to_ms + 1;
            width_ms = width_ms.saturating_mul(2);
        }
        Ok(())
    }

    /// The records of a row are sent alone.
    fn let_go(
        &self,
        row: &UnmatchedRow<'_>,
        headers: &Headers,
        out: &Edges<K, Out>,
        cx: &mut Context,
    ) -> Result<()> {
        self.unmatched
            .remove(row.timestamp_ms, row.is_left, row.key)?;
        for value in row.values {
            let value = value?;
            let held = HeldRow {
                store: &self.unmatched.name,
                key: row.key,
                value,
                end_ms: row
                    .timestamp_ms
                    .saturating_add(self.reach.waits_ms(row.is_left)),
                timestamp_ms: row.timestamp_ms,
            };
            cx.release(held, headers, |cx, headers| {
                let key = self.codecs.key.decode(Some(row.key))?;
                let joined = match row.is_left {
                    true => {
                        let left = self.codecs.left.decode(Some(value))?;
                        self.join.join(&key, Some(&left), None)
                    }
                    false => {
                        let right = self.codecs.right.decode(Some(value))?;
                        self.join.join(&key, None, Some(&right))
                    }
                };
                let Some(value) = joined else { return Ok(()) };
                let record = Record {
                    key,
                    value,
                    timestamp_ms: row.timestamp_ms,
                    headers,
                };
                out.push(record, cx)
            })?;
        }
        Ok(())
    }

    /// What is due when a record of the timestamp arrives: with several origins, what all of them have
    /// passed; with one, what Kafka Streams would look for now.
    fn release_due(
        &self,
        timestamp_ms: i64,
        headers: &Headers,
        out: &Edges<K, Out>,
        cx: &mut Context,
    ) -> Result<()> {
        let observed_ms = self.times.both.observed_ms();
        if self.times.both.has_several_origins() {
            let time_ms = self.times.both.closing_ms(cx);
            return self.release(time_ms, false, &Headers::default(), out, cx);
        }
        let looked_at_ms = self.times.looked_at.get();
        let waits_ms = self
            .own_reach()
            .after_ms
            .saturating_add(self.reach.grace_ms);
        if timestamp_ms < observed_ms
            || looked_at_ms < 0
            || looked_at_ms.saturating_add(waits_ms) >= observed_ms
        {
            return Ok(());
        }
        self.release(observed_ms, true, headers, out, cx)
    }

    /// There is no partner now: the record waits for one, or is sent at once if none may arrive.
    fn wait_for_partner(
        &self,
        record: Record<K, H::Own>,
        scratch: &Scratch,
        out: &Edges<K, Out>,
        cx: &mut Context,
    ) -> Result<()> {
        let timestamp_ms = record.timestamp_ms;
        let last_partner_ms = timestamp_ms
            .saturating_add(self.own_reach().after_ms)
            .max(0);
        let times = &self.times.both;
        let is_over = match times.has_several_origins() {
            true => last_partner_ms.saturating_add(self.reach.grace_ms) < times.closing_ms(cx),
            false => last_partner_ms < times.observed_ms(),
        };
        if is_over {
            return self.push_alone(record, out, cx);
        }
        let looked_at_ms = self.times.looked_at.get();
        if looked_at_ms < 0 || timestamp_ms < looked_at_ms {
            self.times.looked_at.set(timestamp_ms);
        }
        self.unmatched
            .add(timestamp_ms, H::IS_LEFT, &scratch.key, &scratch.row)
    }

    fn push_alone(
        &self,
        record: Record<K, H::Own>,
        out: &Edges<K, Out>,
        cx: &mut Context,
    ) -> Result<()> {
        match self.pair(&record.key, &record.value, None) {
            Some(joined) => out.push(record.map_value(|_, _| joined), cx),
            None => Ok(()),
        }
    }
}

impl<J, H, K, L, R, Out> Process for OuterJoinSide<J, H, K, L, R, Out>
where
    J: JoinRows<K, L, R, Out>,
    H: Hand<L, R>,
    K: Clone + 'static,
    L: 'static,
    R: 'static,
    Out: 'static,
{
    type KeyIn = K;
    type ValueIn = H::Own;
    type KeyOut = K;
    type ValueOut = Out;

    fn process(
        &self,
        record: Record<K, H::Own>,
        out: &Edges<K, Out>,
        cx: &mut Context,
    ) -> Result<()> {
        let timestamp_ms = record.timestamp_ms;
        self.times.both.see(timestamp_ms);
        let mut scratch = self.scratch.take();
        let has_key = scratch.encode_key(&*self.codecs.key, &record.key)?;
        scratch.row.clear();
        let value = self.codecs.own.encode(&record.value, &mut scratch.row)?;
        if !has_key || value == Encoded::Null {
            self.scratch.replace(scratch);
            if !has_key && Self::IS_OUTER && value == Encoded::Bytes {
                return self.push_alone(record, out, cx);
            }
            cx.drop_record(match has_key {
                true => DropReason::NullValue,
                false => DropReason::NullKey,
            });
            return Ok(());
        }
        self.hold_back(cx);
        self.release_due(timestamp_ms, &record.headers, out, cx)?;
        let put = self
            .own
            .put(&scratch.key, timestamp_ms, Some(&scratch.row))?;
        if put == Put::Expired {
            cx.drop_record(DropReason::Expired);
        }
        let reach = self.own_reach();
        let from_ms = timestamp_ms.saturating_sub(reach.before_ms).max(0);
        let to_ms = timestamp_ms.saturating_add(reach.after_ms).max(0);
        let mut has_partner = false;
        if from_ms <= to_ms {
            let mut partners = self.other.fetch_range(&scratch.key, from_ms, to_ms)?;
            while let Some(partner) = partners.next()? {
                has_partner = true;
                self.unmatched
                    .remove(partner.start_ms, !H::IS_LEFT, &scratch.key)?;
                let other = self.codecs.other.decode(Some(partner.row))?;
                let Some(value) = self.pair(&record.key, &record.value, Some(&other)) else {
                    continue;
                };
                let joined = Record {
                    key: record.key.clone(),
                    value,
                    timestamp_ms: timestamp_ms.max(partner.start_ms),
                    headers: record.headers.clone(),
                };
                out.push(joined, cx)?;
            }
        }
        if !has_partner && Self::IS_OUTER {
            self.wait_for_partner(record, &scratch, out, cx)?;
        }
        self.scratch.replace(scratch);
        self.report_held(cx)
    }

    /// Waiting records give up when both inputs have ended, and not before: the other one may still bring
    /// their partner. Nodes downstream are told only then, since only then nothing more will arrive.
    fn tick(&self, tick: Tick, out: &Edges<K, Out>, cx: &mut Context) -> Result<()> {
        self.hold_back(cx);
        let none = Headers::default();
        match tick {
            Tick::Moved => {
                if self.times.both.has_several_origins() {
                    let time_ms = self.times.both.closing_ms(cx);
                    self.release(time_ms, false, &none, out, cx)?;
                }
                self.report_held(cx)?;
                out.tick(tick, cx)
            }
            Tick::Ended => {
                let (own, other) = self.ended();
                own.set(0);
                if other.get() != 0 {
                    return self.report_held(cx);
                }
                own.set(-1);
                other.set(-1);
                self.release(i64::MAX, false, &none, out, cx)?;
                self.report_held(cx)?;
                out.tick(tick, cx)
            }
        }
    }
}
