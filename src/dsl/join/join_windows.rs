//! How joins of streams interpret their windows: how far a record reaches, and how long its store keeps
//! rows.

use std::time::Duration;

use crate::dsl::JoinWindows;
use crate::dsl::builder::SharedGraph;
use crate::dsl::operator::Operator;
use crate::dsl::pass::Pass;
use crate::dsl::windows::{JoinReach, millis};
use crate::plan::LogicalId;
use crate::state::{StoreKind, WindowRules};

/// The reach of the left side and the minimum retention, in milliseconds; errors in the windows are
/// reported for the join.
pub(super) fn reach_of(graph: &SharedGraph, name: &str, windows: &JoinWindows) -> (JoinReach, i64) {
    windows.reach().unwrap_or_else(|error| {
        graph.borrow_mut().report(error.context(name));
        let nothing = JoinReach {
            before_ms: 0,
            after_ms: 0,
        };
        (nothing, 0)
    })
}

/// The retention that the user chose, or else the minimum, in milliseconds.
pub(super) fn retention_ms(graph: &SharedGraph, least_ms: i64, given: Option<Duration>) -> i64 {
    match given.map(|given| millis(given, "a retention")) {
        None => least_ms,
        Some(Ok(given_ms)) => given_ms.max(least_ms),
        Some(Err(error)) => {
            graph.borrow_mut().report(error);
            least_ms
        }
    }
}

/// The store of a side's records: several may have the same key and timestamp.
pub(super) fn rows_of(reach: JoinReach, retention_ms: i64) -> StoreKind {
    StoreKind::window(WindowRules {
        window_size_ms: reach.before_ms.saturating_add(reach.after_ms),
        retention_ms,
        duplicates: true,
    })
}

/// Merges the results of both sides, which must be co-partitioned.
pub(super) fn merge_sides<K: 'static, R: 'static>(
    graph: &SharedGraph,
    word: &'static str,
    sides: [LogicalId; 2],
) -> LogicalId {
    let merge = Operator::new(word).of(sides).joins_partitions();
    merge.add(graph, |_, _| Ok(Pass::<K, R>::default()))
}
