//! The runtime over real logs: work shared, time across repartitions, crashes, drains.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test or a bench fails by panicking"
)]

mod pipeline;
mod sharing;
