//! Joins: of two streams, of a stream with a table.

mod grace_buffer;
mod outer_side;
mod rows;
mod stream_outer;
mod stream_self;
mod stream_stream;
mod stream_table;
mod table_table;
mod unmatched;

pub(in crate::dsl) use stream_stream::JoinReach;
