//! Tables: the latest row of each key, as it changes. One operator per file.

mod cached;
pub(in crate::dsl) mod changed_codec;
mod filter;
mod from_stream;
mod global;
pub(in crate::dsl) mod held_bytes;
mod map_values;
mod materialized;
mod source;
mod suppress;
mod to_stream;
mod transform_values;
mod versioned;
mod window_view;

use std::sync::Arc;

pub use global::GlobalTable;
pub(in crate::dsl) use source::{StoreView, TableSource};
pub(in crate::dsl) use suppress::HoldSpec;
pub use suppress::{Suppressed, Suppression, UntilTimeLimit, UntilWindowCloses};
pub(in crate::dsl) use versioned::{VersionedSource, VersionedView};
pub(in crate::dsl) use window_view::{SessionView, WindowView};

use super::Change;
use super::builder::SharedGraph;
use crate::base::{Record, Result};
use crate::codec::SharedCodec;
use crate::plan::LogicalId;
use crate::task::{ViewPort, Wiring};

/// Makes the view of a table within a task.
pub(in crate::dsl) type MakeView<K, V> =
    Arc<dyn Fn(&mut Wiring<'_>) -> Result<ViewPort<K, V>> + Send + Sync>;

/// A table: each record on it is the new row of a key, or its deletion.
///
/// A table with a store can be joined with; the result of mapping or filtering it is a view that computes
/// each row on demand.
pub struct Table<K, V> {
    pub(in crate::dsl) graph: SharedGraph,
    pub(in crate::dsl) id: LogicalId,
    pub(in crate::dsl) key: SharedCodec<K>,
    /// How to look up rows, and the stores behind the view.
    pub(in crate::dsl) view: Option<(Vec<String>, MakeView<K, V>)>,
    pub(in crate::dsl) windows: Option<HoldSpec>,
}

impl<K: Clone + 'static, V: Clone + 'static> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        let copy: fn(&Record<K, Change<V>>) -> Record<K, Change<V>> = Record::clone;
        self.graph.borrow_mut().node_mut(self.id).copier = Some(Arc::new(copy));
        Self {
            graph: self.graph.clone(),
            id: self.id,
            key: self.key.clone(),
            view: self.view.clone(),
            windows: self.windows,
        }
    }
}

impl<K: 'static, V: 'static> Table<K, V> {
    pub(in crate::dsl) fn new(graph: SharedGraph, id: LogicalId, key: SharedCodec<K>) -> Self {
        Self {
            graph,
            id,
            key,
            view: None,
            windows: None,
        }
    }

    pub(in crate::dsl) fn with_view(
        mut self,
        store: String,
        make: impl Fn(&mut Wiring<'_>) -> Result<ViewPort<K, V>> + Send + Sync + 'static,
    ) -> Self {
        self.view = Some((vec![store], Arc::new(make)));
        self
    }

    /// Makes it a table whose rows are known `history_ms` back, if it is versioned.
    pub(in crate::dsl) fn with_history(self, history_ms: Option<i64>) -> Self {
        self.graph.borrow_mut().node_mut(self.id).history_ms = history_ms;
        self
    }

    /// How far back its rows are known, in milliseconds, if it is versioned.
    pub(in crate::dsl) fn history_ms(&self) -> Option<i64> {
        self.graph.borrow().node(self.id).history_ms
    }

    pub(in crate::dsl) fn with_windows(mut self, hold: HoldSpec) -> Self {
        self.windows = Some(hold);
        self
    }

    /// Whether the row before each change can be known.
    pub(in crate::dsl) fn knows_old_rows(&self) -> bool {
        self.graph.borrow().knows_old_rows(self.id)
    }

    pub(in crate::dsl) fn view(&self) -> Option<&(Vec<String>, MakeView<K, V>)> {
        self.view.as_ref()
    }

    /// Names the operator that made this table, for descriptions.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let sensors = builder.table::<String, String>("sensors", "sensors-rows");
    /// sensors.named("sensors").to_stream().to("out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn named(self, name: impl Into<String>) -> Self {
        self.graph.borrow_mut().node_mut(self.id).name = Some(name.into());
        self
    }

    /// The table that an operator without a store makes from this one: `view` computes its rows.
    fn derived<W: 'static>(
        self,
        id: LogicalId,
        view: impl FnOnce(MakeView<K, V>) -> MakeView<K, W>,
    ) -> Table<K, W> {
        let history_ms = self.history_ms();
        self.graph.borrow_mut().node_mut(id).history_ms = history_ms;
        Table {
            graph: self.graph,
            id,
            key: self.key,
            view: self.view.map(|(stores, below)| (stores, view(below))),
            windows: self.windows,
        }
    }
}
