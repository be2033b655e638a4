//! `examples/ocean_aggregates` as a user starts it: as a process, killed, without space, with bad input.
//!
//! The example must be built: `cargo test` does that, `cargo test --test ocean` alone does not.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and its clock is the real one"
)]

mod bad_input;
mod directories;
mod full_disk;
mod kills;
mod mounted;
mod process;
mod readings;
mod replay;
