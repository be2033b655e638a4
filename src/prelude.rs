//! The names that programs need: `use marea::prelude::*;`.
//!
//! Topologies, windows and options, codecs by type, the test driver, and what is needed to run an
//! application on a log. Codecs as values (`codec::Utf8`, `codec::I64`, ...) are not included: each type
//! has its own.

pub use crate::base::{Header, Headers, Record};
pub use crate::client::{
    Consumer, ConsumerOptions, ConsumerRecord, LogClients, Producer, ProducerOptions,
};
#[cfg(feature = "bincode")]
pub use crate::codec::Bincode;
pub use crate::codec::{
    Codec, Json, Nullable, OwnCodec, SessionWindowedCodec, Windowed, WindowedCodec,
};
pub use crate::dsl::{
    Clock, CogroupedStream, Consumed, Direction, FixedKeyContext, FixedKeyProcessor,
    FixedKeyRecord, ForeignJoined, GlobalTable, Grouped, GroupedStream, GroupedTable, Idle,
    JoinWindows, Joined, KeyValueStore, LruStore, Materialized, Optimizations, Processed,
    Processor, ProcessorContext, Produced, RecordMetadata, Repartitioned, SessionStore,
    SessionWindows, SlidingWindows, Split, Stores, Stream, StreamBuilder, StreamJoined, Suppressed,
    Table, TimeWindows, TimestampedKeyValueStore, TimestampedWindowStore, UnlimitedWindows,
    VersionedRecord, VersionedStore, WindowRules, WindowStore, WindowedStream,
};
pub use crate::log::{Cleanup, Log, TopicSpec};
pub use crate::runtime::{
    Application, ErrorPolicies, Guarantee, Policy, Queries, Settings, StateBackend, StopSignal,
    View,
};
pub use crate::testing::{Driver, InputTopic, OutputTopic};
pub use crate::topology::Topology;
#[cfg(feature = "bincode")]
pub use marea_derive::Bincode;
pub use marea_derive::Json;
