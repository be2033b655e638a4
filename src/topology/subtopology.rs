//! Divides the graph: nodes that share an edge or a store stay together.

use std::collections::HashMap;

use crate::base::{Error, Result};
use crate::task::{NodeId, NodeKind, NodeSpec, TopicName};

/// A part of the topology that runs as one task per partition.
#[derive(Clone, Debug)]
pub struct SubTopology {
    /// Its name: that of its smallest store, or else of its smallest source.
    pub name: String,
    /// Its nodes, parents first.
    pub nodes: Vec<NodeId>,
    /// Topics it reads, sorted.
    pub sources: Vec<TopicName>,
    /// Topics it writes, sorted.
    pub sinks: Vec<TopicName>,
    /// Whether it writes topics that its records name.
    pub writes_named: bool,
    /// Names of its stores, sorted.
    pub stores: Vec<String>,
    /// Whether it feeds itself, directly or through others: then its sources end one by one.
    pub in_loop: bool,
}

pub(super) fn cut(
    nodes: &[NodeSpec],
    feedbacks: &[TopicName],
    is_global: impl Fn(NodeId) -> bool,
) -> Result<Vec<SubTopology>> {
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
    for node in nodes.iter().filter(|node| !is_global(node.id)) {
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
    let mut parts = upstream_first(made.collect::<Result<Vec<_>>>()?, feedbacks)?;
    find_loops(&mut parts);
    Ok(parts)
}

/// Marks the parts that feed themselves.
fn find_loops(parts: &mut [SubTopology]) {
    let feeds = |from: usize, to: usize| feeds(&parts[from], &parts[to], &[]);
    let mut in_loop = Vec::with_capacity(parts.len());
    for start in 0..parts.len() {
        let mut reached = vec![false; parts.len()];
        let mut open = vec![start];
        while let Some(at) = open.pop() {
            for next in (0..parts.len()).filter(|next| feeds(at, *next)) {
                if !std::mem::replace(&mut reached[next], true) {
                    open.push(next);
                }
            }
        }
        in_loop.push(reached[start]);
    }
    for (part, in_loop) in parts.iter_mut().zip(in_loop) {
        part.in_loop = in_loop;
    }
}

/// Whether a part writes a repartition topic that the other one reads, ignoring the topics in `without`.
fn feeds(from: &SubTopology, to: &SubTopology, without: &[TopicName]) -> bool {
    from.sinks.iter().any(|sink| {
        matches!(sink, TopicName::Repartition(_))
            && to.sources.contains(sink)
            && !without.contains(sink)
    })
}

pub(super) fn make(nodes: &[NodeSpec], ids: Vec<NodeId>) -> Result<SubTopology> {
    let (mut sources, mut sinks, mut stores) = (Vec::new(), Vec::new(), Vec::new());
    for id in &ids {
        let node = &nodes[id.0];
        match &node.kind {
            NodeKind::Source { topics } => sources.extend(topics.iter().cloned()),
            NodeKind::Sink { topic } => sinks.push(topic.clone()),
            NodeKind::Processor | NodeKind::DynamicSink => {}
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
    let names = |id: &NodeId| nodes[id.0].kind == NodeKind::DynamicSink;
    Ok(SubTopology {
        name,
        writes_named: ids.iter().any(names),
        nodes: ids,
        sources,
        sinks,
        stores,
        in_loop: false,
    })
}

/// Orders the parts so that a part that writes a repartition topic comes before its reader. Parts that do not feed
/// each other keep the order in which they were written. Topics that lead back are ignored.
fn upstream_first(
    mut parts: Vec<SubTopology>,
    feedbacks: &[TopicName],
) -> Result<Vec<SubTopology>> {
    let mut ordered: Vec<SubTopology> = Vec::with_capacity(parts.len());
    while !parts.is_empty() {
        let waits = |part: &SubTopology| {
            let mut others = parts.iter();
            others.any(|other| other.name != part.name && feeds(other, part, feedbacks))
        };
        let free = parts.iter().position(|part| !waits(part));
        let free = free.ok_or_else(|| {
            Error::invalid(
                "sub-topologies feed each other in a cycle; break it with a topic of your own",
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
