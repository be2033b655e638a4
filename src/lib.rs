//! marea is a stream-processing library: what Kafka's Streams API is to the JVM.

pub mod base;
pub mod codec;
pub mod disk;
pub mod log;
pub mod state;

pub use base::{Error, ErrorKind, Result};
