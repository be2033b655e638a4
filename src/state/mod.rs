//! Local state: where each byte lives, and how it commits.
//!
//! ```text
//!  operator --put/get--> store --> overlay (active | committing) --> backend (RocksDB or memory)
//!                          |                                            ^ one batch after a
//!                          +--> changelog records, made at commit       | definite commit
//! ```
//!
//! Writes since the last commit are in an overlay, so a backend holds only committed rows and an abort
//! just discards the overlay. Values are bytes here; `typed` adds codecs.

mod additions;
mod api;
mod backend;
mod checksum;
mod commit;
mod directory;
mod figures;
mod generations;
mod given_up;
mod global_rows;
mod head;
mod index;
mod iter;
mod journal;
mod key_value;
mod kind;
pub mod kinds;
mod marks;
mod memory;
mod meta;
mod overlay;
mod probe;
mod read_ahead;
mod renamed;
#[cfg(feature = "rocksdb")]
mod rocks;
pub mod row;
mod row_limit;
mod session;
mod session_iter;
mod session_key;
mod slice;
mod sorted_rows;
mod spares;
mod store_clock;
mod store_spec;
mod stored;
mod table;
mod task_state;
#[cfg(test)]
mod tests;
mod time_ordered;
mod times;
pub mod typed;
mod versioned;
mod versioned_key;
mod walk;
mod window;
mod window_iter;
mod window_key;

pub use api::*;
pub use backend::{Backend, RowChange, Rows, Scan, Snapshots};
pub use directory::{StateDirectory, TaskDirectory, check_application};
pub use figures::{RowFigures, StoreFigures};
pub use global_rows::{GlobalBackend, GlobalRows};
pub use iter::RowIter;
pub use key_value::KeyValueStore;
pub use kind::{ChangelogKeeps, StoreKind, StoredRow};
pub use marks::Marks;
pub use memory::MemoryBackend;
pub use meta::Identity;
pub use read_ahead::PointReads;
pub(crate) use read_ahead::{ReadAhead, WantedKeys};
pub use renamed::forget_moved;
#[cfg(feature = "rocksdb")]
pub use rocks::RocksBackend;
pub use row::{RowForm, RowParts};
pub use session::SessionStore;
pub use session_iter::{SessionIter, SessionRow};
pub use sorted_rows::SortedRows;
pub use store_spec::{Changelog, StoreSpec};
pub use stored::StoredState;
pub use task_state::TaskState;
pub use time_ordered::TimeOrderedStore;
pub use times::{NamedTimes, StoredTime, TASK_TIME};
pub use versioned::{Version, VersionedPut, VersionedRules, VersionedStore};
pub use window::WindowStore;
pub use window_iter::{WindowIter, WindowRow};
