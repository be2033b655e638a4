//! The topics of a task, as they are known when the topology is built.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The name of a topic before the application's name is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicName {
    /// A topic of the user's, by its full name.
    External(String),
    /// A repartition topic: `<application>-<name>-repartition`.
    Repartition(String),
}

impl TopicName {
    /// The full name within an application.
    pub fn resolve(&self, application: &str) -> String {
        match self {
            Self::External(name) => name.clone(),
            Self::Repartition(name) => format!("{application}-{name}-repartition"),
        }
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::External(name) => f.write_str(name),
            Self::Repartition(name) => write!(f, "{name}-repartition"),
        }
    }
}

/// To which partitions of a repartition topic its origins send their clocks without records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClocksTo {
    /// To all: their readers write a repartition topic in turn, and its readers wait for all of them.
    All,
    /// To those that have ever had a record: in the others there is nothing to close.
    Used,
}

/// A topic that a task writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSpec {
    /// Full name.
    pub topic: Arc<str>,
    /// Number of its partitions.
    pub partitions: u32,
    /// Largest record that the topic accepts, in bytes of key, value and headers.
    pub max_record_bytes: usize,
    /// The name before the application's name was known.
    pub name: TopicName,
    /// How many tasks write it, if it is a repartition topic of this application: its readers are then
    /// told of the end of the input.
    pub origins: Option<u32>,
    /// Whether its records carry the clock of their origin: if there are several origins, or if it has
    /// several readers that are themselves origins of a topic.
    pub clocked: bool,
    /// To which partitions the clock is sent without a record.
    pub clocks: ClocksTo,
}

/// The topics that a task may write besides its outputs, if its records name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DynamicTopics {
    /// None: no record names one.
    #[default]
    None,
    /// Any name: each is such a topic, as in a test.
    Any(DynamicTopic),
    /// Those that existed at the start, by full name.
    Known(Arc<BTreeMap<String, DynamicTopic>>),
}

/// A topic that records may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynamicTopic {
    /// Number of its partitions.
    pub partitions: u32,
    /// Largest record that it accepts, in bytes of key, value and headers.
    pub max_record_bytes: usize,
}
