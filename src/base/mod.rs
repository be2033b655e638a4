//! The vocabulary of marea: identities, records, time, errors. No input or output happens here.
//!
//! Everything above this layer uses these types; this layer depends on none of the others.

mod env;
mod error;
mod headers;
mod ids;
mod partition;
mod record;

pub(crate) use env::Chance;
pub use env::{Env, ManualEnv, SystemEnv, Thread};
pub(crate) use error::panic_message;
pub use error::{Error, ErrorKind, Result};
pub use headers::{Header, Headers};
pub(crate) use ids::is_name_char;
pub use ids::{Offset, TaskId, TopicPartition};
pub use partition::{murmur2, partition_for_key};
pub use record::{NO_TIMESTAMP, Record};
