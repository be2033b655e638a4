//! Rewrites of the logical graph. Each is a pure function from graph to graph that uses `Graph::redirect`,
//! `Graph::remove` and `Graph::replace`; `lower()` applies them in order.

mod merged_repartitions;
mod needless_repartitions;
mod old_rows;
mod single_store_self_joins;

pub(super) use merged_repartitions::{merge_repartitions, mergeable, shared_repartitions};
pub(super) use needless_repartitions::take_out_needless_repartitions;
pub(super) use old_rows::send_wanted_old_rows;
pub(super) use single_store_self_joins::keep_self_joins_in_one_store;
