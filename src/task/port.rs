//! Typed edges between nodes.

use std::rc::Rc;

use super::{Context, NodeId};
use crate::base::{Record, Result};
use crate::batch::RecordRef;

/// News about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// An origin of a repartition topic has come further: what is due goes out. How far time has come
    /// says [`Context::floor_ms`].
    Moved,
    /// The input has ended: what is open closes.
    Ended,
}

/// The receiving end of an edge.
pub trait Push<K, V> {
    /// Takes a record and everything that follows from it.
    ///
    /// # Errors
    /// Whatever a node or a store reports; the task adds the place and applies its policy.
    fn push(&self, record: Record<K, V>, context: &mut Context) -> Result<()>;

    /// Says what no record tells about time.
    ///
    /// # Errors
    /// As [`Push::push`].
    fn tick(&self, tick: Tick, context: &mut Context) -> Result<()>;
}

/// A shared receiving end. A merge is two parents that hold the same port.
pub type Port<K, V> = Rc<dyn Push<K, V>>;

/// Where the records of a node go: the last child gets the record itself, the others copies.
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
    /// The first error of a child; the children behind it do not see the record.
    #[inline(always)]
    pub fn push(&self, record: Record<K, V>, context: &mut Context) -> Result<()> {
        match self {
            Self::One(port) => port.push(record, context),
            Self::None => Ok(()),
            Self::Many { ports, copy } => Self::push_copies(ports, *copy, record, context),
        }
    }

    /// Apart, so that one child costs a call and nothing else.
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

/// What a node does with a record. One per operator.
///
/// Whatever must survive belongs into a store or a named time: an abort drops the node and builds it
/// anew from committed rows, so a field would forget some records and remember others.
pub trait Process: 'static {
    /// Type of the key that comes in.
    type KeyIn;
    /// Type of the value that comes in.
    type ValueIn;
    /// Type of the key that goes out.
    type KeyOut;
    /// Type of the value that goes out.
    type ValueOut;

    /// Handles a record and forwards what follows from it.
    ///
    /// # Errors
    /// Whatever the operator cannot handle.
    fn process(
        &self,
        record: Record<Self::KeyIn, Self::ValueIn>,
        out: &Edges<Self::KeyOut, Self::ValueOut>,
        context: &mut Context,
    ) -> Result<()>;

    /// Handles the news about time (see [`Push::tick`]); the default passes it on.
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

    /// Begins: called once before the first record, where [`Calls::begins`](super::Calls::begins) says
    /// so, after each abort too. The place to set timers; one that is set already keeps its due time.
    ///
    /// # Errors
    /// Whatever it cannot begin with; the application fails.
    fn init(&self, out: &Edges<Self::KeyOut, Self::ValueOut>, context: &mut Context) -> Result<()> {
        let _ = (out, context);
        Ok(())
    }

    /// Handles a timer that is due: `time_ms` is the time it is by the timer's clock.
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

    /// Sends what it holds back until a commit, where [`Calls::flushes`](super::Calls::flushes) says so;
    /// parents are asked before their children. What comes out has no origin of its own.
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

/// A node as the task calls it, besides for records.
pub(super) trait Called {
    fn init(&self, context: &mut Context) -> Result<()>;
    fn punctuate(&self, timer: &str, time_ms: i64, context: &mut Context) -> Result<()>;
    fn flush(&self, context: &mut Context) -> Result<()>;
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
            // Another of its inputs goes on; its end comes here too.
            return Ok(());
        }
        context.place.at_node(self.id);
        self.process.tick(tick, &self.out, context)
    }
}

/// The head of a graph: decodes raw records and pushes them.
pub trait Source {
    /// Decodes a record and sends it on. [`Context::accept`] must be called between the two: from there
    /// on time has moved, and an error counts as one of processing. A source that does not call it
    /// has refused the record.
    ///
    /// # Errors
    /// `User` when the bytes do not decode, else as [`Push::push`].
    fn record(&self, raw: &RecordRef<'_>, context: &mut Context) -> Result<()>;

    /// Whether the time of a record is not the one of its topic.
    fn extracts_timestamps(&self) -> bool {
        false
    }

    /// The time of a record, given the largest that its partition has had (-1 at first); `None` where
    /// the record is refused.
    ///
    /// # Errors
    /// `User` when the bytes do not decode.
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
    /// Whatever the store reports.
    fn get(&self, key: &K, context: &mut Context) -> Result<Option<(V, i64)>>;

    /// The row that there was at a time and its timestamp, both in milliseconds; the current one where no
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
