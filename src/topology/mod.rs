//! The physical graph: nodes, stores and topics, divided into sub-topologies.
//!
//! ```text
//!  nodes that share an edge or a store  ->  sub-topology  ->  one task per partition
//! ```
//!
//! A repartition topic separates two sub-topologies. Names come from what the user wrote, never from a counter: a
//! sub-topology is named after its smallest store, or else its smallest source.

mod describe;
mod ends;
mod globals;
mod partitions;
mod specs;
mod subtopology;
mod validate;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use describe::store_text;
pub use partitions::Partitions;
pub use specs::TopicLimits;
pub use subtopology::SubTopology;

use crate::base::Result;
use crate::state::StoreSpec;
use crate::task::{NodeId, NodeSpec, OpenStore, TopicName, TypedStores};

/// What a topology consists of, before it is checked and divided.
#[derive(Default)]
pub struct TopologyParts {
    /// All nodes; parents come before children. Children are filled in.
    pub nodes: Vec<NodeSpec>,
    /// All stores.
    pub stores: Vec<StoreSpec>,
    /// How to open the stores that have types, by name.
    pub typed_stores: Vec<(String, OpenStore)>,
    /// Repartition topics, with their number of partitions if the user fixed it.
    pub repartitions: Vec<(TopicName, Option<u32>)>,
    /// Those among them that lead back: their readers come before their writers.
    pub feedbacks: Vec<TopicName>,
    /// Sources that every instance reads completely.
    pub globals: Vec<NodeId>,
    /// Nodes whose inputs must be co-partitioned.
    pub joins: Vec<NodeId>,
    /// Sources with a time-out of their own, after which they no longer hold time back.
    pub idle_timeouts: Vec<(NodeId, Idle)>,
}

/// How long an input may be silent before it no longer holds back the time downstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// As long as the application's settings say.
    #[default]
    Default,
    /// This long.
    After(Duration),
    /// Forever: results depend on the records alone, and windows wait for the slowest input.
    Never,
}

impl From<Duration> for Idle {
    fn from(timeout: Duration) -> Self {
        Self::After(timeout)
    }
}

/// A checked topology, ready to run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Topology {
    nodes: Arc<[NodeSpec]>,
    stores: Arc<[StoreSpec]>,
    typed_stores: TypedStores,
    repartitions: Arc<[(TopicName, Option<u32>)]>,
    feedbacks: Arc<[TopicName]>,
    ends: Arc<[Vec<TopicName>]>,
    global: Option<Arc<SubTopology>>,
    joins: Arc<[NodeId]>,
    idle_timeouts: Arc<[(NodeId, Idle)]>,
    subtopologies: Arc<[SubTopology]>,
}

impl Topology {
    /// Checks the parts and divides them into sub-topologies.
    ///
    /// # Errors
    /// `Invalid`, naming what clashes and the remedy: a name used twice, an empty name.
    pub fn new(mut parts: TopologyParts) -> Result<Self> {
        validate::check(&parts)?;
        for position in 0..parts.nodes.len() {
            let child = parts.nodes[position].id;
            for parent in parts.nodes[position].parents.clone() {
                parts.nodes[parent.0].children.push(child);
            }
        }
        let global = globals::take(&mut parts)?;
        let is_global = |id: NodeId| global.as_ref().is_some_and(|part| part.nodes.contains(&id));
        let subtopologies = subtopology::cut(&parts.nodes, &parts.feedbacks, is_global)?;
        let ends = ends::order(&parts.nodes, &subtopologies)?;
        Ok(Self {
            nodes: parts.nodes.into(),
            stores: parts.stores.into(),
            typed_stores: parts.typed_stores.into_iter().collect(),
            repartitions: parts.repartitions.into(),
            feedbacks: parts.feedbacks.into(),
            ends: ends.into(),
            global: global.map(Arc::new),
            joins: parts.joins.into(),
            idle_timeouts: parts.idle_timeouts.into(),
            subtopologies: subtopologies.into(),
        })
    }

    /// All nodes.
    pub fn nodes(&self) -> &[NodeSpec] {
        &self.nodes
    }

    /// All stores.
    pub fn stores(&self) -> &[StoreSpec] {
        &self.stores
    }

    /// The sub-topologies, upstream before downstream if one feeds the other.
    pub fn subtopologies(&self) -> &[SubTopology] {
        &self.subtopologies
    }

    /// The repartition topics, with their number of partitions if the user fixed it.
    pub fn repartitions(&self) -> &[(TopicName, Option<u32>)] {
        &self.repartitions
    }

    /// The repartition topics that lead back, outside the order of the sub-topologies.
    pub fn feedbacks(&self) -> &[TopicName] {
        &self.feedbacks
    }

    /// The order in which input topics end, the topics of each step together: a topic ends after those whose end
    /// may still send to it.
    pub fn ends(&self) -> &[Vec<TopicName>] {
        &self.ends
    }

    /// What every instance runs completely, for the stores that all its tasks may read.
    pub fn global(&self) -> Option<&SubTopology> {
        self.global.as_deref()
    }

    /// The silence after which a source no longer holds time back, if one is declared.
    pub fn idle_timeouts(&self) -> &[(NodeId, Idle)] {
        &self.idle_timeouts
    }

    /// Whether some records name the topics that they are sent to.
    pub fn writes_named(&self) -> bool {
        self.subtopologies.iter().any(|part| part.writes_named)
    }

    /// The user's topics that the topology reads, sorted.
    pub fn source_topics(&self) -> Vec<String> {
        self.external(|subtopology| &subtopology.sources)
    }

    /// The user's topics that the topology writes, sorted.
    pub fn sink_topics(&self) -> Vec<String> {
        self.external(|subtopology| &subtopology.sinks)
    }

    fn external(&self, topics: impl Fn(&SubTopology) -> &Vec<TopicName>) -> Vec<String> {
        let all = self.subtopologies.iter().chain(self.global());
        let all = all.flat_map(topics);
        let mut names: Vec<_> = all
            .filter_map(|topic| match topic {
                TopicName::External(name) => Some(name.clone()),
                TopicName::Repartition(_) => None,
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }
}
