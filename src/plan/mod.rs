//! The logical graph: what the user asked for, type-erased, before it is divided into tasks.
//!
//! The DSL adds nodes; rules rewrite the graph without knowing types; `lower()` makes a topology.
//!
//! ```text
//!  needless_repartitions     always   removes a repartition whose input still has the key it was partitioned by
//!  merged_repartitions       opt-in   lets several repartitions of the same records share a topic
//!  single_store_self_joins   opt-in   keeps the records of a join once if both sides read the same
//!  old_rows                  always   makes tables send the row before a change if an operator needs it
//! ```
//!
//! The DSL puts a repartition wherever one might be needed, with the makers of its two halves. A node may bring an
//! alternative, with a maker of its own; the plan chooses between them without knowing what they make.

mod graph;
mod lower;
mod optimizations;
mod rules;
mod validate;

pub use graph::{Graph, LogicalId, LogicalKind, LogicalNode, MakeSink, OldRows, Repartition};
pub use lower::lower;
pub use optimizations::Optimizations;
