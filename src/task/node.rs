//! What a node is, apart from its place in the graph and how it is made.

use super::TopicName;

/// Number of a node within its topology. It has no meaning outside the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// What a node is, for descriptions and for wiring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Reads topics.
    Source {
        /// Their names.
        topics: Vec<TopicName>,
    },
    /// Processes records.
    Processor,
    /// Writes a topic.
    Sink {
        /// Its name.
        topic: TopicName,
    },
    /// Writes topics named by its records.
    DynamicSink,
}

/// Reasons besides records for which a task calls a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// At the start, before the first record: [`Process::init`](super::Process::init).
    pub begins: bool,
    /// When a timer that it set is due: [`Process::punctuate`](super::Process::punctuate). Its timers are
    /// stored under its name.
    pub timers: bool,
    /// Before each commit, to send what it holds: [`Process::flush`](super::Process::flush).
    pub flushes: bool,
}

impl Calls {
    /// Whether there is any.
    pub fn any(self) -> bool {
        self.begins || self.timers || self.flushes
    }
}
