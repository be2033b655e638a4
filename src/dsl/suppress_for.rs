//! Tables whose rows are held back for a time.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Table;
use super::table::MakeView;
use super::windows::millis;
use crate::codec::{Codec, SharedCodec};
use crate::operator::{LimitSpec, OldRows, SuppressFor, SuppressForStores, SuppressForView};
use crate::plan::{LogicalKind, LogicalNode};
use crate::state::{Medium, StoreKind, StoreSpec};
use crate::task::ViewPort;

/// How long the rows of a table are held back, and where.
pub struct SuppressedFor<V> {
    name: String,
    row: SharedCodec<V>,
    limit: Duration,
    max_rows: Option<u64>,
}

impl<V> SuppressedFor<V> {
    /// Holds each row until time has passed the update that opened its wait by `limit`. Held rows are in
    /// the stores `<name>-store` and `<name>-early-store`.
    pub fn time_limit(name: impl Into<String>, row: impl Codec<V>, limit: Duration) -> Self {
        Self {
            name: name.into(),
            row: Arc::new(row),
            limit,
            max_rows: None,
        }
    }

    /// Holds at most so many rows: where there would be more, the one that has waited longest goes early.
    #[must_use]
    pub fn max_rows(mut self, max_rows: u64) -> Self {
        self.max_rows = Some(max_rows);
        self
    }
}

impl<K: 'static, V: 'static> Table<K, V> {
    /// Holds each row back for a time and lets only its last state go, deletions included: fewer updates
    /// for those behind. An update of a row that is held does not make it wait longer.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::codec::{I64, Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Grouped, Produced, StreamBuilder, SuppressedFor};
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream("readings", Consumed::with(Utf8, Utf8));
    /// readings
    ///     .group_by_key(Grouped::with("by-sensor", Utf8, Utf8))
    ///     .count("counts")
    ///     .suppress_for(SuppressedFor::time_limit("calm", I64, Duration::from_secs(10)))
    ///     .to_stream()
    ///     .to("counts-out", Produced::with(Utf8, Nullable(I64)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn suppress_for(self, suppressed: SuppressedFor<V>) -> Self {
        let graph = self.graph;
        let (name, row) = (suppressed.name, suppressed.row);
        let limit_ms = millis(suppressed.limit, "a suppression's limit").unwrap_or_else(|error| {
            graph.borrow_mut().report(error.context(&name));
            0
        });
        let limit = LimitSpec {
            limit_ms,
            max_rows: suppressed.max_rows,
        };
        // What was there before a row was held is what the table shows meanwhile.
        self.old_rows.iter().for_each(OldRows::ask);
        let (store, early) = (format!("{name}-store"), format!("{name}-early-store"));
        let mut node = LogicalNode::new("suppress_for", LogicalKind::Operator, vec![self.id]);
        node.name = Some(name);
        // A row is said to be held from its arrival on, and comes out as old as it is.
        node.holds_back_ms = Some(0);
        for (store, row) in [(&store, row.name()), (&early, "none".to_owned())] {
            node.stores.push(StoreSpec {
                name: store.clone(),
                kind: StoreKind::KeyValue,
                medium: Medium::Persistent,
                timestamped: false,
                logged: true,
                codecs: (self.key.name(), row),
            });
            node.uses_stores.push(store.clone());
        }
        let codecs = (self.key.clone(), row);
        let (own_codecs, own_store) = (codecs.clone(), store.clone());
        node.make = Some(Arc::new(move |wiring, id| {
            let store = &own_store;
            let stores = SuppressForStores {
                name: store.as_str().into(),
                rows: wiring.key_value(store)?,
                early: wiring.key_value(&early)?,
                observed: wiring.time(&format!("operator/{store}")),
                count: wiring.time(&format!("operator/{store}/count")),
            };
            let bound = (wiring.bound(id), wiring.hold(id)?);
            let process = SuppressFor::new(limit, own_codecs.clone(), stores, bound);
            wiring.add_process::<SuppressFor<K, V>>(id, process)
        }));
        let id = graph.borrow_mut().add(node);
        let view = self.view.map(|(mut stores, below)| {
            stores.push(store.clone());
            let make: MakeView<K, V> = Arc::new(move |wiring| {
                let below = below(wiring)?;
                let rows = wiring.key_value(&store)?;
                let view = SuppressForView::new(codecs.clone(), rows, below);
                Ok(Rc::new(view) as ViewPort<K, V>)
            });
            (stores, make)
        });
        Self {
            graph,
            id,
            key: self.key,
            view,
            old_rows: self.old_rows.map(|below| OldRows::made_of(vec![below])),
            windows: self.windows,
        }
    }
}
