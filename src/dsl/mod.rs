//! The surface that users type: typed handles over a logical graph.
//!
//! ```
//! use marea::prelude::*;
//!
//! let builder = StreamBuilder::new();
//! builder
//!     .stream::<String, String>("lines")
//!     .flat_map_values(|_, line: String| {
//!         line.split(' ').map(str::to_owned).collect::<Vec<_>>()
//!     })
//!     .group_by(|_, word| word.clone(), "by-word")
//!     .count("words")
//!     .to_stream()
//!     .to("counts");
//! let topology = builder.build()?;
//! assert_eq!(topology.source_topics(), ["lines"]);
//! # Ok::<(), marea::Error>(())
//! ```
//!
//! What does not fit together does not compile:
//!
//! ```compile_fail
//! # use marea::prelude::*;
//! # let builder = StreamBuilder::new();
//! builder
//!     .stream::<String, String>("lines")
//!     .to_with("lengths", Produced::<String, i64>::own()); // the values are text
//! ```
//!
//! A handle is consumed by the method that uses it; clone it to use a stream twice, which needs
//! records that can be cloned. Options are values: what needs a codec or a name takes one.

mod branched;
mod builder;
mod grouped;
mod join;
mod options;
mod repartition;
mod stream;
mod table;
mod windowed;
mod windows;

pub use branched::Split;
pub use builder::StreamBuilder;
pub use grouped::GroupedStream;
pub use options::{
    Consumed, Grouped, Idle, Joined, Materialized, Produced, Repartitioned, StreamJoined,
    Suppressed,
};
pub use stream::Stream;
pub use table::Table;
pub use windowed::WindowedStream;
pub use windows::{JoinWindows, TimeWindows};
