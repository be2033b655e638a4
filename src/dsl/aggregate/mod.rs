//! `group_by`, and `count`, `reduce`, `aggregate` of grouped streams: implemented once, over a trait of groupings.
//!
//! ```text
//!  GroupedStream<K, V, G>  --count | reduce | aggregate-->  Aggregation  --G: Grouping-->  Table<G::Key, A>
//! ```
//!
//! The aggregation itself is the same over all time, in windows and in sessions; a [`Grouping`] knows
//! which rows a record belongs to and builds the operator that keeps them.

mod cogroup;
mod fold;
mod group_by;
mod group_by_table;
mod grouped;
mod grouped_table;
mod on_close;
mod session;
mod sliding;
mod specs;
mod time_window;
mod unlimited;
mod unwindowed;

pub use cogroup::{CogroupWindows, CogroupedStream};
pub use fold::{Aggregation, AllTime, Emit, Grouping, Groups, WithoutMerge};
pub use grouped::{GroupedStream, WindowedStream};
pub use grouped_table::GroupedTable;
pub use on_close::ClosingWindows;

use super::windows::{
    SessionSpec, SessionWindows, SlidingSpec, SlidingWindows, TimeWindowSpec, TimeWindows,
    UnlimitedWindows,
};
