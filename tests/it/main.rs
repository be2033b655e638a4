//! Tests of topologies through the driver, for what the conformance vectors do not show.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod builder_errors;
mod describe;
mod drain;
mod driver;
mod held_rows;
mod hops;
mod origins;
mod own_log;
mod policies;
mod read_ahead;
mod state_at_size;
