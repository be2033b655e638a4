//! What a task is made of: plain data, created once when the topology is built.
//!
//! The makers of its nodes are part of it. They are given the [`Wiring`], which reads the spec: so both types
//! are in one file. The methods of the wiring are in `wiring.rs`.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::port::CalledNode;
use super::{
    Calls, ClocksTo, DynamicTopics, Effects, ExpiredPuts, GlobalStores, NodeId, NodeKind,
    OutputSpec, Source,
};
use crate::base::Result;
use crate::state::{StoreSpec, TaskState};

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

/// What makers find and add while a task is wired, children before parents: one downcast per edge and
/// task, none per record.
pub struct Wiring<'a> {
    pub(super) spec: &'a TaskSpec,
    pub(super) state: &'a TaskState,
    pub(super) effects: &'a Effects,
    pub(super) ports: HashMap<NodeId, Box<dyn Any>>,
    pub(super) sources: HashMap<NodeId, Rc<dyn Source>>,
    /// The nodes that hold records back, in the order of their numbers.
    pub(super) holding: Vec<NodeId>,
    /// The nodes that the task calls for reasons besides records, children first.
    pub(super) called: Vec<CalledNode>,
    /// Whether an error of a node ends with it.
    pub(super) continues: bool,
}
