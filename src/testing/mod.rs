//! Tests of topologies, without a log and without waiting.
//!
//! ```text
//!  input.pipe --> in-memory topics --> the real task --> in-memory topics --> output.read
//!                       ^                    |
//!                       +-- repartition topics, changelogs
//! ```

mod drain;
mod globals;
mod invariance;
mod driver;
mod memory_topics;
mod rows;
pub mod sim;
mod topics;

pub use driver::{Driver, DriverBackend, DriverBuilder};
pub use invariance::{Compare, InputRecord, Invariance};
pub use rows::StoreRow;
pub use sim::Simulation;
pub use topics::{InputTopic, OutputTopic};
