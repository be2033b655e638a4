//! Joins: of two streams, of a stream with a table or a global table, of two tables.

mod foreign;
mod grace_buffer;
mod hand;
mod join_windows;
mod joined_row;
mod outer_side;
mod rows;
mod stream_global;
mod stream_outer;
mod stream_self;
mod stream_stream;
mod stream_table;
mod table_table;
mod unmatched;

pub use foreign::ForeignJoined;
