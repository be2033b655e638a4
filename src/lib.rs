//! marea is a stream-processing library: what Kafka's Streams API is to the JVM.

pub mod base;
pub mod disk;
pub mod codec;
pub mod log;
pub mod state;
pub mod task;
pub mod operator;
pub mod topology;
pub mod plan;
pub mod dsl;
pub mod runtime;
pub mod testing;

pub use base::{Error, ErrorKind, Result};
