//! The monitoring of an application over real sockets: access, answers, and limits.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[macro_use]
#[path = "../support/forward_to_log.rs"]
mod forward_to_log;

mod application;
mod client;
mod counting;
mod openmetrics;
mod promql;
mod silent;

mod changes;
mod dashboard;
mod events;
mod guard;
mod health;
mod instances;
mod kinds;
mod letters;
mod limits;
mod metrics;
mod outage;
mod page;
mod state;
mod stores;
