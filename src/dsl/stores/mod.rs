//! Typed stores: how they are declared, and the handles by which processors and tables use them.
//!
//! ```text
//!  declaration     Stores::key_value(...) and its like: a spec, and how to open the handle
//!    key_value  window  session  versioned  lru     the handles
//!      access      rows of one value per key, of the task or global
//!        site      the trait of handles, and what it takes to open one
//! ```

mod access;
mod declaration;
mod key_value;
mod lru;
mod session;
mod site;
mod versioned;
mod window;

pub use access::StoreRows;
pub use declaration::{StoreDeclaration, Stores};
pub use key_value::{KeyValueStore, TimestampedKeyValueStore};
pub use lru::LruStore;
pub use session::{SessionStore, StoreSessions};
pub(in crate::dsl) use site::opens;
pub use site::{StoreSite, TypedStore};
pub use versioned::{VersionedRecord, VersionedStore};
pub use window::{TimestampedWindowStore, TypedWindowStore, WindowStore};
