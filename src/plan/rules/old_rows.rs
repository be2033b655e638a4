//! Old rows are sent only where an operator needs them, because reading one costs a lookup in the store.
//!
//! An operator declares that it needs them. One that computes its old rows from those of its parents needs theirs
//! in turn, so the need propagates up through filters, mappings, joins and suppressions, to the nodes that keep
//! rows, and ends there.
//!
//! ```text
//!  count ----> suppress_for ----> table_map_values ----> table_group_by
//!  Kept        OfParents, wants   OfParents              wants
//!  sends  <--- sends        <---- sends            <----
//! ```

use std::collections::HashSet;

use crate::plan::{Graph, OldRows};

/// Marks the nodes that send old rows.
pub(in crate::plan) fn send_wanted_old_rows(mut graph: Graph) -> Graph {
    let mut wanted = HashSet::new();
    // Children before their parents.
    for id in graph.ids().into_iter().rev() {
        let is_wanted = wanted.contains(&id);
        let sends = is_wanted && graph.knows_old_rows(id);
        let node = graph.node_mut(id);
        node.sends_old_rows = match node.old_rows {
            OldRows::Kept | OldRows::OfParents => sends,
            OldRows::Absent | OldRows::Unknown => false,
        };
        let passes_on = node.old_rows == OldRows::OfParents && is_wanted;
        if node.wants_old_rows || passes_on {
            wanted.extend(node.parents.iter().copied());
        }
    }
    graph
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{LogicalId, LogicalKind, LogicalNode};

    /// Nodes, given by what they know, what they need and who their parents are; returns which of them send old
    /// rows.
    fn sending(nodes: &[(OldRows, bool, &[usize])]) -> Vec<bool> {
        let mut graph = Graph::default();
        for (old_rows, wants, parents) in nodes {
            let parents = parents.iter().copied().map(LogicalId).collect();
            let mut node = LogicalNode::new("node", LogicalKind::Operator, parents);
            node.old_rows = *old_rows;
            node.wants_old_rows = *wants;
            graph.add(node);
        }
        let graph = send_wanted_old_rows(graph);
        let ids = graph.ids().into_iter();
        ids.map(|id| graph.node(id).sends_old_rows).collect()
    }

    use OldRows::{Absent, Kept, OfParents, Unknown};

    #[test]
    fn a_wish_goes_up_to_who_keeps_rows_and_no_further() {
        let chain = |wants| {
            sending(&[
                (Kept, false, &[]),
                (Kept, false, &[0]),
                (OfParents, false, &[1]),
                (OfParents, false, &[2]),
                (Unknown, wants, &[3]),
            ])
        };
        assert_eq!(chain(true), [false, true, true, true, false]);
        assert_eq!(chain(false), [false; 5], "nobody wants them");
    }

    #[test]
    fn one_that_wants_them_for_itself_does_not_send_them_for_that() {
        let nodes = [
            (Kept, false, &[][..]),
            (OfParents, true, &[0]),
            (Unknown, false, &[1]),
        ];
        assert_eq!(sending(&nodes), [true, false, false]);
    }

    #[test]
    fn both_sides_of_a_join_are_asked_for_what_its_consumer_wants() {
        let join = |left, consumer| {
            sending(&[
                (Kept, false, &[]),
                (Kept, false, &[]),
                (OfParents, left, &[0]),
                (OfParents, false, &[1]),
                (OfParents, false, &[2, 3]),
                (Unknown, consumer, &[4]),
            ])
        };
        assert_eq!(join(false, true), [true, true, true, true, true, false]);
        // As a left join needs.
        assert_eq!(join(true, false), [true, false, false, false, false, false]);
    }

    #[test]
    fn one_of_several_consumers_is_enough() {
        let nodes = [
            (Kept, false, &[][..]),
            (Unknown, false, &[0]),
            (Unknown, true, &[0]),
            (Unknown, false, &[0]),
        ];
        assert_eq!(sending(&nodes), [true, false, false, false]);
    }

    #[test]
    fn what_nobody_knows_is_not_sent() {
        let behind = |first| {
            sending(&[
                (first, false, &[]),
                (OfParents, false, &[0]),
                (Unknown, true, &[1]),
            ])
        };
        assert_eq!(behind(Unknown), [false; 3]);
        // It is known that there are none: so a mapping of them is asked, and says so.
        assert_eq!(behind(Absent), [false, true, false]);
    }
}
