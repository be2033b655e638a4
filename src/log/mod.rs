//! Partitioned logs: one trait, several backends, one conformance suite (design decision D2).
//!
//! ```text
//!  api, batch          what the layers above see
//!  memory  embedded/   the backends;  url picks one
//!  group/              members, tasks and fencing, for both
//!  turns, signal       the reader of both, and how it waits
//!  conformance/        what every backend must pass
//! ```

mod api;
mod batch;
mod check;
pub mod conformance;
pub mod embedded;
mod group;
mod memory;
mod signal;
mod turns;
mod url;

pub use api::*;
pub use batch::{Batch, BatchBuilder, BatchMark, Cursor, HEADER_LEN, RecordRef};
pub use embedded::EmbeddedLog;
pub use memory::MemoryLog;
pub use url::{OpenOptions, open};
