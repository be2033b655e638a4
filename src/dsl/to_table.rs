//! A stream taken for a table.

use std::rc::Rc;
use std::sync::Arc;

use super::repartition::repartition_node;
use super::{Grouped, Materialized, Stream, Table};
use crate::operator::{NullKeys, OldRows, StoreView, TableSource, ToTable};
use crate::plan::{LogicalKind, LogicalNode};
use crate::state::{StoreKind, StoreSpec};
use crate::task::ViewPort;

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Takes each record for the new row of its key, in a store; a null value deletes the row. Where
    /// the key has changed, records go through the repartition topic of `grouped` first.
    ///
    /// ```
    /// # use marea::codec::{Nullable, Utf8};
    /// # use marea::dsl::{Consumed, Grouped, Materialized, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream("readings", Consumed::with(Utf8, Utf8));
    /// readings
    ///     .to_table(Grouped::with("by-sensor", Utf8, Utf8), Materialized::with("latest", Utf8))
    ///     .to_stream()
    ///     .to("latest-out", Produced::with(Utf8, Nullable(Utf8)));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn to_table(self, grouped: Grouped<K, V>, materialized: Materialized<V>) -> Table<K, V> {
        let Grouped { name, key, value } = grouped;
        let (row, store) = (materialized.value, materialized.name);
        let codecs = (key.clone(), value);
        let node = repartition_node(self.id, name, codecs, NullKeys::Drop, false, None);
        let parent = self.graph.borrow_mut().add(node);
        let mut node = LogicalNode::new("to_table", LogicalKind::Operator, vec![parent]);
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
            let rows = Some(wiring.key_value(&own_store)?);
            let (key, row) = (own_key.clone(), own_row.clone());
            let table = TableSource::new(key, row, rows, asked.are_asked());
            wiring.add_process(id, ToTable::new(table))
        }));
        let id = self.graph.borrow_mut().add(node);
        let view_key = key.clone();
        Table::new(self.graph, id, key)
            .with_old_rows(old_rows)
            .with_view(store.clone(), move |wiring| {
                let rows = wiring.key_value(&store)?;
                let view: ViewPort<K, V> =
                    Rc::new(StoreView::new(view_key.clone(), row.clone(), rows));
                Ok(view)
            })
    }
}
