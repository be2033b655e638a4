//! What a processor can access of its task.

use std::any::{Any, type_name};
use std::time::Duration;

use crate::base::{Error, Record, Result};
use crate::dsl::record_metadata::RecordMetadata;
use crate::dsl::stores::TypedStore;
use crate::task::{Clock, Context, DropReason, ExpiredPuts, NodeId, Outlets};

/// What a processor's context can access.
pub struct Parts<K, V> {
    pub(super) id: NodeId,
    pub(super) outlets: Outlets<K, V>,
    /// The stores that it is connected to, by name.
    pub(super) stores: Vec<(String, Box<dyn Any>)>,
    /// The number of records they refused.
    pub(super) expired: ExpiredPuts,
}

impl<K: 'static, V: 'static> Parts<K, V> {
    pub(super) fn context<'a>(
        &'a self,
        context: &'a mut Context,
        forwards: bool,
    ) -> ProcessorContext<'a, K, V> {
        ProcessorContext {
            parts: self,
            context,
            forwards,
        }
    }

    /// Counts the records that the stores refused since the last call.
    pub(super) fn count_expired(&self, context: &mut Context) {
        for _ in 0..self.expired.take() {
            context.drop_record(DropReason::Expired);
        }
    }
}

/// What a processor can access of its task while it is called.
pub struct ProcessorContext<'a, K, V> {
    pub(super) parts: &'a Parts<K, V>,
    pub(super) context: &'a mut Context,
    /// Whether it may forward.
    pub(super) forwards: bool,
}

impl<K: 'static, V: 'static> ProcessorContext<'_, K, V> {
    /// Sends a record to all children, in the order in which they were added, and returns when they have
    /// handled it. Sending to several children requires records that can be cloned: clone the stream.
    ///
    /// # Errors
    /// Errors of the children, to be returned with `?`; `User` in `init`.
    pub fn forward(&mut self, record: Record<K, V>) -> Result<()> {
        self.check_forward()?;
        self.parts.outlets.push(record, self.context)
    }

    /// Sends a record only to the child of that name: the name of an operator, or else of the topic that
    /// the child writes.
    ///
    /// # Errors
    /// `User` if there is no such child; else as [`ProcessorContext::forward`].
    pub fn forward_to(&mut self, child: &str, record: Record<K, V>) -> Result<()> {
        self.check_forward()?;
        self.parts.outlets.push_to(child, record, self.context)
    }

    fn check_forward(&self) -> Result<()> {
        match self.forwards {
            true => Ok(()),
            false => Err(Error::user(
                "a processor forwarded a record in `init`; forward in `process` and `punctuate` only",
            )),
        }
    }

    /// A store that the processor is connected to, by its name and type. It may be kept in a field.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # fn example(context: &mut ProcessorContext<'_, String, i64>) -> marea::Result<()> {
    /// let counts = context.store::<KeyValueStore<String, i64>>("counts")?;
    /// counts.put(&"buoy-7".to_owned(), &1)
    /// # }
    /// ```
    ///
    /// # Errors
    /// `User` if it is not connected, or has another type.
    pub fn store<S: TypedStore>(&self, name: &str) -> Result<S> {
        let mut stores = self.parts.stores.iter();
        let found = stores.find(|(known, _)| known == name);
        let (_, store) = found.ok_or_else(|| {
            let known = self.parts.stores.iter().map(|(known, _)| known.as_str());
            Error::user(format!(
                "the processor uses store {name:?}, but is connected only to {:?}; name it in `Processed::stores`",
                known.collect::<Vec<_>>()
            ))
        })?;
        store.downcast_ref::<S>().cloned().ok_or_else(|| {
            Error::user(format!(
                "store {name:?} is not a {}; open it with the types with which it was declared",
                type_name::<S>()
            ))
        })
    }

    /// Sets a timer: [`Processor::punctuate`](super::Processor::punctuate) is called with its name every
    /// `every`. By stream time it is due at all multiples of `every`, so first with the next record; by
    /// the wall clock it counts from now on.
    ///
    /// Timers are stored with the state of the task: they survive a crash and the loss of the disk. So a
    /// timer of that name that is already set, for example after a restart, keeps its due time. A timer
    /// that was missed while nothing was running fires once.
    ///
    /// # Errors
    /// `User` if `every` is shorter than a millisecond, or the processor was declared without timers.
    pub fn schedule(&mut self, timer: &str, every: Duration, clock: Clock) -> Result<()> {
        self.context
            .schedule(self.parts.id, timer, None, every, clock)
    }

    /// The same with an explicit first time, in milliseconds since 1970; it may be in the past.
    ///
    /// # Errors
    /// As [`ProcessorContext::schedule`].
    pub fn schedule_from(
        &mut self,
        timer: &str,
        first_ms: i64,
        every: Duration,
        clock: Clock,
    ) -> Result<()> {
        self.context
            .schedule(self.parts.id, timer, Some(first_ms), every, clock)
    }

    /// Cancels a timer; returns whether it was set. A timer may cancel itself.
    ///
    /// # Errors
    /// `User` if the processor was declared without timers.
    pub fn cancel(&mut self, timer: &str) -> Result<bool> {
        self.context.cancel(self.parts.id, timer)
    }

    /// The origin of the record that the task handles; `None` in `init`, and when handling a timer.
    pub fn record_metadata(&self) -> Option<RecordMetadata<'_>> {
        RecordMetadata::of(self.context)
    }

    /// The largest timestamp that the task has processed, including the current record's, in
    /// milliseconds; -1 before the first.
    pub fn stream_time_ms(&self) -> i64 {
        self.context.stream_time_ms()
    }

    /// The wall clock when the task was last stepped, in milliseconds since 1970.
    pub fn wall_ms(&self) -> i64 {
        self.context.wall_ms()
    }

    /// The partition of the task.
    pub fn partition(&self) -> u32 {
        self.context.partition()
    }
}
