//! Tests of topologies through the driver, for what the conformance vectors do not show.

mod builder_errors;
mod describe;

mod drain;
mod driver;
mod origins;
mod policies;
