//! Sliding windows and sessions in milliseconds: how long their store keeps rows, and the type of their
//! table.
//!
//! Both ends of such a window are timestamps of records, so it is open a millisecond longer than a window
//! with an exclusive end.

use std::sync::Arc;

use super::fold::Emit;
use super::time_window::{retention_ms, windowed_table};
use super::{SessionSpec, SessionWindows, SlidingSpec, SlidingWindows};
use crate::codec::{SessionWindowedCodec, SharedCodec, Windowed};
use crate::dsl::builder::SharedGraph;
use crate::dsl::table::{HoldSpec, SessionView};
use crate::dsl::{Materialized, Table};
use crate::plan::LogicalId;
use crate::state::{RowForm, SessionRules, StoreKind, StoreSpec, WindowRules};

/// The windows in milliseconds; errors in them are reported for the store.
pub(super) fn sliding_spec(
    graph: &SharedGraph,
    windows: SlidingWindows,
    store: &str,
) -> SlidingSpec {
    windows.spec().unwrap_or_else(|error| {
        graph.borrow_mut().report(error.context(store));
        SlidingSpec {
            difference_ms: 1,
            grace_ms: 0,
        }
    })
}

impl SlidingSpec {
    /// How far behind the current time the start of a window is that has just closed.
    pub(super) fn span_ms(&self) -> i64 {
        let last_ms = self.difference_ms.saturating_add(self.grace_ms);
        last_ms.saturating_add(1)
    }

    /// The store of the rows.
    pub(super) fn store_spec<K: 'static, A: 'static>(
        &self,
        graph: &SharedGraph,
        store: &Materialized<A>,
        key: &SharedCodec<K>,
        emit: Emit,
    ) -> StoreSpec {
        let least_ms = self.difference_ms.saturating_mul(2);
        let least_ms = least_ms.saturating_add(self.grace_ms);
        let rules = WindowRules {
            window_size_ms: self.difference_ms,
            retention_ms: retention_ms(graph, (least_ms, 1), store, emit),
            duplicates: false,
        };
        store.spec(StoreKind::window(rules), key)
    }

    /// The table of the rows.
    pub(super) fn table<K: 'static, A: 'static>(
        &self,
        graph: SharedGraph,
        id: LogicalId,
        key: SharedCodec<K>,
        store: Materialized<A>,
        emit: Emit,
    ) -> Table<Windowed<K>, A> {
        let hold = HoldSpec::of_inclusive(self.difference_ms, self.grace_ms, &store);
        windowed_table(graph, id, key, store, hold, emit)
    }
}

/// The sessions in milliseconds; errors in them are reported for the store.
pub(super) fn session_spec(
    graph: &SharedGraph,
    sessions: SessionWindows,
    store: &str,
) -> SessionSpec {
    sessions.spec().unwrap_or_else(|error| {
        graph.borrow_mut().report(error.context(store));
        SessionSpec {
            gap_ms: 1,
            grace_ms: 0,
        }
    })
}

impl SessionSpec {
    /// How long after its end a session is open.
    pub(super) fn open_ms(&self) -> i64 {
        self.gap_ms.saturating_add(self.grace_ms)
    }

    /// How far behind the current time the end of a session is that has just closed.
    pub(super) fn span_ms(&self) -> i64 {
        self.open_ms().saturating_add(1)
    }

    /// The store of the rows.
    pub(super) fn store_spec<K: 'static, A: 'static>(
        &self,
        graph: &SharedGraph,
        store: &Materialized<A>,
        key: &SharedCodec<K>,
    ) -> StoreSpec {
        let rules = SessionRules {
            retention_ms: retention_ms(graph, (self.open_ms(), 1), store, Emit::Updates),
        };
        StoreSpec {
            row: RowForm::Plain,
            ..store.spec(StoreKind::session(rules), key)
        }
    }

    /// The table of the rows.
    pub(super) fn table<K: 'static, A: 'static>(
        &self,
        graph: SharedGraph,
        id: LogicalId,
        key: SharedCodec<K>,
        store: Materialized<A>,
        emit: Emit,
    ) -> Table<Windowed<K>, A> {
        // A row is as old as the end of its session.
        let hold = HoldSpec::of_inclusive(0, self.open_ms(), &store);
        let Materialized {
            name, value: row, ..
        } = store;
        let view = SessionView::make(key.clone(), row.clone(), name.clone());
        let table = Table::new(graph, id, Arc::new(SessionWindowedCodec(key)))
            .with_windows(hold)
            .with_view(name.clone(), view);
        match emit {
            Emit::Updates => table.cached_if(store.cached, &name, row),
            // Each row is sent once: there is nothing to merge.
            Emit::OnClose => table,
        }
    }
}
