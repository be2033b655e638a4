//! Partitioned logs: one trait, several backends, one conformance suite (design decision D2).

mod api;
mod batch;

pub use api::*;
pub use batch::{Batch, BatchBuilder, BatchMark, Cursor, HEADER_LEN, RecordRef};
