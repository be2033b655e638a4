//! The logical graph: what the user asked for, erased, before it is cut into tasks.
//!
//! The DSL adds nodes; rules rewrite the graph without knowing types; `lower()` makes a topology.
//!
//! ```text
//!  needless_repartitions     always      a repartition goes whose input still has the key it was partitioned by
//!  merged_repartitions       if wanted   several of the same records share a topic
//!  single_store_self_joins   if wanted   a join whose sides read the same records keeps them once
//!  old_rows                  always      tables send the row before a change where somebody wants it
//! ```
//!
//! A repartition stands wherever one might be needed, with the makers of its two halves. A node that could be another
//! one brings that too, with its maker: the plan chooses, and knows neither.

mod graph;
mod lower;
mod optimizations;
mod rules;
mod validate;

pub use graph::{Graph, LogicalId, LogicalKind, LogicalNode, MakeSink, OldRows, Repartition};
pub use lower::lower;
pub use optimizations::Optimizations;
