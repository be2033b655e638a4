//! Rewrites of the logical graph. Each is a pure function from graph to graph.

mod needless_repartitions;
mod old_rows;

pub(super) use needless_repartitions::take_out_needless_repartitions;
pub(super) use old_rows::send_wanted_old_rows;
