//! The runtime over real logs: work shared, time across repartitions, crashes, drains.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and its clock is the real one"
)]

mod crash;
mod faulty;
mod fsync;
mod housekeeping;
mod pipeline;
mod sharing;
