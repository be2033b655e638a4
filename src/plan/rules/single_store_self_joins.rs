//! A stream that is joined with itself needs only one store, if the user opts in.
//!
//! ```text
//!            .--> join_this --.
//!  input ----|                |--> join_merge -->    becomes    input --> join_self -->
//!            '--> join_other -'
//! ```
//!
//! The DSL cannot tell whether both sides read the same records: that depends on the repartitions that remain. So it
//! adds the two sides and gives the merging node an alternative (`LogicalNode::of_one_input`).

use crate::plan::{Graph, LogicalId};

/// Replaces nodes that have an alternative of one input, if their parents all read the same node.
pub(in crate::plan) fn keep_self_joins_in_one_store(mut graph: Graph) -> Graph {
    for id in graph.ids() {
        let Some(mut single) = graph.node(id).of_one_input.clone() else {
            continue;
        };
        let sides = graph.node(id).parents.clone();
        let Some(input) = input_of(&graph, &sides) else {
            continue;
        };
        single.parents = vec![input];
        graph.replace(id, *single);
        for side in sides {
            graph.remove(side);
        }
    }
    graph
}

/// The node that all sides read, if it is the same one.
fn input_of(graph: &Graph, sides: &[LogicalId]) -> Option<LogicalId> {
    let mut inputs = sides.iter().flat_map(|side| &graph.node(*side).parents);
    let first = *inputs.next()?;
    inputs.all(|input| *input == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{LogicalKind, LogicalNode};

    /// A join of two of three inputs, and a node behind it.
    fn join(left: usize, right: usize) -> (Graph, LogicalId) {
        let mut graph = Graph::default();
        let node = |operator, parents| LogicalNode::new(operator, LogicalKind::Operator, parents);
        for _ in 0..3 {
            graph.add(node("input", Vec::new()));
        }
        let this = graph.add(node("join_this", vec![LogicalId(left)]));
        let other = graph.add(node("join_other", vec![LogicalId(right)]));
        let mut merge = node("join_merge", vec![this, other]);
        merge.name = Some("pairs".to_owned());
        merge.of_one_input = Some(Box::new(node("join_self", Vec::new())));
        let merge = graph.add(merge);
        let behind = graph.add(node("behind", vec![merge]));
        (keep_self_joins_in_one_store(graph), behind)
    }

    #[test]
    fn both_sides_become_one_node_where_they_read_one() {
        let (graph, behind) = join(1, 1);
        let words: Vec<_> = (graph.ids().into_iter())
            .map(|id| graph.node(id).operator)
            .collect();
        assert_eq!(words, ["input", "input", "input", "join_self", "behind"]);
        let joined = graph.node(graph.node(behind).parents[0]);
        assert_eq!(joined.operator, "join_self");
        assert_eq!(joined.parents, [LogicalId(1)]);
        assert_eq!(joined.name.as_deref(), Some("pairs"), "the user's name");
    }

    #[test]
    fn two_inputs_stay_two_sides() {
        let (graph, behind) = join(1, 2);
        assert_eq!(graph.ids().len(), 7);
        assert_eq!(
            graph.node(graph.node(behind).parents[0]).operator,
            "join_merge"
        );
    }
}
