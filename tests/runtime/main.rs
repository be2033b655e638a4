//! The runtime over real logs: work shared, time across repartitions, crashes, drains.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and its clock is the real one"
)]

mod crash;
mod drains;
mod faulty;
mod fsync;
mod housekeeping;
mod inputs;
mod limits;
mod pipeline;
mod sharing;
