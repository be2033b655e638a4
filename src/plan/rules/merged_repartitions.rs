//! Repartitions of the same records share one topic, if the user opts in.
//!
//! ```text
//!                 .--> repartition a --> count           select_key --> repartition a --> count
//!  select_key ----|                              becomes                      |
//!                 '--> repartition b --> reduce                               '---------> reduce
//! ```
//!
//! The topic has the name of the first one. A `repartition` that the user wrote keeps its own topic. The shared
//! topic passes on records with a null key if one of the merged repartitions does; operators behind it that cannot
//! use them drop them.

use std::collections::HashMap;

use crate::plan::{Graph, LogicalId, LogicalKind, LogicalNode, Repartition};

/// Merges the repartitions that the user did not ask for and that have the same parent.
pub(in crate::plan) fn merge_repartitions(mut graph: Graph) -> Graph {
    for (first, other) in shared_repartitions(&graph) {
        let keeps = mergeable(graph.node(other)).is_some_and(|other| other.keeps_null_keys);
        // Its parent has several children, so that its records can be copied.
        let parent = graph.node(other).parents[0];
        let copier = graph.node(parent).copier.clone();
        graph.redirect(other, first);
        graph.remove(other);
        let node = graph.node_mut(first);
        node.copier = node.copier.take().or(copier);
        if let LogicalKind::Repartition(repartition) = &mut node.kind {
            repartition.keeps_null_keys |= keeps;
        }
    }
    graph
}

/// Pairs of repartitions to be merged: the one that gives the name, and another one.
pub(in crate::plan) fn shared_repartitions(graph: &Graph) -> Vec<(LogicalId, LogicalId)> {
    let mut firsts: HashMap<LogicalId, LogicalId> = HashMap::new();
    let mut shared = Vec::new();
    for id in graph.ids() {
        let node = graph.node(id);
        let (Some(_), [parent]) = (mergeable(node), &node.parents[..]) else {
            continue;
        };
        let first = *firsts.entry(*parent).or_insert(id);
        if first != id {
            shared.push((first, id));
        }
    }
    shared
}

/// The repartition of a node, if it may be merged.
pub(in crate::plan) fn mergeable(node: &LogicalNode) -> Option<&Repartition> {
    match &node.kind {
        LogicalKind::Repartition(repartition) if !repartition.forced => Some(repartition),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn repartition(name: &str, forced: bool, keeps_null_keys: bool) -> LogicalKind {
        LogicalKind::Repartition(Repartition {
            name: name.to_owned(),
            partitions: None,
            forced,
            codecs: ("utf8".to_owned(), "utf8".to_owned()),
            keeps_null_keys,
            make_sink: Arc::new(|_| Arc::new(|_, _| Ok(()))),
            make_source: Arc::new(|_, _| Ok(())),
        })
    }

    /// Adds a repartition and a node behind it, which is returned.
    fn behind(graph: &mut Graph, parent: LogicalId, kind: LogicalKind) -> LogicalId {
        let between = graph.add(LogicalNode::new("repartition", kind, vec![parent]));
        graph.add(LogicalNode::new(
            "node",
            LogicalKind::Operator,
            vec![between],
        ))
    }

    fn names(graph: &Graph) -> Vec<String> {
        let all = graph.ids().into_iter();
        let name = |id| match &graph.node(id).kind {
            LogicalKind::Repartition(repartition) => Some(repartition.name.clone()),
            _ => None,
        };
        all.filter_map(name).collect()
    }

    #[test]
    fn those_of_one_parent_share_the_topic_of_the_first() {
        let mut graph = Graph::default();
        let parent = LogicalNode::new("select_key", LogicalKind::Operator, Vec::new());
        let (one, two) = (graph.add(parent.clone()), graph.add(parent));
        let one_b = behind(&mut graph, one, repartition("b", false, false));
        let two_z = behind(&mut graph, two, repartition("z", false, false));
        let one_a = behind(&mut graph, one, repartition("a", false, true));
        let own = behind(&mut graph, one, repartition("own", true, false));
        let graph = merge_repartitions(graph);
        assert_eq!(names(&graph), ["b", "z", "own"]);
        let parents = |id| graph.node(id).parents.clone();
        assert_eq!(parents(one_a), parents(one_b));
        assert_ne!(parents(one_b), parents(two_z), "other records");
        assert_ne!(parents(one_b), parents(own), "written by the user");
        let keeps = mergeable(graph.node(parents(one_b)[0])).map(|first| first.keeps_null_keys);
        assert_eq!(keeps, Some(true), "one of them uses null keys");
    }
}
