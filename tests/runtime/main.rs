//! The runtime over real logs: work shared, time across repartitions, crashes, drains.

mod pipeline;
mod sharing;
