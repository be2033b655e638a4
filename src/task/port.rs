//! Typed edges between nodes.

use std::rc::Rc;

use super::{Context, NodeId};
use crate::base::{Record, Result};
use crate::batch::RecordRef;

/// Events about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// An origin of a repartition topic has advanced: whatever is due is sent. [`Context::floor_ms`]
    /// returns how far time has advanced.
    Moved,
    /// The input has ended: everything open closes.
    Ended,
}

/// The receiving end of an edge.
pub trait Push<K, V> {
    /// Handles a record and everything that follows from it.
    ///
    /// # Errors
    /// Any error of a node or a store; the task adds the position and applies its policy.
    fn push(&self, record: Record<K, V>, context: &mut Context) -> Result<()>;

    /// Reports an event about time that no record carries.
    ///
    /// # Errors
    /// As [`Push::push`].
    fn tick(&self, tick: Tick, context: &mut Context) -> Result<()>;
}

/// A shared receiving end. A merge is two parents that hold the same port.
pub type Port<K, V> = Rc<dyn Push<K, V>>;

/// Where a node sends its records: the last child gets the record itself, the others copies.
pub enum Edges<K, V> {
    /// Nowhere.
    None,
    /// To one child.
    One(Port<K, V>),
    /// To several, in the order in which they were added.
    Many {
        /// The children.
        ports: Vec<Port<K, V>>,
        /// How to copy a record; captured where the stream's handle was cloned.
        copy: fn(&Record<K, V>) -> Record<K, V>,
    },
}

impl<K, V> Edges<K, V> {
    /// Sends a record to every child.
    ///
    /// # Errors
    /// The first error of a child; later children do not see the record.
    #[inline(always)]
    pub fn push(&self, record: Record<K, V>, context: &mut Context) -> Result<()> {
        match self {
            Self::One(port) => port.push(record, context),
            Self::None => Ok(()),
            Self::Many { ports, copy } => Self::push_copies(ports, *copy, record, context),
        }
    }

    /// In a separate function, so that one child costs a call and nothing else.
    #[inline(never)]
    fn push_copies(
        ports: &[Port<K, V>],
        copy: fn(&Record<K, V>) -> Record<K, V>,
        record: Record<K, V>,
        context: &mut Context,
    ) -> Result<()> {
        let Some((last, others)) = ports.split_last() else {
            return Ok(());
        };
        for port in others {
            port.push(copy(&record), context)?;
        }
        last.push(record, context)
    }

    /// Tells every child about the time.
    ///
    /// # Errors
    /// The first error of a child.
    pub fn tick(&self, tick: Tick, context: &mut Context) -> Result<()> {
        match self {
            Self::One(port) => port.tick(tick, context),
            Self::None => Ok(()),
            Self::Many { ports, .. } => ports.iter().try_for_each(|port| port.tick(tick, context)),
        }
    }
}

/// What a node does with a record. One implementation per operator.
///
/// Data that must survive belongs in a store or a named time: an abort drops the node and rebuilds it
/// from committed rows, so a field would forget some records and remember others.
pub trait Process: 'static {
    /// Type of the incoming key.
    type KeyIn;
    /// Type of the incoming value.
    type ValueIn;
    /// Type of the outgoing key.
    type KeyOut;
    /// Type of the outgoing value.
    type ValueOut;

    /// Handles a record and forwards what follows from it.
    ///
    /// # Errors
    /// Any error that keeps the operator from handling it.
    fn process(
        &self,
        record: Record<Self::KeyIn, Self::ValueIn>,
        out: &Edges<Self::KeyOut, Self::ValueOut>,
        context: &mut Context,
    ) -> Result<()>;

    /// Handles an event about time (see [`Push::tick`]); the default passes it on.
    ///
    /// # Errors
    /// As [`Process::process`].
    fn tick(
        &self,
        tick: Tick,
        out: &Edges<Self::KeyOut, Self::ValueOut>,
        context: &mut Context,
    ) -> Result<()> {
        out.tick(tick, context)
    }

    /// Called once before the first record, if [`Calls::begins`](super::Calls::begins) says so, and after
    /// each abort. The place to set timers; one that is already set keeps its due time.
    ///
    /// # Errors
    /// Any error that keeps it from starting; the application fails.
    fn init(&self, out: &Edges<Self::KeyOut, Self::ValueOut>, context: &mut Context) -> Result<()> {
        let _ = (out, context);
        Ok(())
    }

    /// Handles a timer that is due: `time_ms` is the current time of the timer's clock.
    ///
    /// # Errors
    /// As [`Process::process`].
    fn punctuate(
        &self,
        timer: &str,
        time_ms: i64,
        out: &Edges<Self::KeyOut, Self::ValueOut>,
        context: &mut Context,
    ) -> Result<()> {
        let _ = (timer, time_ms, out, context);
        Ok(())
    }

    /// Sends what it holds until a commit, if [`Calls::flushes`](super::Calls::flushes) says so; parents
    /// are called before their children. Records sent here have no origin of their own.
    ///
    /// # Errors
    /// As [`Process::process`].
    fn flush(
        &self,
        out: &Edges<Self::KeyOut, Self::ValueOut>,
        context: &mut Context,
    ) -> Result<()> {
        let _ = (out, context);
        Ok(())
    }
}

/// A node as the task calls it, apart from records.
pub(super) trait Called {
    fn init(&self, context: &mut Context) -> Result<()>;
    fn punctuate(&self, timer: &str, time_ms: i64, context: &mut Context) -> Result<()>;
    fn flush(&self, context: &mut Context) -> Result<()>;
}

/// A node that the task calls for reasons besides records.
#[derive(Clone)]
pub(super) struct CalledNode {
    pub(super) id: NodeId,
    pub(super) node: Rc<dyn Called>,
}

impl<P: Process> Called for Node<P> {
    fn init(&self, context: &mut Context) -> Result<()> {
        context.place.at_node(self.id);
        self.process.init(&self.out, context)
    }

    fn punctuate(&self, timer: &str, time_ms: i64, context: &mut Context) -> Result<()> {
        context.place.at_node(self.id);
        self.process.punctuate(timer, time_ms, &self.out, context)
    }

    fn flush(&self, context: &mut Context) -> Result<()> {
        context.place.at_node(self.id);
        self.process.flush(&self.out, context)
    }
}

/// A node: a process and its edges.
pub(super) struct Node<P: Process> {
    pub(super) id: NodeId,
    pub(super) process: P,
    pub(super) out: Edges<P::KeyOut, P::ValueOut>,
}

impl<P: Process> Push<P::KeyIn, P::ValueIn> for Node<P> {
    #[inline]
    fn push(&self, record: Record<P::KeyIn, P::ValueIn>, context: &mut Context) -> Result<()> {
        context.place.at_node(self.id);
        self.process.process(record, &self.out, context)
    }

    fn tick(&self, tick: Tick, context: &mut Context) -> Result<()> {
        if tick == Tick::Ended && !context.ends.have_come_to(self.id) {
            // Another of its inputs continues; its end arrives here too.
            return Ok(());
        }
        context.place.at_node(self.id);
        self.process.tick(tick, &self.out, context)
    }
}

/// A node whose errors end with it, under `Policy::Continue`.
pub(super) struct Continuing<K, V>(pub(super) Port<K, V>);

impl<K, V> Push<K, V> for Continuing<K, V> {
    fn push(&self, record: Record<K, V>, context: &mut Context) -> Result<()> {
        context.continuing(|context| self.0.push(record, context))
    }

    fn tick(&self, tick: Tick, context: &mut Context) -> Result<()> {
        self.0.tick(tick, context)
    }
}

/// The head of a graph: decodes raw records and pushes them.
pub trait Source {
    /// Decodes a record and sends it on. [`Context::accept`] must be called between the two: from there
    /// on time has advanced, and an error counts as a processing error. A source that does not call it
    /// has refused the record.
    ///
    /// # Errors
    /// `User` if the bytes do not decode, else as [`Push::push`].
    fn record(&self, raw: &RecordRef<'_>, context: &mut Context) -> Result<()>;

    /// Whether the time of a record may differ from its topic's.
    fn extracts_timestamps(&self) -> bool {
        false
    }

    /// The time of a record, given the largest in its partition so far (-1 at first); `None` if the
    /// record is refused.
    ///
    /// # Errors
    /// `User` if the bytes do not decode.
    fn timestamp_ms(&self, raw: &RecordRef<'_>, partition_time_ms: i64) -> Result<Option<i64>> {
        let _ = partition_time_ms;
        Ok(Some(raw.timestamp_ms))
    }

    /// See [`Push::tick`].
    ///
    /// # Errors
    /// As [`Push::tick`].
    fn tick(&self, tick: Tick, context: &mut Context) -> Result<()>;
}

/// A table as a function of its key: a store, or a computation over another view.
pub trait View<K, V> {
    /// The current row and its timestamp in milliseconds.
    ///
    /// # Errors
    /// Any error of the store.
    fn get(&self, key: &K, context: &mut Context) -> Result<Option<(V, i64)>>;

    /// The row that was valid at a time and its timestamp, both in milliseconds; the current one if no
    /// history is kept.
    ///
    /// # Errors
    /// As [`View::get`].
    fn get_at(&self, key: &K, time_ms: i64, context: &mut Context) -> Result<Option<(V, i64)>> {
        let _ = time_ms;
        self.get(key, context)
    }
}

/// A shared view.
pub type ViewPort<K, V> = Rc<dyn View<K, V>>;
