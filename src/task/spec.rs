//! What a task is made of: plain data, created once when the topology is built.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{ExpiredPuts, GlobalStores, Wiring};
use crate::base::Result;
use crate::state::StoreSpec;

/// Number of a node within its topology. It has no meaning outside the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// Builds a node: takes the ports of its children from the wiring and adds its own.
pub type Make = Arc<dyn Fn(&mut Wiring<'_>, NodeId) -> Result<()> + Send + Sync>;

/// A `fn(&Record<K, V>) -> Record<K, V>`, erased; present if a stream's handle was cloned.
pub type Copier = Arc<dyn Any + Send + Sync>;

/// Opens a typed store, for nodes that find it by name: the user of the value downcasts it. Records that
/// the store refuses count for the node.
pub type OpenStore = Arc<dyn Fn(&Wiring<'_>, &ExpiredPuts) -> Result<Box<dyn Any>> + Send + Sync>;

/// How typed stores are opened, by name.
#[derive(Clone, Default)]
pub struct TypedStores(Arc<BTreeMap<String, OpenStore>>);

impl TypedStores {
    /// How to open that store; `None` if it was declared without types.
    pub fn get(&self, name: &str) -> Option<&OpenStore> {
        self.0.get(name)
    }
}

impl FromIterator<(String, OpenStore)> for TypedStores {
    fn from_iter<I: IntoIterator<Item = (String, OpenStore)>>(stores: I) -> Self {
        Self(Arc::new(stores.into_iter().collect()))
    }
}

impl fmt::Debug for TypedStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

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

/// A node of the physical graph.
#[derive(Clone)]
pub struct NodeSpec {
    /// Its number.
    pub id: NodeId,
    /// What it does, in the DSL's term: `filter`, `aggregate`.
    pub operator: &'static str,
    /// The name the user gave it, if any.
    pub name: Option<String>,
    /// What it is.
    pub kind: NodeKind,
    /// Nodes that send to it.
    pub parents: Vec<NodeId>,
    /// Nodes that it sends to, in order.
    pub children: Vec<NodeId>,
    /// Stores that it uses.
    pub stores: Vec<String>,
    /// Whether its records may have other keys than those it gets.
    pub changes_key: bool,
    /// How far behind the time that has reached it a later record of it may be, in milliseconds; `None`
    /// for a node that holds nothing back.
    pub holds_back_ms: Option<i64>,
    /// The reasons besides records for which the task calls it.
    pub calls: Calls,
    /// Whether it sends the row before each change along with the change.
    pub sends_old_rows: bool,
    /// How to copy its output records, if there is more than one child.
    pub copier: Option<Copier>,
    /// Builds it.
    pub make: Make,
}

impl fmt::Debug for NodeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeSpec")
            .field("id", &self.id)
            .field("operator", &self.operator)
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("parents", &self.parents)
            .field("children", &self.children)
            .field("stores", &self.stores)
            .finish_non_exhaustive()
    }
}

/// A topic that a task reads, one partition of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// Full name.
    pub topic: Arc<str>,
    /// The source node that its records go to.
    pub source: NodeId,
    /// The partition that this task reads.
    pub partition: u32,
    /// Number of tasks that write the topic, if it is a repartition topic of this application: each is an
    /// origin with its own clock. `None` for a topic of the user's.
    pub origins: Option<u32>,
    /// To which partitions clocks without records are sent.
    pub clocks: ClocksTo,
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

/// Everything that one task is made of.
#[derive(Clone, Debug)]
pub struct TaskSpec {
    /// All nodes of the topology.
    pub nodes: Arc<[NodeSpec]>,
    /// The nodes of this task, parents first.
    pub members: Vec<NodeId>,
    /// The stores of this task.
    pub stores: Vec<StoreSpec>,
    /// How typed stores are opened.
    pub typed_stores: TypedStores,
    /// The largest record that the changelog of each store takes, in bytes of key and value.
    pub changelog_limits: Vec<usize>,
    /// What it reads.
    pub inputs: Vec<InputSpec>,
    /// What it writes.
    pub outputs: Vec<OutputSpec>,
    /// What it may write in addition.
    pub dynamic: DynamicTopics,
    /// Where dead letters go: the position in `outputs`.
    pub dead_letters: Option<usize>,
    /// The stores of another task that it may read.
    pub globals: GlobalStores,
    /// Whether its outputs are fed back to it: its sources then end one by one, as their origins do.
    pub in_loop: bool,
    /// The task's own partition: the origin number in the clocks that it sends.
    pub partition: u32,
}

impl TaskSpec {
    /// Whether some input is written by several tasks: time then waits for the slowest.
    pub fn has_several_origins(&self) -> bool {
        let mut origins = self.inputs.iter().filter_map(|input| input.origins);
        origins.any(|origins| origins > 1)
    }

    /// Whether the task stores anything: rows, or times that must survive (a clock it sends, the clocks
    /// and ends of the origins it reads, timers). If so, it has a task changelog.
    pub fn is_stateful(&self) -> bool {
        let has_timers = |id: &NodeId| self.nodes[id.0].calls.timers;
        !self.stores.is_empty()
            || self.members.iter().any(has_timers)
            || self.outputs.iter().any(|output| output.clocked)
            || self.inputs.iter().any(|input| input.origins.is_some())
    }

    /// Whether changelogs have all its rows, so that nothing is lost with its directory.
    pub fn is_rebuildable(&self) -> bool {
        self.stores.iter().all(|store| store.is_logged())
    }
}
