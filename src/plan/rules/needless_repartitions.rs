//! A repartition is needed only where the key may have changed since the last one.

use std::collections::HashSet;

use crate::plan::{Graph, LogicalKind};

/// Removes the repartitions that the user did not ask for and whose input keeps its key.
pub(in crate::plan) fn take_out_needless_repartitions(mut graph: Graph) -> Graph {
    // The nodes whose records may have another key than the one they are partitioned by.
    let mut changed = HashSet::new();
    for id in graph.ids() {
        let node = graph.node(id);
        let input_changed = node.parents.iter().any(|parent| changed.contains(parent));
        let changes = match &node.kind {
            LogicalKind::Source { .. }
            | LogicalKind::GlobalSource { .. }
            | LogicalKind::FeedbackSource { .. } => false,
            LogicalKind::Repartition(repartition) if repartition.forced || input_changed => false,
            LogicalKind::Repartition(_) => {
                if let Some(parent) = node.parents.first().copied() {
                    graph.redirect(id, parent);
                    graph.remove(id);
                }
                false
            }
            LogicalKind::Operator
            | LogicalKind::Sink { .. }
            | LogicalKind::DynamicSink
            | LogicalKind::FeedbackSink { .. } => input_changed || node.changes_key,
        };
        if changes {
            changed.insert(id);
        }
    }
    graph
}
