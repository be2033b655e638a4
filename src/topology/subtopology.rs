//! Cuts the graph: nodes that share an edge or a store stay together.

use std::collections::HashMap;

use crate::base::{Error, Result};
use crate::task::{NodeId, NodeKind, NodeSpec, TopicName};

/// A part of the topology that runs as one task a partition.
#[derive(Clone, Debug)]
pub struct SubTopology {
    /// Its name: the smallest of its stores', or else of its sources'.
    pub name: String,
    /// Its nodes, parents first.
    pub nodes: Vec<NodeId>,
    /// Topics it reads, sorted.
    pub sources: Vec<TopicName>,
    /// Topics it writes, sorted.
    pub sinks: Vec<TopicName>,
    /// Names of its stores, sorted.
    pub stores: Vec<String>,
}

pub(super) fn cut(nodes: &[NodeSpec]) -> Result<Vec<SubTopology>> {
    let mut groups = Groups((0..nodes.len()).collect());
    let mut owner_of_store: HashMap<&str, usize> = HashMap::new();
    for node in nodes {
        for child in &node.children {
            groups.join(node.id.0, child.0);
        }
        for store in &node.stores {
            let owner = *owner_of_store.entry(store).or_insert(node.id.0);
            groups.join(owner, node.id.0);
        }
    }
    let mut order: Vec<usize> = Vec::new();
    let mut members: HashMap<usize, Vec<NodeId>> = HashMap::new();
    for node in nodes {
        let root = groups.find(node.id.0);
        members.entry(root).or_insert_with(|| {
            order.push(root);
            Vec::new()
        });
        if let Some(group) = members.get_mut(&root) {
            group.push(node.id);
        }
    }
    let made = order
        .iter()
        .filter_map(|root| members.remove(root))
        .map(|ids| make(nodes, ids));
    upstream_first(made.collect::<Result<Vec<_>>>()?)
}

fn make(nodes: &[NodeSpec], ids: Vec<NodeId>) -> Result<SubTopology> {
    let (mut sources, mut sinks, mut stores) = (Vec::new(), Vec::new(), Vec::new());
    for id in &ids {
        let node = &nodes[id.0];
        match &node.kind {
            NodeKind::Source { topics } => sources.extend(topics.iter().cloned()),
            NodeKind::Sink { topic } => sinks.push(topic.clone()),
            NodeKind::Processor => {}
        }
        stores.extend(node.stores.iter().cloned());
    }
    sources.sort();
    sinks.sort();
    sinks.dedup();
    stores.sort();
    stores.dedup();
    let name = stores
        .first()
        .cloned()
        .or_else(|| sources.first().map(ToString::to_string));
    let name = name.ok_or_else(|| Error::internal("a part of the topology has no source"))?;
    Ok(SubTopology {
        name,
        nodes: ids,
        sources,
        sinks,
        stores,
    })
}

/// Orders the parts so that a part that writes a repartition topic stands before its reader. Parts
/// that do not feed each other keep the order in which they were written.
fn upstream_first(mut parts: Vec<SubTopology>) -> Result<Vec<SubTopology>> {
    let mut ordered: Vec<SubTopology> = Vec::with_capacity(parts.len());
    while !parts.is_empty() {
        let waits = |part: &SubTopology| {
            parts.iter().any(|other| {
                other.name != part.name
                    && other.sinks.iter().any(|sink| {
                        matches!(sink, TopicName::Repartition(_)) && part.sources.contains(sink)
                    })
            })
        };
        let free = parts.iter().position(|part| !waits(part));
        let free = free.ok_or_else(|| {
            Error::invalid(
                "sub-topologies feed each other in a circle; break it with a topic of your own",
            )
        })?;
        ordered.push(parts.remove(free));
    }
    Ok(ordered)
}

/// Union-find over node numbers.
struct Groups(Vec<usize>);

impl Groups {
    fn find(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}
