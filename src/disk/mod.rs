//! The thin wrapper over RocksDB that the embedded log and the state stores share.
//!
//! No other module names the `rocksdb` crate (`tests/tidy.rs`). It adds one memory budget for the
//! process, columns by number, iterators that share ownership of the database, errors that say what to
//! do, and a format row that refuses data of a newer version.
//!
//! Without the feature `rocksdb`, only the budget and the handling of directories remain.
//!
//! ```text
//!   Budget ----------- one block cache, one write-buffer limit, shared by every Database
//!   Database --clone-- one open directory; closes when the last clone and the last Iter are dropped
//!     Column           number of a column family
//!     WriteBatch       puts and deletes over several columns, all or nothing
//!     Iter             a sorted range as it was when the iterator was made
//!     Snapshot         all rows as they were when it was made
//! ```

#[cfg(feature = "rocksdb")]
mod batch;
mod budget;
#[cfg(feature = "rocksdb")]
mod database;
mod error;
#[cfg(feature = "rocksdb")]
mod figures;
#[cfg_attr(
    not(feature = "rocksdb"),
    allow(dead_code, reason = "there are no databases that share files")
)]
mod files;
#[cfg(feature = "rocksdb")]
mod format;
#[cfg(feature = "rocksdb")]
mod ingest;
#[cfg(feature = "rocksdb")]
mod iter;
#[cfg(feature = "rocksdb")]
mod look;
#[cfg(feature = "rocksdb")]
mod many;
#[cfg(feature = "rocksdb")]
mod open;
#[cfg(feature = "rocksdb")]
mod passing;
mod place;
mod shares;
#[cfg(feature = "rocksdb")]
mod snapshot;
#[cfg(test)]
#[cfg(feature = "rocksdb")]
mod tests;

#[cfg(feature = "rocksdb")]
pub use batch::WriteBatch;
pub use budget::{Budget, Reserved};
#[cfg(feature = "rocksdb")]
pub use database::{Column, Database, Durability};
pub(crate) use error::from_io;
#[cfg(feature = "rocksdb")]
pub use figures::Figure;
#[cfg(feature = "rocksdb")]
pub use format::{Format, Opened, check_format};
#[cfg(feature = "rocksdb")]
pub use iter::{Iter, Range};
#[cfg(feature = "rocksdb")]
pub(crate) use look::may_be_damaged;
#[cfg(feature = "rocksdb")]
pub(crate) use open::rebuild;
#[cfg(feature = "rocksdb")]
pub use open::{Options, Recovery};
pub(crate) use place::{DAMAGE_MARK, create_directories, sync_directory};
#[cfg(feature = "rocksdb")]
pub use snapshot::Snapshot;
