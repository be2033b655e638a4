//! The API for users: typed handles over a logical graph.
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
//!     .group_by("by-word", |_, word| word.clone())
//!     .count("words")
//!     .to_stream()
//!     .to("counts");
//! let topology = builder.build()?;
//! assert_eq!(topology.source_topics(), ["lines"]);
//! # Ok::<(), marea::Error>(())
//! ```
//!
//! Operators whose types do not fit do not compile:
//!
//! ```compile_fail
//! # use marea::prelude::*;
//! # let builder = StreamBuilder::new();
//! builder
//!     .stream::<String, String>("lines")
//!     .to_with("lengths", Produced::<String, i64>::own()); // the values are text
//! ```
//!
//! A method consumes the handle it is called on; clone the handle to use a stream twice, which requires
//! records that can be cloned. Options are values: a method that needs a codec or a name takes one.

mod aggregate;
mod builder;
mod change;
mod gate;
mod join;
mod operator;
mod operator_time;
mod options;
mod pass;
mod processor;
mod record_metadata;
mod repartition;
mod scratch;
mod sink;
mod source;
mod stores;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod windows;

pub use aggregate::{
    Aggregation, AllTime, ClosingWindows, CogroupWindows, CogroupedStream, Emit, GroupedStream,
    GroupedTable, Grouping, Groups, WindowedStream, WithoutMerge,
};
pub use builder::StreamBuilder;
pub use change::Change;
pub use join::ForeignJoined;
pub use options::{
    Consumed, Grouped, Idle, Joined, Materialized, Produced, Repartitioned, StreamJoined,
};
pub use processor::{
    FixedKeyContext, FixedKeyProcessor, FixedKeyRecord, Processed, Processor, ProcessorContext,
};
pub use record_metadata::RecordMetadata;
pub use stores::{
    KeyValueStore, LruStore, SessionStore, StoreDeclaration, StoreRows, StoreSessions, StoreSite,
    Stores, TimestampedKeyValueStore, TimestampedWindowStore, TypedStore, TypedWindowStore,
    VersionedRecord, VersionedStore, WindowStore,
};
pub use stream::{Split, Stream};
pub use table::{GlobalTable, Suppressed, Suppression, Table, UntilTimeLimit, UntilWindowCloses};
pub use windows::{JoinWindows, SessionWindows, SlidingWindows, TimeWindows, UnlimitedWindows};

pub use crate::plan::Optimizations;
pub use crate::state::{Direction, Put, VersionedPut, WindowRules};
pub use crate::task::Clock;

/// The ends of a graph, for tests that build one by hand. Not part of the stable API.
#[doc(hidden)]
pub mod ends {
    pub use super::sink::{NullKeys, Sink};
    pub use super::source::StreamSource;
}
