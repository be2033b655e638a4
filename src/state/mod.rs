//! Local state: where each byte lives, and how it commits (design decisions D4, D5, D6).
//!
//! ```text
//!  operator --put/get--> store --> overlay (active | committing) --> backend (RocksDB or memory)
//!                          |                                            ^ one batch after a
//!                          +--> changelog records, made at commit       | definite commit
//! ```
//!
//! Writes since the last commit live in an overlay, so a backend holds committed rows only and an
//! abort is a matter of forgetting. Values are bytes here; `typed` puts codecs on top.

mod api;

pub use api::*;
