//! The thin wrapper over RocksDB that the embedded log and the state stores share.
//!
//! No other module names the `rocksdb` crate (`tests/tidy.rs`). What it adds: one memory budget for
//! the process, columns by number, iterators that own their share of the database, errors that say
//! what to do, and a format row that refuses data of a newer version.
//!
//! ```text
//!   Budget ----------- one block cache, one write-buffer limit, shared by every Database
//!   Database --clone-- one open directory; closes when the last clone and the last Iter are gone
//!     Column           number of a column family
//!     WriteBatch       puts and deletes over several columns, all or nothing
//!     Iter             a sorted range as it was when the iterator was made
//! ```

mod batch;
mod budget;
mod database;
mod error;
mod files;
mod format;
mod ingest;
mod iter;
mod many;
mod open;
mod place;
#[cfg(test)]
mod tests;

pub use batch::WriteBatch;
pub use budget::{Budget, Reserved};
pub use database::{Column, Database, Durability};
pub(crate) use error::from_io;
pub use format::{Format, Opened, check_format};
pub use iter::{Iter, Range};
pub(crate) use open::rebuild;
pub use open::{Options, Recovery};
pub(crate) use place::{create_directories, may_be_damaged, sync_directory};
