//! Logical graph to topology: every repartition becomes a sink and a source.

use super::rules::{send_wanted_old_rows, take_out_needless_repartitions};
use super::{Graph, LogicalKind};
use crate::base::{Error, Result};
use crate::task::{Make, NodeId, NodeKind, NodeSpec, TopicName};
use crate::topology::{Idle, Topology, TopologyParts};

/// Applies the rules and makes the topology.
///
/// # Errors
/// The first error that the DSL reported, or what the topology's own checks find.
pub fn lower(mut graph: Graph) -> Result<Topology> {
    if let Some(error) = graph.take_error() {
        return Err(error);
    }
    let graph = send_wanted_old_rows(take_out_needless_repartitions(graph));
    let mut parts = TopologyParts::default();
    // The physical node that a logical node's records come out of.
    let mut outlets: Vec<Option<NodeId>> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let parents: Option<Vec<NodeId>> = node
            .parents
            .iter()
            .map(|parent| outlets[parent.0])
            .collect();
        let parents =
            parents.ok_or_else(|| Error::internal("a node's parent was taken out of the plan"))?;
        let mut add = |kind: NodeKind, operator, name, parents, make: Make| {
            let id = NodeId(parts.nodes.len());
            parts.nodes.push(NodeSpec {
                id,
                operator,
                name,
                kind,
                parents,
                children: Vec::new(),
                stores: node.uses_stores.clone(),
                changes_key: node.changes_key,
                holds_back_ms: node.holds_back_ms,
                calls: node.calls,
                sends_old_rows: node.sends_old_rows,
                copier: node.copier.clone(),
                make,
            });
            id
        };
        let make = || {
            node.make
                .clone()
                .ok_or_else(|| Error::internal("an operator came without a maker"))
        };
        let name = node.name.clone();
        let outlet = match &node.kind {
            LogicalKind::Source { topics, idle } => {
                let topics: Vec<_> = topics
                    .iter()
                    .map(|topic| TopicName::External(topic.clone()))
                    .collect();
                let kind = NodeKind::Source {
                    topics: topics.clone(),
                };
                let id = add(kind, node.operator, name, parents, make()?);
                if *idle != Idle::Default {
                    parts.idle_timeouts.push((id, *idle));
                }
                Some(id)
            }
            LogicalKind::Sink { topic } => {
                let kind = NodeKind::Sink {
                    topic: TopicName::External(topic.clone()),
                };
                Some(add(kind, node.operator, name, parents, make()?))
            }
            LogicalKind::DynamicSink => {
                let kind = NodeKind::DynamicSink;
                Some(add(kind, node.operator, name, parents, make()?))
            }
            LogicalKind::Operator => Some(add(
                NodeKind::Processor,
                node.operator,
                name,
                parents,
                make()?,
            )),
            LogicalKind::GlobalSource { topics } => {
                let topics = topics.iter().cloned().map(TopicName::External).collect();
                let kind = NodeKind::Source { topics };
                let id = add(kind, node.operator, name, parents, make()?);
                parts.globals.push(id);
                Some(id)
            }
            LogicalKind::FeedbackSource { name: topic } => {
                let topic = TopicName::Repartition(topic.clone());
                parts.repartitions.push((topic.clone(), None));
                parts.feedbacks.push(topic.clone());
                let topics = vec![topic];
                let kind = NodeKind::Source { topics };
                Some(add(kind, node.operator, name, parents, make()?))
            }
            LogicalKind::FeedbackSink { name: topic } => {
                let topic = TopicName::Repartition(topic.clone());
                let kind = NodeKind::Sink { topic };
                Some(add(kind, node.operator, name, parents, make()?))
            }
            LogicalKind::Repartition(_) if node.parents.is_empty() => None,
            LogicalKind::Repartition(repartition) => {
                let topic = TopicName::Repartition(repartition.name.clone());
                parts
                    .repartitions
                    .push((topic.clone(), repartition.partitions));
                let sink = NodeKind::Sink {
                    topic: topic.clone(),
                };
                let make = repartition.make_sink.clone();
                add(sink, "repartition_sink", name.clone(), parents, make);
                let source = NodeKind::Source {
                    topics: vec![topic],
                };
                let make = repartition.make_source.clone();
                Some(add(source, "repartition_source", name, Vec::new(), make))
            }
        };
        if let (true, Some(id)) = (node.joins_partitions, outlet) {
            parts.joins.push(id);
        }
        parts.stores.extend(node.stores.iter().cloned());
        outlets.push(outlet);
    }
    parts.typed_stores.extend(graph.opens().iter().cloned());
    for (spec, open) in graph.stores() {
        parts.typed_stores.push((spec.name.clone(), open.clone()));
        parts.stores.push(spec.clone());
    }
    let topology = Topology::new(parts)?;
    check_changelogs(&topology)?;
    Ok(topology)
}

/// Refuses a store whose changelog would be the task changelog of a sub-topology: both are called
/// after names of the user's.
fn check_changelogs(topology: &Topology) -> Result<()> {
    for part in topology.subtopologies() {
        let is_own = |topic: &TopicName| matches!(topic, TopicName::Repartition(_));
        let mut topics = part.sources.iter().chain(&part.sinks);
        let mut nodes = part.nodes.iter().map(|id| &topology.nodes()[id.0]);
        // Clocks of origins and timers make a sub-topology without a store stateful.
        let has_times = topics.any(is_own) || nodes.any(|node| node.calls.timers);
        if part.stores.is_empty() && !has_times {
            continue;
        }
        let clash = |name: &str| name.strip_suffix("-task") == Some(part.name.as_str());
        let mut logged = topology.stores().iter().filter(|store| store.is_logged());
        if let Some(store) = logged.find(|store| clash(&store.name)) {
            return Err(Error::invalid(format!(
                "the changelog of store {:?} and the task changelog of sub-topology {:?} would be one \
                 topic, <application>-{}-changelog; give the store a name that does not end in \"-task\"",
                store.name, part.name, store.name
            )));
        }
    }
    Ok(())
}
