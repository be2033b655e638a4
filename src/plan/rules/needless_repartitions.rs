//! A repartition is needed only where the key may have changed since the last one.

use crate::plan::{Graph, LogicalId, LogicalKind};

/// Takes out the repartitions that the user did not ask for and whose input keeps its key.
pub(in crate::plan) fn take_out_needless_repartitions(mut graph: Graph) -> Graph {
    let count = graph.nodes().len();
    let mut changed = vec![false; count];
    // Where a node's records now come from: itself, or what stands before a node taken out.
    let mut stands_for: Vec<LogicalId> = (0..count).map(LogicalId).collect();
    for position in 0..count {
        let parents: Vec<_> = graph.nodes()[position]
            .parents
            .iter()
            .map(|parent| stands_for[parent.0])
            .collect();
        let input_changed = parents.iter().any(|parent| changed[parent.0]);
        let node = &mut graph.nodes_mut()[position];
        node.parents = parents;
        changed[position] = match &node.kind {
            LogicalKind::Source { .. }
            | LogicalKind::GlobalSource { .. }
            | LogicalKind::FeedbackSource { .. } => false,
            LogicalKind::Repartition(repartition) if repartition.forced || input_changed => false,
            LogicalKind::Repartition(_) => {
                let (Some(parent), copier) = (node.parents.pop(), node.copier.take()) else {
                    continue;
                };
                stands_for[position] = parent;
                let parent = &mut graph.nodes_mut()[parent.0];
                parent.copier = parent.copier.take().or(copier);
                false
            }
            LogicalKind::Operator
            | LogicalKind::Sink { .. }
            | LogicalKind::DynamicSink
            | LogicalKind::FeedbackSink { .. } => input_changed || node.changes_key,
        };
    }
    graph
}
