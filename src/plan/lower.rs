//! Logical graph to topology: every repartition becomes a sink and a source.

use std::collections::HashMap;

use super::rules::{
    keep_self_joins_in_one_store, merge_repartitions, send_wanted_old_rows,
    take_out_needless_repartitions,
};
use super::validate::{check_changelogs, check_merges};
use super::{Graph, LogicalId, LogicalKind, Optimizations};
use crate::base::{Error, Result};
use crate::task::{Make, NodeId, NodeKind, NodeSpec, TopicName};
use crate::topology::{Idle, Topology, TopologyParts};

/// Applies the rules, including those that `optimizations` enables, and makes the topology.
///
/// # Errors
/// The first error that the DSL reported, or what the checks of the plan and of the topology find.
pub fn lower(mut graph: Graph, optimizations: Optimizations) -> Result<Topology> {
    if let Some(error) = graph.take_error() {
        return Err(error);
    }
    let graph = rewrite(graph, optimizations)?;
    let mut parts = TopologyParts::default();
    // The physical node that a logical node's records come from.
    let mut outlets: HashMap<LogicalId, NodeId> = HashMap::new();
    for logical in graph.ids() {
        let node = graph.node(logical);
        let parents: Option<Vec<NodeId>> = node
            .parents
            .iter()
            .map(|parent| outlets.get(parent).copied())
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
                id
            }
            LogicalKind::Sink { topic } => {
                let kind = NodeKind::Sink {
                    topic: TopicName::External(topic.clone()),
                };
                add(kind, node.operator, name, parents, make()?)
            }
            LogicalKind::DynamicSink => {
                let kind = NodeKind::DynamicSink;
                add(kind, node.operator, name, parents, make()?)
            }
            LogicalKind::Operator => {
                let kind = NodeKind::Processor;
                add(kind, node.operator, name, parents, make()?)
            }
            LogicalKind::GlobalSource { topics } => {
                let topics = topics.iter().cloned().map(TopicName::External).collect();
                let kind = NodeKind::Source { topics };
                let id = add(kind, node.operator, name, parents, make()?);
                parts.globals.push(id);
                id
            }
            LogicalKind::FeedbackSource { name: topic } => {
                let topic = TopicName::Repartition(topic.clone());
                parts.repartitions.push((topic.clone(), None));
                parts.feedbacks.push(topic.clone());
                let topics = vec![topic];
                let kind = NodeKind::Source { topics };
                add(kind, node.operator, name, parents, make()?)
            }
            LogicalKind::FeedbackSink { name: topic } => {
                let topic = TopicName::Repartition(topic.clone());
                let kind = NodeKind::Sink { topic };
                add(kind, node.operator, name, parents, make()?)
            }
            LogicalKind::Repartition(repartition) => {
                let topic = TopicName::Repartition(repartition.name.clone());
                parts
                    .repartitions
                    .push((topic.clone(), repartition.partitions));
                let sink = NodeKind::Sink {
                    topic: topic.clone(),
                };
                let make = (repartition.make_sink)(repartition);
                add(sink, "repartition_sink", name.clone(), parents, make);
                let source = NodeKind::Source {
                    topics: vec![topic],
                };
                let make = repartition.make_source.clone();
                add(source, "repartition_source", name, Vec::new(), make)
            }
        };
        if node.joins_partitions {
            parts.joins.push(outlet);
        }
        parts.stores.extend(node.stores.iter().cloned());
        outlets.insert(logical, outlet);
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

/// Applies the rules. Their order matters: whether both sides of a join read the same records depends on the
/// repartitions that remain, and who sends old rows on the nodes that remain.
fn rewrite(graph: Graph, optimizations: Optimizations) -> Result<Graph> {
    let mut graph = take_out_needless_repartitions(graph);
    if optimizations.merges_repartitions() {
        check_merges(&graph)?;
        graph = merge_repartitions(graph);
    }
    if optimizations.keeps_self_joins_in_one_store() {
        graph = keep_self_joins_in_one_store(graph);
    }
    Ok(send_wanted_old_rows(graph))
}
