//! The runtime over real logs: work shared, time across repartitions, crashes, drains.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and its clock is the real one"
)]

#[macro_use]
#[path = "../support/forward_to_log.rs"]
mod forward_to_log;
#[path = "../support/committing.rs"]
mod committing;

mod at_least_once;
mod awaited;
mod blind;
mod closing;
mod counting;
mod crash;
mod damage;
mod drains;
mod dynamic;
mod faulty;
mod feedback;
mod foreign;
mod fsync;
mod globals;
mod housekeeping;
mod inputs;
mod joins;
mod limits;
#[path = "../it/looped.rs"]
mod looped;
mod merged;
mod open_files;
mod orders;
mod orphans;
mod orphans_rolling;
mod outage;
mod pipeline;
mod real_readings;
mod queries;
mod renamed;
mod renamed_rows;
mod renaming;
mod restoring;
mod shares;
mod sharing;
mod slow;
mod spacing;
mod spans;
mod time;
mod timers;
mod typed_clients;
mod typed_clients_on_logs;
mod watched;
