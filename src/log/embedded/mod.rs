//! The embedded log: durable, in this process, without a broker.
//!
//! ```text
//!  writer --submit--> queue --> committer: merges what waits into ONE WriteBatch, one fsync
//!    ^                             |  checks fencing, assigns offsets, writes, publishes, answers
//!    +---- receipt ----------------+
//!  reader <-- tail (recent batches, in memory) or RocksDB
//!  housekeeping: retention, compaction         (committer, housekeeping: threads of EmbeddedLog)
//! ```
//!
//! # Locks
//! Taken in this order: a partition's `compacting` (only one compaction of it at a time) and `cleaning`
//! (its stored content changes only at its end), `writing` (one change of the disk's content at a time:
//! commits, purges, topics), then `topics`, `groups`, `published`, a partition's own state. The first
//! three are held during disk operations; readers take none of them, and commits only `writing`, which
//! purges and compactions hold for one small write at a time.
//!
//! # Why a commit is atomic for readers
//! The batches, the offsets and each partition's end are one RocksDB write. Readers see a batch only
//! below the published end, and all ends of a commit are published under one lock.
//!
//! # Why a zombie cannot slip in between
//! Fencing is checked under `writing`, and [`crate::log::Log::committed`] takes `writing` too: a commit
//! that passed the check before a member was replaced is on disk when its successor asks where to start.

mod committer;
mod compaction;
mod format;
mod housekeeping;
mod log;
mod opening;
mod partition;
mod point;
mod purge;
mod queue;
mod reader;
mod repair;
mod settings;
mod shared;
#[cfg(test)]
mod tests;
mod topics;
mod work_copy;
mod writer;

pub use log::{EmbeddedLog, Stats};
pub use repair::{LostRecords, MovedBack, Repair};
pub use settings::{Fsync, Settings};
