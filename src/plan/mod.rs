//! The logical graph: what the user asked for, erased, before it is cut into tasks.
//!
//! The DSL adds nodes; rules rewrite the graph without knowing types; `lower()` makes a topology.
//! A repartition stands wherever one might be needed, with the makers of its two halves; the rule
//! `needless_repartitions` takes out those whose input still has the key it was partitioned by. Tables keep and read the
//! row before a change only where somebody wants it; the rule `old_rows` says where that is.

mod graph;
mod lower;
mod rules;

pub use graph::{Graph, LogicalId, LogicalKind, LogicalNode, OldRows, Repartition};
pub use lower::lower;
