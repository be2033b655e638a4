//! What a processor sees of its task.

use std::any::type_name;
use std::time::Duration;

use super::TypedStore;
use super::node::Parts;
use crate::base::{Error, Offset, Record, Result};
use crate::task::{Clock, Context};

/// Where the record came from that a processor handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMetadata<'a> {
    /// The topic that the task read it from; behind a repartition, that of the repartition.
    pub topic: &'a str,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: Offset,
    /// The timestamp with which the source took it, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl<'a> RecordMetadata<'a> {
    /// That of the record that the task handles, if it handles one.
    pub(in crate::dsl) fn of(context: &'a Context) -> Option<Self> {
        Some(Self {
            timestamp_ms: context.record_ms()?,
            topic: context.topic(),
            partition: context.partition(),
            offset: context.offset(),
        })
    }
}

/// What a processor sees of its task while it is called.
pub struct ProcessorContext<'a, K, V> {
    pub(super) parts: &'a Parts<K, V>,
    pub(super) context: &'a mut Context,
    /// Whether it may forward.
    pub(super) forwards: bool,
}

impl<K: 'static, V: 'static> ProcessorContext<'_, K, V> {
    /// Sends a record to all children, in the order in which they were added, and returns when they have
    /// handled it. Several children need records that can be cloned: clone the stream.
    ///
    /// # Errors
    /// Those of the children, to be returned with `?`; `User` in `init`.
    pub fn forward(&mut self, record: Record<K, V>) -> Result<()> {
        self.check_forward()?;
        self.parts.outlets.push(record, self.context)
    }

    /// Sends a record to the child of that name alone: that of an operator, or else of the topic that the
    /// child writes.
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

    /// A store that the processor is connected with, by its name and type. It may be kept in a field.
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
                "the processor uses store {name:?} and is connected with {:?}; name it in `Processed::stores`",
                known.collect::<Vec<_>>()
            ))
        })?;
        store.downcast_ref::<S>().cloned().ok_or_else(|| {
            Error::user(format!(
                "store {name:?} is no {}; ask for it with the types with which it was declared",
                type_name::<S>()
            ))
        })
    }

    /// Sets a timer: [`Processor::punctuate`](super::Processor::punctuate) is called with its name each
    /// `every`. By stream time it is due at all multiples of `every`, and so with the next record first; by
    /// the wall clock from now on.
    ///
    /// Timers are kept with the state of the task: they survive a crash and the loss of the disk. So a timer
    /// of that name which is set already, as after a restart, keeps its due time. One that was missed while
    /// nothing ran fires once.
    ///
    /// # Errors
    /// `User` if `every` is shorter than a millisecond, or the processor was declared without timers.
    pub fn schedule(&mut self, timer: &str, every: Duration, clock: Clock) -> Result<()> {
        self.context
            .schedule(self.parts.id, timer, None, every, clock)
    }

    /// The same with the first time, in milliseconds since 1970; it may lie in the past.
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

    /// Takes a timer back; whether it was set. A timer may take back itself.
    ///
    /// # Errors
    /// `User` if the processor was declared without timers.
    pub fn cancel(&mut self, timer: &str) -> Result<bool> {
        self.context.cancel(self.parts.id, timer)
    }

    /// Where the record came from that the task handles; `None` in `init`, and in what follows from a timer.
    pub fn record_metadata(&self) -> Option<RecordMetadata<'_>> {
        RecordMetadata::of(self.context)
    }

    /// The largest timestamp that the task has taken, the current record's included, in milliseconds; -1
    /// before the first.
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
