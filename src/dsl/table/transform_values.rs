//! `transform_values`: a computation over each row of a table, including deletions.

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
    /// Makes another row from each, and may make one from a deletion too: `transform` is then called with
    /// `None`. If it returns `None`, the row is deleted. The result has no store, as with
    /// [`Table::map_values`].
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let sensors = builder.table::<String, String>("sensors", "sensors-rows");
    /// sensors
    ///     .transform_values(|sensor, place| Some(format!("{sensor}: {}", place.unwrap_or("lost".to_owned()))))
    ///     .to_stream()
    ///     .to("places");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn transform_values<W: 'static>(
        self,
        transform: impl Fn(&K, Option<V>) -> Option<W> + Send + Sync + 'static,
    ) -> Table<K, W> {
        let transform = Arc::new(transform);
        let own = transform.clone();
        let operator = Operator::new("table_transform_values").of([self.id]);
        let operator = operator.old_rows(OldRows::OfParents);
        let id = operator.add(&self.graph, move |wiring, id| {
            Ok(TableTransformValues::<_, K, V, W>::new(
                own.clone(),
                wiring.sends_old_rows(id),
            ))
        });
        self.derived(id, |below| -> MakeView<K, W> {
            Arc::new(move |wiring| {
                let view = TransformView::new(transform.clone(), below(wiring)?);
                Ok(Rc::new(view) as ViewPort<K, W>)
            })
        })
    }
}

/// Transforms the rows of a table; unlike a mapping it is also called for a deletion, from which it may
/// make a row. If old rows are needed, it is called for these as well. Source: `KTableTransformValues`.
struct TableTransformValues<F, K, V, W> {
    transform: Arc<F>,
    sends_old: bool,
    types: PhantomData<fn(K, V) -> W>,
}

impl<F, K, V, W> TableTransformValues<F, K, V, W> {
    /// Applies `transform` to each row; `sends_old` if old rows are needed.
    pub fn new(transform: Arc<F>, sends_old: bool) -> Self {
        Self {
            transform,
            sends_old,
            types: PhantomData,
        }
    }
}

impl<F, K, V, W> Process for TableTransformValues<F, K, V, W>
where
    F: Fn(&K, Option<V>) -> Option<W> + 'static,
    K: 'static,
    V: 'static,
    W: 'static,
{
    type KeyIn = K;
    type ValueIn = Change<V>;
    type KeyOut = K;
    type ValueOut = Change<W>;

    fn process(
        &self,
        record: Record<K, Change<V>>,
        out: &Edges<K, Change<W>>,
        cx: &mut Context,
    ) -> Result<()> {
        let transformed = record.map_value(|key, change| {
            let new = (self.transform)(key, change.new);
            let old = match self.sends_old {
                true => (self.transform)(key, change.old),
                false => None,
            };
            Change { new, old }
        });
        out.push(transformed, cx)
    }
}

/// The view of a transformed table: transforms what the table below has, including missing rows.
struct TransformView<F, K, V> {
    transform: Arc<F>,
    below: ViewPort<K, V>,
}

impl<F, K, V> TransformView<F, K, V> {
    /// A view over `below`.
    pub fn new(transform: Arc<F>, below: ViewPort<K, V>) -> Self {
        Self { transform, below }
    }
}

impl<F, K, V> TransformView<F, K, V> {
    fn transform<W>(&self, key: &K, found: Option<(V, i64)>) -> Option<(W, i64)>
    where
        F: Fn(&K, Option<V>) -> Option<W>,
    {
        let (row, timestamp_ms) = match found {
            Some((row, timestamp_ms)) => (Some(row), timestamp_ms),
            None => (None, crate::base::NO_TIMESTAMP),
        };
        (self.transform)(key, row).map(|row| (row, timestamp_ms))
    }
}

impl<F, K, V, W> View<K, W> for TransformView<F, K, V>
where
    F: Fn(&K, Option<V>) -> Option<W>,
{
    fn get(&self, key: &K, cx: &mut Context) -> Result<Option<(W, i64)>> {
        let found = self.below.get(key, cx)?;
        Ok(self.transform(key, found))
    }

    fn get_at(&self, key: &K, time_ms: i64, cx: &mut Context) -> Result<Option<(W, i64)>> {
        let found = self.below.get_at(key, time_ms, cx)?;
        Ok(self.transform(key, found))
    }
}
