//! The left side: subscribes each row to the right row it refers to.
//!
//! Source: `SubscriptionSendProcessorSupplier`.

use std::marker::PhantomData;
use std::sync::Arc;

use super::hash::hash;
use super::layout::{Instruction, Subscription, bytes_of};
use crate::base::{Headers, Record, Result};
use crate::codec::SharedCodec;
use crate::dsl::Change;
use crate::state::KeyValueStore;
use crate::task::{Context, DropReason, Edges, Process};

/// A foreign key, and the request sent to it.
type Request = (Option<Vec<u8>>, Subscription);

/// For each change of a left row, sends the requests to the right side, under the foreign key's bytes.
pub(super) struct Ask<F, K, V, L, O> {
    pub(super) select: Arc<F>,
    pub(super) key: SharedCodec<K>,
    pub(super) row: SharedCodec<V>,
    pub(super) foreign: SharedCodec<L>,
    /// Which keys have a result, if a row without a partner has none.
    pub(super) results: Option<KeyValueStore>,
    /// Whether the table is versioned: changes out of order take no part.
    pub(super) newest_only: bool,
    pub(super) types: PhantomData<fn() -> O>,
}

impl<F, K, V, L, O> Ask<F, K, V, L, O>
where
    F: Fn(&K, &V) -> O + 'static,
    O: Into<Option<L>>,
    K: 'static,
    V: 'static,
    L: 'static,
{
    fn foreign(&self, key: &K, row: Option<&V>) -> Result<Option<Vec<u8>>> {
        let selected: Option<L> = row.and_then(|row| (self.select)(key, row).into());
        match selected {
            Some(selected) => bytes_of(&*self.foreign, &selected),
            None => Ok(None),
        }
    }
}

impl<F, K, V, L, O> Process for Ask<F, K, V, L, O>
where
    F: Fn(&K, &V) -> O + 'static,
    O: Into<Option<L>> + 'static,
    K: 'static,
    V: 'static,
    L: 'static,
{
    type KeyIn = K;
    type ValueIn = Change<V>;
    type KeyOut = Option<Vec<u8>>;
    type ValueOut = Subscription;

    fn process(
        &self,
        record: Record<K, Change<V>>,
        out: &Edges<Option<Vec<u8>>, Subscription>,
        cx: &mut Context,
    ) -> Result<()> {
        if self.newest_only && cx.is_overtaken() {
            cx.drop_record(DropReason::OutOfOrder);
            return Ok(());
        }
        let Record {
            key,
            value: Change { new, old },
            timestamp_ms,
            headers,
        } = record;
        let Some(own_key) = bytes_of(&*self.key, &key)? else {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        };
        if new.is_none() && old.is_none() {
            return Ok(());
        }
        let before = self.foreign(&key, old.as_ref())?;
        let now = self.foreign(&key, new.as_ref())?;
        let row = new.as_ref().map(|row| bytes_of(&*self.row, row));
        let hash = row.transpose()?.flatten().map(|row| hash(&row));
        if self.results.is_some() && new.is_some() && now.is_none() {
            cx.drop_record(DropReason::NullKey);
        }
        let partition = Some(cx.partition());
        let request = |foreign, instruction, key| -> Request {
            let subscription = Subscription {
                hash,
                instruction,
                key,
                partition,
            };
            (foreign, subscription)
        };
        let has_moved = before.is_some() && before != now;
        let (first, last) = match (&self.results, has_moved) {
            // The new key is asked, even if it is none, so that there is an answer in any case.
            (None, true) => (Some(before), Some((now, Instruction::Answer))),
            (None, false) => (None, Some((now, Instruction::Answer))),
            (Some(_), true) if now.is_some() => (Some(before), Some((now, Instruction::Answer))),
            (Some(_), true) => (None, Some((before, Instruction::EndAndAnswer))),
            (Some(_), false) if now.is_some() => (None, Some((now, Instruction::AnswerIfFound))),
            // The end of the result was requested for a row that no longer exists: its answer will not
            // count.
            (Some(results), false) if results.get(&own_key, |row| row.is_some())? => {
                (None, Some((None, Instruction::Answer)))
            }
            (Some(_), false) => (None, None),
        };
        let push = |(foreign, subscription), headers: Headers, cx: &mut Context| {
            let mut asked = Record::new(foreign, subscription, timestamp_ms);
            asked.headers = headers;
            out.push(asked, cx)
        };
        if let Some(before) = first {
            let ended = request(before, Instruction::End, own_key.clone());
            push(ended, headers.clone(), cx)?;
        }
        match last {
            Some((foreign, instruction)) => {
                push(request(foreign, instruction, own_key), headers, cx)
            }
            None => Ok(()),
        }
    }
}
