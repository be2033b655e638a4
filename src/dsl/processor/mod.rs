//! User-defined processors, for steps that the DSL does not have.
//!
//! ```text
//!  stream --process--> Processor::process --forward--> children, or one of them by name
//!                        |        ^
//!                     stores   timers: Processor::punctuate
//! ```
//!
//! A processor is created for each task, and again after an abort, so data that must survive belongs in a
//! store: [`Stores`] declares one, [`StreamBuilder::add_store`](super::StreamBuilder::add_store) adds it,
//! [`Processed::stores`] connects it, [`ProcessorContext::store`] opens it.

mod access;
mod api;
mod context;
mod entry;
mod fixed_key;
mod lru_store;
mod node;
mod session_store;
mod stores;
mod typed_stores;
mod versioned_store;
mod window_store;

pub use access::StoreRows;
pub use api::{Processed, Processor};
pub use context::{ProcessorContext, RecordMetadata};
pub use fixed_key::{FixedKeyContext, FixedKeyProcessor, FixedKeyRecord};
pub use lru_store::LruStore;
pub use session_store::{SessionStore, StoreSessions};
pub(in crate::dsl) use stores::opens;
pub use stores::{StoreDeclaration, StoreSite, Stores, TypedStore};
pub use typed_stores::{KeyValueStore, TimestampedKeyValueStore};
pub use versioned_store::{VersionedRecord, VersionedStore};
pub use window_store::{TimestampedWindowStore, TypedWindowStore, WindowStore};
