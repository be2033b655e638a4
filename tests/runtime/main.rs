//! The runtime over real logs: work shared, time across repartitions, crashes, drains.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and its clock is the real one"
)]

mod blind;
mod counting;
mod crash;
mod drains;
mod dynamic;
mod faulty;
mod feedback;
mod fsync;
mod globals;
mod housekeeping;
mod inputs;
mod joins;
mod limits;
#[path = "../it/looped.rs"]
mod looped;
mod open_files;
mod outage;
mod pipeline;
mod real_readings;
mod restoring;
mod sharing;
mod slow;
mod time;
mod timers;
mod watched;
