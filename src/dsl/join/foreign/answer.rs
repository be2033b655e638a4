//! The right side: keeps track of which row each subscriber wants, and answers with it.
//!
//! A new subscription is answered with the current row, with the larger of the two timestamps; a row that
//! changes is sent to all its subscribers, with its own timestamp. Source:
//! `SubscriptionReceiveProcessorSupplier`, `SubscriptionJoinProcessorSupplier`,
//! `ForeignTableJoinProcessorSupplier`.

use std::cell::RefCell;
use std::ops::Bound;

use super::layout::{
    Instruction, Response, Subscription, SubscriptionCodec, begin_combined, behind, bytes_of,
};
use crate::base::{Record, Result};
use crate::codec::{Codec, SharedCodec};
use crate::dsl::Change;
use crate::dsl::scratch::Scratch;
use crate::state::{Direction, KeyValueStore, row};
use crate::task::{Context, DropReason, Edges, Process, ViewPort};

/// Receives subscriptions.
pub(super) struct Subscribe<L, W> {
    pub(super) subscriptions: KeyValueStore,
    pub(super) key: SharedCodec<L>,
    pub(super) row: SharedCodec<W>,
    pub(super) rows: ViewPort<L, W>,
    pub(super) scratch: RefCell<Scratch>,
}

impl<L: 'static, W: 'static> Subscribe<L, W> {
    /// Stores or ends a subscription.
    fn keep(&self, foreign: &[u8], subscription: &Subscription, timestamp_ms: i64) -> Result<()> {
        let Scratch { key, row } = &mut *self.scratch.borrow_mut();
        begin_combined(foreign, key)?;
        key.extend_from_slice(&subscription.key);
        match subscription.instruction {
            Instruction::End | Instruction::EndAndAnswer => self.subscriptions.put(key, None),
            Instruction::Answer | Instruction::AnswerIfFound => {
                row::begin(timestamp_ms, row);
                SubscriptionCodec.encode(subscription, row)?;
                self.subscriptions.put(key, Some(row))
            }
        }
    }
}

impl<L: 'static, W: 'static> Process for Subscribe<L, W> {
    type KeyIn = Option<Vec<u8>>;
    type ValueIn = Subscription;
    type KeyOut = Vec<u8>;
    type ValueOut = Response;

    fn process(
        &self,
        record: Record<Option<Vec<u8>>, Subscription>,
        out: &Edges<Vec<u8>, Response>,
        cx: &mut Context,
    ) -> Result<()> {
        let Record {
            key: foreign,
            value: subscription,
            timestamp_ms,
            headers,
        } = record;
        let mut found = None;
        match foreign {
            Some(foreign) => {
                self.keep(&foreign, &subscription, timestamp_ms)?;
                found = self.rows.get(&self.key.decode(Some(&foreign))?, cx)?;
            }
            // It names no row, and asks for confirmation of that.
            None if subscription.instruction == Instruction::Answer => {}
            None => {
                cx.drop_record(DropReason::NullKey);
                return Ok(());
            }
        }
        let found_ms = found.as_ref().map_or(timestamp_ms, |(_, at_ms)| *at_ms);
        let row = match (subscription.instruction, found) {
            (Instruction::End, _) => return Ok(()),
            (Instruction::EndAndAnswer, _) | (_, None) => None,
            (_, Some((row, _))) => bytes_of(&*self.row, &row)?,
        };
        let Subscription {
            hash,
            instruction,
            key,
            partition,
        } = subscription;
        let response = Response {
            hash,
            not_found: row.is_none() && instruction == Instruction::AnswerIfFound,
            row,
            partition,
        };
        let mut answer = Record::new(key, response, timestamp_ms.max(found_ms));
        answer.headers = headers;
        out.push(answer, cx)
    }
}

/// Tells all subscribers of a row that it has changed.
pub(super) struct Tell<L, W> {
    pub(super) subscriptions: KeyValueStore,
    pub(super) key: SharedCodec<L>,
    pub(super) row: SharedCodec<W>,
    /// Whether the table is versioned: changes out of order take no part.
    pub(super) newest_only: bool,
    pub(super) scratch: RefCell<Scratch>,
}

impl<L: 'static, W: 'static> Process for Tell<L, W> {
    type KeyIn = L;
    type ValueIn = Change<W>;
    type KeyOut = Vec<u8>;
    type ValueOut = Response;

    fn process(
        &self,
        record: Record<L, Change<W>>,
        out: &Edges<Vec<u8>, Response>,
        cx: &mut Context,
    ) -> Result<()> {
        let Scratch { key: prefix, row } = &mut *self.scratch.borrow_mut();
        let Some(foreign) = bytes_of(&*self.key, &record.key)? else {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        };
        if self.newest_only && cx.is_overtaken() {
            cx.drop_record(DropReason::OutOfOrder);
            return Ok(());
        }
        begin_combined(&foreign, prefix)?;
        row.clear();
        let has_row = match &record.value.new {
            Some(new) => self.row.encode(new, row)? == crate::codec::Encoded::Bytes,
            None => false,
        };
        let end = behind(prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let from = Bound::Included(prefix.as_slice());
        let mut wanting = self.subscriptions.range(from, to, Direction::Forward)?;
        while let Some((_, kept)) = wanting.next()? {
            let (_, subscription) = row::split(kept)?;
            let subscription = SubscriptionCodec.decode(Some(subscription))?;
            let response = Response {
                hash: subscription.hash,
                row: has_row.then(|| row.clone()),
                not_found: false,
                partition: subscription.partition,
            };
            let mut answer = Record::new(subscription.key, response, record.timestamp_ms);
            answer.headers = record.headers.clone();
            out.push(answer, cx)?;
        }
        Ok(())
    }
}
