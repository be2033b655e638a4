//! Joins: of two streams, of a stream with a table.

mod stream_stream;
mod stream_table;

pub(in crate::dsl) use stream_stream::JoinReach;
