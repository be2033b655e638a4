//! The surface that users type: typed handles over a logical graph.
//!
//! ```
//! use marea::dsl::{Consumed, Grouped, Produced, StreamBuilder};
//! use marea::codec::{I64, Nullable, Utf8};
//!
//! let builder = StreamBuilder::new();
//! builder
//!     .stream("lines", Consumed::with(Utf8, Utf8))
//!     .flat_map_values(|_, line: String| {
//!         line.split(' ').map(str::to_owned).collect::<Vec<_>>()
//!     })
//!     .group_by(|_, word| word.clone(), Grouped::with("by-word", Utf8, Utf8))
//!     .count("words")
//!     .to_stream()
//!     .to("counts", Produced::with(Utf8, Nullable(I64)));
//! let topology = builder.build()?;
//! assert_eq!(topology.source_topics(), ["lines"]);
//! # Ok::<(), marea::Error>(())
//! ```
//!
//! What does not fit together does not compile:
//!
//! ```compile_fail
//! # use marea::dsl::{Consumed, Produced, StreamBuilder};
//! # use marea::codec::{I64, Utf8};
//! # let builder = StreamBuilder::new();
//! builder
//!     .stream("lines", Consumed::with(Utf8, Utf8))
//!     .to("lengths", Produced::with(Utf8, I64)); // the values are text
//! ```
//!
//! A handle is consumed by the method that uses it; clone it to use a stream twice, which needs
//! records that can be cloned. Options are values: what needs a codec or a name takes one.

mod branched;
mod builder;
mod grouped;
mod join;
mod options;
mod processor;
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
pub use processor::{
    FixedKeyContext, FixedKeyProcessor, FixedKeyRecord, KeyValueStore, Processed, Processor,
    ProcessorContext, RecordMetadata, StoreDeclaration, StoreRows, Stores,
    TimestampedKeyValueStore, TypedStore, WindowStore,
};
pub use stream::Stream;
pub use table::Table;
pub use windowed::WindowedStream;
pub use windows::{JoinWindows, TimeWindows};

pub use crate::task::Clock;
