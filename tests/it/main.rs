//! Tests of topologies through the driver, for what the conformance vectors do not cover.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod builder_errors;
mod closing;
mod combinations;
mod describe;
mod drain;
mod driver;
mod feedback;
mod flushing;
mod hand_made;
mod held_rows;
mod hops;
mod joins_and_tables;
mod looped;
mod origins;
mod optimizations;
mod own_log;
mod policies;
mod processors;
mod read_ahead;
mod state_at_size;
mod table_chains;
mod timers;
mod versioned;
