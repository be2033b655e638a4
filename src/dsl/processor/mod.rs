//! User-defined processors, for steps that the DSL does not have.
//!
//! ```text
//!  stream --process--> Processor::process --forward--> children, or one of them by name
//!                        |        ^
//!                     stores   timers: Processor::punctuate
//! ```
//!
//! A processor is created for each task, and again after an abort, so data that must survive belongs in a
//! store: [`Stores`](super::Stores) declares one,
//! [`StreamBuilder::add_store`](super::StreamBuilder::add_store) adds it, [`Processed::stores`] connects it,
//! [`ProcessorContext::store`] opens it.

mod api;
mod context;
mod entry;
mod fixed_key;
mod node;

pub use api::{Processed, Processor};
pub use context::ProcessorContext;
pub use fixed_key::{FixedKeyContext, FixedKeyProcessor, FixedKeyRecord};
