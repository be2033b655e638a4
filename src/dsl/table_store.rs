//! What a table can be besides mapped and filtered: kept in a store, transformed, looked through.

use std::rc::Rc;
use std::sync::Arc;

use super::table::MakeView;
use super::{Materialized, Table};
use crate::operator::{OldRows, StoreView, TableKeep, TableTransformValues, TransformView};
use crate::plan::{LogicalKind, LogicalNode};
use crate::state::{StoreKind, StoreSpec};
use crate::task::ViewPort;

impl<K: 'static, V: 'static> Table<K, V> {
    /// Keeps the rows in a store of their own: what is mapped, filtered or joined is then computed once,
    /// when it changes, and not each time that somebody looks.
    ///
    /// ```
    /// # use marea::codec::{Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Materialized, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let sensors = builder.table("sensors", Consumed::with(Utf8, Utf8));
    /// sensors
    ///     .filter(|_sensor, place| place != "dock")
    ///     .materialized(Materialized::with("at-sea", Utf8))
    ///     .to_stream()
    ///     .to("at-sea-out", Produced::with(Utf8, Nullable(Utf8)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn materialized(self, materialized: Materialized<V>) -> Self {
        let (key, row, store) = (self.key.clone(), materialized.value, materialized.name);
        let mut node = LogicalNode::new("table_store", LogicalKind::Operator, vec![self.id]);
        node.stores.push(StoreSpec {
            name: store.clone(),
            kind: StoreKind::KeyValue,
            medium: materialized.medium,
            timestamped: true,
            logged: materialized.logged,
            codecs: (key.name(), row.name()),
        });
        node.uses_stores.push(store.clone());
        let old_rows = OldRows::default();
        let asked = old_rows.clone();
        let (own_key, own_row, own_store) = (key.clone(), row.clone(), store.clone());
        node.make = Some(Arc::new(move |wiring, id| {
            let rows = wiring.key_value(&own_store)?;
            let process = TableKeep::new(own_key.clone(), own_row.clone(), rows, &asked);
            wiring.add_process(id, process)
        }));
        let id = self.graph.borrow_mut().add(node);
        let mut table = Table::new(self.graph, id, self.key)
            .with_old_rows(old_rows)
            .with_view(store.clone(), move |wiring| {
                let rows = wiring.key_value(&store)?;
                let view: ViewPort<K, V> = Rc::new(StoreView::new(key.clone(), row.clone(), rows));
                Ok(view)
            });
        table.windows = self.windows;
        table
    }

    /// Keeps the rows for which `rejects` does not hold: [`Table::filter`] the other way round.
    ///
    /// ```
    /// # use marea::codec::{Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let sensors = builder.table("sensors", Consumed::with(Utf8, Utf8));
    /// sensors
    ///     .filter_not(|_sensor, place| place == "dock")
    ///     .to_stream()
    ///     .to("at-sea", Produced::with(Utf8, Nullable(Utf8)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn filter_not(self, rejects: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter(move |key, row| !rejects(key, row))
    }

    /// Makes another row of each, and may make one of a deletion too: `transform` is called with `None`
    /// there. `None` deletes the row. The result has no store, as with [`Table::map_values`].
    ///
    /// ```
    /// # use marea::codec::{Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let sensors = builder.table("sensors", Consumed::with(Utf8, Utf8));
    /// sensors
    ///     .transform_values(|sensor, place| Some(format!("{sensor}: {}", place.unwrap_or("lost".to_owned()))))
    ///     .to_stream()
    ///     .to("places", Produced::with(Utf8, Nullable(Utf8)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn transform_values<W: 'static>(
        self,
        transform: impl Fn(&K, Option<V>) -> Option<W> + Send + Sync + 'static,
    ) -> Table<K, W> {
        let transform = Arc::new(transform);
        let operator = "table_transform_values";
        let mut node = LogicalNode::new(operator, LogicalKind::Operator, vec![self.id]);
        // Its old rows are those below, transformed.
        let old_rows = self.old_rows.map(|below| OldRows::made_of(vec![below]));
        let asked = old_rows.clone();
        let own = transform.clone();
        node.make = Some(Arc::new(move |wiring, id| {
            let sends_old = asked.as_ref().is_some_and(OldRows::are_asked);
            let process = TableTransformValues::new(own.clone(), sends_old);
            wiring.add_process::<TableTransformValues<_, K, V, W>>(id, process)
        }));
        let id = self.graph.borrow_mut().add(node);
        let view = self.view.map(|(stores, below)| {
            let make: MakeView<K, W> = Arc::new(move |wiring| {
                let view = TransformView::new(transform.clone(), below(wiring)?);
                Ok(Rc::new(view) as ViewPort<K, W>)
            });
            (stores, make)
        });
        Table {
            graph: self.graph,
            id,
            key: self.key,
            view,
            old_rows,
            windows: self.windows,
        }
    }
}
