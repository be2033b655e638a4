//! The order in which the input topics of a topology end: each after those whose end may still send to it.

use std::collections::HashSet;

use super::SubTopology;
use crate::base::{Error, Result};
use crate::task::{NodeId, NodeKind, NodeSpec, TopicName};

/// A source and what it waits for.
struct Ending {
    id: NodeId,
    topics: Vec<TopicName>,
    /// The sources that can send to one of its topics.
    waits_for: Vec<NodeId>,
}

/// The topics that end together, step by step: everything that a part reads, unless it feeds itself; then source
/// by source.
///
/// # Errors
/// `Invalid` if records would circulate among the nodes themselves: such a loop has no end.
pub(super) fn order(nodes: &[NodeSpec], parts: &[SubTopology]) -> Result<Vec<Vec<TopicName>>> {
    let mut left = endings(nodes);
    // What every instance reads completely belongs to no part, and has no end.
    left.retain(|ending| parts.iter().any(|part| part.nodes.contains(&ending.id)));
    let mut steps = Vec::new();
    while !left.is_empty() {
        let free = |ending: &Ending| {
            let waits = |ending: &Ending, other: &Ending| ending.waits_for.contains(&other.id);
            !left.iter().any(|other| waits(ending, other))
        };
        let is_free = |part: &&SubTopology| {
            let mut own = left.iter().filter(|ending| part.nodes.contains(&ending.id));
            own.clone().next().is_some()
                && match part.in_loop {
                    true => own.any(free),
                    false => own.all(free),
                }
        };
        let part = parts.iter().find(is_free).ok_or_else(|| {
            let mut topics = left.iter().flat_map(|ending| &ending.topics);
            let topic = topics.find(|topic| matches!(topic, TopicName::Repartition(_)));
            let topic = topic.map_or_else(String::new, ToString::to_string);
            Error::invalid(format!(
                "what is sent back to {topic} leads there again: time could not move behind it, nor could it \
                 end; break the loop with a topic of your own"
            ))
        })?;
        let ends: HashSet<NodeId> = match part.in_loop {
            true => {
                let mut own = left.iter().filter(|ending| part.nodes.contains(&ending.id));
                own.find(|ending| free(ending)).map(|ending| ending.id)
            }
            .into_iter()
            .collect(),
            false => part.nodes.iter().copied().collect(),
        };
        let (done, rest) = left
            .into_iter()
            .partition(|ending| ends.contains(&ending.id));
        left = rest;
        let done: Vec<Ending> = done;
        steps.push(done.into_iter().flat_map(|ending| ending.topics).collect());
    }
    Ok(steps)
}

fn endings(nodes: &[NodeSpec]) -> Vec<Ending> {
    let mut endings: Vec<Ending> = Vec::new();
    let mut writes: Vec<(NodeId, HashSet<&TopicName>)> = Vec::new();
    for node in nodes {
        if let NodeKind::Source { topics } = &node.kind {
            endings.push(Ending {
                id: node.id,
                topics: topics.clone(),
                waits_for: Vec::new(),
            });
            writes.push((node.id, written_behind(nodes, node.id)));
        }
    }
    for ending in &mut endings {
        let internal = |topic: &&TopicName| matches!(topic, TopicName::Repartition(_));
        let sends = |written: &HashSet<&TopicName>| {
            let mut topics = ending.topics.iter().filter(internal);
            topics.any(|topic| written.contains(topic))
        };
        let senders = writes.iter().filter(|(_, written)| sends(written));
        ending.waits_for = senders.map(|(id, _)| *id).collect();
    }
    endings
}

/// The topics written downstream of a source.
fn written_behind(nodes: &[NodeSpec], source: NodeId) -> HashSet<&TopicName> {
    let mut written = HashSet::new();
    let mut seen = vec![false; nodes.len()];
    let mut open = vec![source];
    while let Some(id) = open.pop() {
        if std::mem::replace(&mut seen[id.0], true) {
            continue;
        }
        if let NodeKind::Sink { topic } = &nodes[id.0].kind {
            written.insert(topic);
        }
        open.extend(&nodes[id.0].children);
    }
    written
}
