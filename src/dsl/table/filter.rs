//! `filter` of a table: rows that do not pass look as if they did not exist.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use super::{MakeView, Table};
use crate::base::{Record, Result};
use crate::dsl::Change;
use crate::dsl::operator::Operator;
use crate::plan::OldRows;
use crate::task::{Context, Edges, Process, View, ViewPort};

impl<K: 'static, V: 'static> Table<K, V> {
    /// Keeps the rows for which `accepts` returns true; for any other row a deletion is sent, since an
    /// earlier version may have passed. The result has no store, as with [`Table::map_values`].
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let sensors = builder.table::<String, String>("sensors", "sensors-rows");
    /// sensors
    ///     .filter(|_sensor, place| place != "dock")
    ///     .to_stream()
    ///     .to("at-sea");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn filter(self, accepts: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        let accepts = Arc::new(accepts);
        let drops_redundant = self.knows_old_rows() && self.history_ms().is_none();
        let own = accepts.clone();
        let operator = Operator::new("table_filter").of([self.id]);
        let operator = operator.old_rows(OldRows::OfParents).wants_old_rows();
        let id = operator.add(&self.graph, move |_, _| {
            Ok(TableFilter {
                accepts: own.clone(),
                drops_redundant,
                types: PhantomData,
            })
        });
        self.derived(id, |below| -> MakeView<K, V> {
            Arc::new(move |wiring| {
                let (accepts, below) = (accepts.clone(), below(wiring)?);
                Ok(Rc::new(FilterView { accepts, below }) as ViewPort<K, V>)
            })
        })
    }

    /// Keeps the rows for which `rejects` returns false: the opposite of [`Table::filter`].
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let sensors = builder.table::<String, String>("sensors", "sensors-rows");
    /// sensors
    ///     .filter_not(|_sensor, place| place == "dock")
    ///     .to_stream()
    ///     .to("at-sea");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn filter_not(self, rejects: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter(move |key, row| !rejects(key, row))
    }
}

/// Forwards the rows that a predicate accepts; for any other row a tombstone is sent, since an earlier
/// version may have passed. If the table below sends old rows, it is known whether it has: a tombstone
/// for a row that did not pass is dropped, unless the table is versioned. Source: `KTableFilter`.
struct TableFilter<F, K, V> {
    accepts: Arc<F>,
    drops_redundant: bool,
    types: PhantomData<fn(K, V)>,
}

impl<F, K, V> Process for TableFilter<F, K, V>
where
    F: Fn(&K, &V) -> bool + 'static,
    K: 'static,
    V: 'static,
{
    type KeyIn = K;
    type ValueIn = Change<V>;
    type KeyOut = K;
    type ValueOut = Change<V>;

    fn process(
        &self,
        record: Record<K, Change<V>>,
        out: &Edges<K, Change<V>>,
        cx: &mut Context,
    ) -> Result<()> {
        let passed = record.map_value(|key, change| Change {
            new: change.new.filter(|row| (self.accepts)(key, row)),
            old: change.old.filter(|row| (self.accepts)(key, row)),
        });
        if self.drops_redundant && passed.value.new.is_none() && passed.value.old.is_none() {
            return Ok(());
        }
        out.push(passed, cx)
    }
}

/// The view of a filtered table: shows the rows below that pass.
struct FilterView<F, K, V> {
    accepts: Arc<F>,
    below: ViewPort<K, V>,
}

impl<F, K, V> View<K, V> for FilterView<F, K, V>
where
    F: Fn(&K, &V) -> bool,
{
    fn get(&self, key: &K, cx: &mut Context) -> Result<Option<(V, i64)>> {
        Ok(self
            .below
            .get(key, cx)?
            .filter(|(row, _)| (self.accepts)(key, row)))
    }

    fn get_at(&self, key: &K, time_ms: i64, cx: &mut Context) -> Result<Option<(V, i64)>> {
        let found = self.below.get_at(key, time_ms, cx)?;
        Ok(found.filter(|(row, _)| (self.accepts)(key, row)))
    }
}
