//! One operator a file: what it does, its process, its tests.
//!
//! Operators are generic over the user's closures and types; everything above them is erased
//! (`plan`, `topology`) or typed handles (`dsl`).

mod aggregate;
mod branch;
mod change;
mod filter;
mod flat_map;
mod join_stream_stream;
mod join_stream_table;
mod map;
mod pass;
mod peek;
mod scratch;
mod sink;
mod source;
mod suppress;
mod table_filter;
mod table_map_values;
mod table_source;
mod to_stream;
mod window_aggregate;

pub use aggregate::{Aggregate, Fold, Initial};
pub use branch::{Branch, Predicate};
pub use change::{Change, OldRows};
pub use filter::Filter;
pub use flat_map::FlatMap;
pub use join_stream_stream::{JoinReach, JoinSide};
pub use join_stream_table::{JoinTable, LeftJoinTable};
pub use map::Map;
pub use pass::Pass;
pub use peek::Peek;
pub use sink::{NullKeys, Sink};
pub use source::{Accepts, Extract, Gate, StreamSource};
pub use suppress::{HoldSpec, Suppress};
pub use table_filter::{FilterView, TableFilter};
pub use table_map_values::{MapView, TableMapValues};
pub use table_source::{StoreView, TableSource};
pub use to_stream::ToStream;
pub use window_aggregate::{TimeWindowSpec, WindowAggregate};
