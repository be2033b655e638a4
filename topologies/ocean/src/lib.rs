//! The reference topology: turns raw readings of ocean sensors into averages and alerts per ocean.
//!
//! ```text
//!  lines, sensors --> feed --> ocean-readings --> topology --> ocean-averages   final, one a window
//!                                                   |   |  \-> ocean-alerts     out of bounds, silent
//!                                                   |   \----> ocean-dead-letters  what is invalid, with the reason
//!                                                   ocean-sums, oceans-seen: state, with changelogs
//! ```
//!
//! The pipeline is [`topology::build`]; marea's `examples/ocean_aggregates` runs it over files,
//! [`service`] runs it as a service, and [`sensors`] are simulated clients of the service.

pub mod oceans;
pub mod model;
pub mod codec;
pub mod check;
pub mod topology;
pub mod feed;
pub mod lines;
pub mod generate;
pub mod patience;
pub mod results;
pub mod burst;
pub mod service;
pub mod sensors;
