//! The service as a user starts it: a process that is used over loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and its clock is the real one"
)]

mod bad_clients;
mod crash;
mod deploying;
mod http;
mod letters;
mod live;
mod posting;
mod process;
mod sensors;
mod settings;
