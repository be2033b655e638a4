//! Identities of things in a log: partitions of topics, offsets, tasks.

use std::fmt;
use std::sync::Arc;

/// The position of a record in a partition, counted from 0. A *position* is the offset of the next
/// record to read or to write.
pub type Offset = i64;

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's full name, as the log knows it.
    pub topic: Arc<str>,
    /// The partition's number, counted from 0.
    pub partition: u32,
}

impl TopicPartition {
    /// Names partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: u32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The unit of work and of state: one partition of one sub-topology.
///
/// A sub-topology is named after its smallest store or source, so that adding an operator elsewhere
/// renames no task. If one is renamed, its rows and times move along.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    /// The sub-topology's name.
    pub subtopology: Arc<str>,
    /// The partition that this task reads of every topic of its sub-topology.
    pub partition: u32,
}

impl TaskId {
    /// Names the task of `partition` of the sub-topology `subtopology`.
    pub fn new(subtopology: impl Into<Arc<str>>, partition: u32) -> Self {
        Self {
            subtopology: subtopology.into(),
            partition,
        }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.subtopology, self.partition)
    }
}

/// Whether a character may be in the name of a topic, and so in what names of topics are made of.
pub(crate) fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}
