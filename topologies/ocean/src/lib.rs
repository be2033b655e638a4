//! The reference topology: raw readings of ocean sensors to averages and alerts per ocean.
//!
//! ```text
//!  lines, sensors --> feed --> ocean-readings --> topology --> ocean-averages   final, one a window
//!                                                   |   |  \-> ocean-alerts     out of bounds, silent
//!                                                   |   \----> ocean-dead-letters  with the reason
//!                                                   ocean-sums, oceans-seen: state, with changelogs
//! ```
//!
//! The pipeline is [`topology::build`]; `examples/ocean_aggregates` of marea runs it over files, [`service`] as a
//! service, whose simulated clients are [`sensors`].

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
