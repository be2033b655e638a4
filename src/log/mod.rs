//! Partitioned logs: one trait, several backends, one conformance suite.
//!
//! ```text
//!  api, commit         the interface for the layers above
//!  memory  embedded/  kafka/    the backends;  url picks one. The last two are features: rocksdb, kafka
//!  group/              members, tasks and fencing, for the first two and for custom logs
//!  redacted            what may be shown of an address
//!  turns, signal       the reader of those two, and how it waits
//!  conformance/        what every backend must pass
//! ```

mod api;
mod check;
mod commit;
pub mod conformance;
#[cfg(feature = "rocksdb")]
pub mod embedded;
pub mod group;
#[cfg(feature = "kafka")]
pub mod kafka;
mod memory;
mod redacted;
mod signal;
mod turns;
mod url;

pub use api::*;
pub(crate) use commit::size_of;
pub use commit::{
    Commit, CommitError, CommittedOffset, GroupCommit, MemberToken, Receipt, Staged, Staging,
    Writer,
};
#[cfg(feature = "rocksdb")]
pub use embedded::EmbeddedLog;
#[cfg(feature = "kafka")]
pub use kafka::{KafkaLog, KafkaLogBuilder};
pub use memory::MemoryLog;
pub use url::{OpenOptions, open};

pub use crate::batch::{
    BATCH_BYTES, Batch, BatchBuilder, BatchMark, BatchesBuilder, BatchesMark, Cursor,
    DEFAULT_MAX_RECORD_BYTES, Fetched, HEADER_LEN, RecordRef, Records,
};
pub use crate::disk::Budget;
