//! The runtime over real logs: work shared, time across repartitions, crashes, drains.

mod crash;
mod faulty;
mod pipeline;
mod sharing;
