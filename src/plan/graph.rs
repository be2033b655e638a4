//! Logical nodes in an arena, in the order in which the user wrote them, and the operations that rules use.
//!
//! ```text
//!  redirect(b, a)      a --> b --> c    becomes   a --> c, and b is left without children
//!  remove(b)           b no longer exists
//!  replace(b, other)   a --> b --> c    becomes   a --> other --> c, with a as the parent that `other` names
//! ```

use std::collections::HashSet;
use std::sync::Arc;

use crate::base::Error;
use crate::state::StoreSpec;
use crate::task::{Calls, Copier, Make, OpenStore};
use crate::topology::Idle;

/// Position of a node in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogicalId(pub usize);

/// What a logical node is.
#[derive(Clone)]
pub enum LogicalKind {
    /// Reads the user's topics.
    Source {
        /// Full names.
        topics: Vec<String>,
        /// How long the source may be silent, at its end, before it no longer holds time back.
        idle: Idle,
    },
    /// Reads the user's topics completely, in every instance, into stores that all tasks may read.
    GlobalSource {
        /// Full names.
        topics: Vec<String>,
    },
    /// Processes records.
    Operator,
    /// Writes one of the user's topics.
    Sink {
        /// Full name.
        topic: String,
    },
    /// Writes the user's topics that its records name.
    DynamicSink,
    /// Sends records through a topic, so that equal keys meet.
    Repartition(Repartition),
    /// Reads the repartition topic with that name, to which later nodes send back. The topic has as many
    /// partitions as the topics it is co-partitioned with, whoever writes it.
    FeedbackSource {
        /// The name of the topic, without the application's prefix and `-repartition`.
        name: String,
    },
    /// Sends back to the source with that name, in an earlier sub-topology or in its own.
    FeedbackSink {
        /// The source's name.
        name: String,
    },
}

/// What a node knows of the row before each change that it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OldRows {
    /// Nothing: it sends no changes, or keeps no rows to know it from.
    #[default]
    Unknown,
    /// It keeps the rows, and sends the old one if an operator needs it.
    Kept,
    /// There is none: each row is sent once.
    Absent,
    /// Old rows are computed from those of its parents, if they know them.
    OfParents,
}

/// Makes the builder of the writing half of a repartition, as the rules leave it.
pub type MakeSink = Arc<dyn Fn(&Repartition) -> Make + Send + Sync>;

/// The two halves of a repartition, and what is known of its topic.
#[derive(Clone)]
pub struct Repartition {
    /// The name of the topic, without the application's prefix and `-repartition`.
    pub name: String,
    /// Number of partitions, if the user fixed it.
    pub partitions: Option<u32>,
    /// Whether the user asked for it; if not, it is removed if the key has not changed.
    pub forced: bool,
    /// Names of the codecs for its keys and values.
    pub codecs: (String, String),
    /// Whether it passes on records with a null key; if not, it drops them.
    pub keeps_null_keys: bool,
    /// Builds the writing half.
    pub make_sink: MakeSink,
    /// Builds the reading half.
    pub make_source: Make,
}

/// A node as the DSL adds it.
#[derive(Clone)]
pub struct LogicalNode {
    /// The DSL's name for the operator.
    pub operator: &'static str,
    /// The user's name for it.
    pub name: Option<String>,
    /// What it is.
    pub kind: LogicalKind,
    /// The nodes that it gets records from.
    pub parents: Vec<LogicalId>,
    /// The stores that it adds.
    pub stores: Vec<StoreSpec>,
    /// Names of all stores that it uses, including its own.
    pub uses_stores: Vec<String>,
    /// Whether the key may differ from the one its input was partitioned by.
    pub changes_key: bool,
    /// Whether its parents must be co-partitioned.
    pub joins_partitions: bool,
    /// How far a record that it sends later may be behind the time that has reached it, in milliseconds; `None`
    /// for a node that holds nothing back.
    pub holds_back_ms: Option<i64>,
    /// What the task calls it for, apart from records.
    pub calls: Calls,
    /// How far back the versioned table knows the rows that its records change, in milliseconds; some of the
    /// changes are out of order. `None` if they are not of a versioned table.
    pub history_ms: Option<i64>,
    /// What is known of the rows before its changes.
    pub old_rows: OldRows,
    /// Whether it needs the old row with each change that it receives.
    pub wants_old_rows: bool,
    /// Whether it sends the old row with each change, as determined by the rule `old_rows`.
    pub sends_old_rows: bool,
    /// A node that can replace this one together with its parents, if all of these read the same node. It has no
    /// parents yet.
    pub of_one_input: Option<Box<LogicalNode>>,
    /// How to copy its output.
    pub copier: Option<Copier>,
    /// Builds it; a repartition has constructors of its own.
    pub make: Option<Make>,
}

impl LogicalNode {
    /// A node without stores that keeps the key.
    pub fn new(operator: &'static str, kind: LogicalKind, parents: Vec<LogicalId>) -> Self {
        Self {
            operator,
            name: None,
            kind,
            parents,
            stores: Vec::new(),
            uses_stores: Vec::new(),
            changes_key: false,
            joins_partitions: false,
            holds_back_ms: None,
            calls: Calls::default(),
            history_ms: None,
            old_rows: OldRows::default(),
            wants_old_rows: false,
            sends_old_rows: false,
            of_one_input: None,
            copier: None,
            make: None,
        }
    }
}

/// The logical graph, and the errors found while it was written.
#[derive(Default)]
pub struct Graph {
    nodes: Vec<LogicalNode>,
    removed: HashSet<LogicalId>,
    stores: Vec<(StoreSpec, OpenStore)>,
    opens: Vec<(String, OpenStore)>,
    errors: Vec<Error>,
}

impl Graph {
    /// Adds a node.
    pub fn add(&mut self, node: LogicalNode) -> LogicalId {
        self.nodes.push(node);
        LogicalId(self.nodes.len() - 1)
    }

    /// Adds a store that nodes use by name, and how to open it.
    pub fn add_store(&mut self, spec: StoreSpec, open: OpenStore) {
        self.stores.push((spec, open));
    }

    /// Declares how a store that a node adds is opened by its name.
    pub fn add_open(&mut self, store: String, open: OpenStore) {
        self.opens.push((store, open));
    }

    /// How to open the stores that nodes add.
    pub fn opens(&self) -> &[(String, OpenStore)] {
        &self.opens
    }

    /// The stores that no node adds.
    pub fn stores(&self) -> &[(StoreSpec, OpenStore)] {
        &self.stores
    }

    /// A node.
    pub fn node(&self, id: LogicalId) -> &LogicalNode {
        &self.nodes[id.0]
    }

    /// Whether the row before each change of a node can be known, so that operators may ask for it.
    pub fn knows_old_rows(&self, id: LogicalId) -> bool {
        let node = self.node(id);
        match node.old_rows {
            OldRows::Unknown => false,
            OldRows::Kept | OldRows::Absent => true,
            OldRows::OfParents => node
                .parents
                .iter()
                .all(|parent| self.knows_old_rows(*parent)),
        }
    }

    /// A node, for changing it.
    pub fn node_mut(&mut self, id: LogicalId) -> &mut LogicalNode {
        &mut self.nodes[id.0]
    }

    /// The nodes that have not been removed, in order; parents come before children.
    pub fn ids(&self) -> Vec<LogicalId> {
        let all = (0..self.nodes.len()).map(LogicalId);
        all.filter(|id| !self.removed.contains(id)).collect()
    }

    /// Makes the children of `from` children of `to`, which comes before them and sends the same records.
    pub fn redirect(&mut self, from: LogicalId, to: LogicalId) {
        for parent in self.nodes.iter_mut().flat_map(|node| &mut node.parents) {
            if *parent == from {
                *parent = to;
            }
        }
        let copier = self.node(from).copier.clone();
        let to = self.node_mut(to);
        to.copier = to.copier.take().or(copier);
    }

    /// Removes a node. Its children must be redirected or removed as well.
    pub fn remove(&mut self, id: LogicalId) {
        self.removed.insert(id);
    }

    /// Replaces a node by another, which takes over its children, and the user's name for it unless it has a name
    /// already.
    pub fn replace(&mut self, id: LogicalId, node: LogicalNode) {
        let before = std::mem::replace(self.node_mut(id), node);
        let node = self.node_mut(id);
        node.name = node.name.take().or(before.name);
        node.copier = node.copier.take().or(before.copier);
    }

    /// Keeps an error for the build to report.
    pub fn report(&mut self, error: Error) {
        self.errors.push(error);
    }

    /// The first error reported, if any.
    pub fn take_error(&mut self) -> Option<Error> {
        (!self.errors.is_empty()).then(|| self.errors.remove(0))
    }
}
