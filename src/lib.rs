//! marea is a stream-processing library: what Kafka's Streams API is to the JVM.

pub mod base;
pub mod codec;
pub mod disk;
pub mod dsl;
pub mod log;
pub mod operator;
pub mod plan;
pub mod state;
pub mod task;
pub mod testing;
pub mod topology;

pub use base::{Error, ErrorKind, Result};
