//! One operator a file: what it does, its process, its tests.
//!
//! Operators are generic over the user's closures and types; everything above them is erased
//! (`plan`, `topology`) or typed handles (`dsl`).

mod aggregate;
mod branch;
mod change;
mod changed_codec;
mod cogroup;
mod filter;
mod flat_map;
mod held_bytes;
mod join_stream_outer;
mod join_stream_self;
mod join_stream_stream;
mod join_stream_table;
mod map;
mod pass;
mod peek;
mod scratch;
mod sink;
mod source;
mod suppress;
mod suppress_for;
mod table_aggregate;
mod table_filter;
mod table_group_by;
mod table_join;
mod table_keep;
mod table_map_values;
mod table_source;
mod table_transform_values;
mod to_stream;
mod to_table;
mod unmatched;
mod window_aggregate;
mod window_view;

pub use aggregate::{Aggregate, Fold, Initial};
pub use branch::{Branch, Predicate};
pub use change::{Change, OldRows};
pub use changed_codec::ChangedCodec;
pub use cogroup::CogroupFold;
pub use filter::Filter;
pub use flat_map::FlatMap;
pub use join_stream_outer::{
    Hand, LeftHand, OuterCodecs, OuterJoinSide, OuterReach, OuterStores, OuterTimes, RightHand,
};
pub use join_stream_self::SelfJoin;
pub use join_stream_stream::{JoinReach, JoinSide};
pub use join_stream_table::{JoinTable, LeftJoinTable};
pub use map::Map;
pub use pass::Pass;
pub use peek::Peek;
pub use sink::{NullKeys, Sink};
pub use source::{Accepts, Extract, Gate, StreamSource};
pub use suppress::{HoldSpec, Suppress};
pub use suppress_for::{LimitSpec, SuppressFor, SuppressForStores, SuppressForView};
pub use table_aggregate::{CountRows, FoldRows, ReduceRows, TableAggregate, TableFold};
pub use table_filter::{FilterView, TableFilter};
pub use table_group_by::TableGroupBy;
pub use table_join::{
    InnerRows, JoinRows, JoinView, LeftRows, LeftTable, OuterRows, RightTable, TableJoinKind,
};
pub use table_keep::TableKeep;
pub use table_map_values::{MapView, TableMapValues};
pub use table_source::{StoreView, TableSource};
pub use table_transform_values::{TableTransformValues, TransformView};
pub use to_stream::ToStream;
pub use to_table::ToTable;
pub use window_aggregate::{TimeWindowSpec, WindowAggregate};
pub use window_view::WindowView;
