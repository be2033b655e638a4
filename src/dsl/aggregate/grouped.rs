//! Streams grouped by key: `count`, `reduce`, `aggregate`, `windowed_by`.

use std::sync::Arc;

use super::fold::{Aggregation, AllTime, Emit, Grouping, Groups, SharedMerge, Verb, WithoutMerge};
use crate::codec::SharedCodec;
use crate::dsl::builder::SharedGraph;
use crate::dsl::{Materialized, Table, TimeWindows};
use crate::plan::LogicalId;

/// A stream in which the records of each key are together, over all time or in windows.
#[must_use = "a grouped stream does nothing until it is aggregated"]
pub struct GroupedStream<K, V, G = AllTime> {
    pub(super) groups: Groups<K, V>,
    grouping: G,
}

/// A grouped stream in tumbling or hopping windows.
pub type WindowedStream<K, V> = GroupedStream<K, V, TimeWindows>;

impl<K: 'static, V: 'static> GroupedStream<K, V> {
    pub(in crate::dsl) fn new(
        graph: SharedGraph,
        id: LogicalId,
        key: SharedCodec<K>,
        value: SharedCodec<V>,
    ) -> Self {
        let groups = Groups {
            graph,
            id,
            key,
            value,
            emit: Emit::Updates,
        };
        Self {
            groups,
            grouping: AllTime,
        }
    }

    /// Divides time into windows: each key has its own row in each window. [`TimeWindows`] have a fixed
    /// size, [`SlidingWindows`](crate::dsl::SlidingWindows) and
    /// [`SessionWindows`](crate::dsl::SessionWindows) follow the records, and
    /// [`UnlimitedWindows`](crate::dsl::UnlimitedWindows) have a start but no end.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings
    ///     .group_by_key("by-sensor")
    ///     .windowed_by(TimeWindows::of(Duration::from_secs(60)).grace(Duration::from_secs(5)))
    ///     .count("per-minute")
    ///     .to_stream()
    ///     .to("per-minute-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn windowed_by<W: Grouping<K, V>>(self, windows: W) -> GroupedStream<K, V, W> {
        GroupedStream {
            groups: self.groups,
            grouping: windows,
        }
    }
}

impl<K: 'static, V: 'static, G: Grouping<K, V>> GroupedStream<K, V, G> {
    /// Counts the records of each key, per window if there are any. A record with a null key is dropped
    /// and counted as such; so is one with a null value, except in tumbling, hopping and session windows,
    /// where it counts. A record whose window has closed is late: it is dropped and counted.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// let counts = readings
    ///     .group_by_key("by-sensor")
    ///     .count("counts"); // or `Materialized::with("counts", I64).in_memory()`
    /// counts.to_stream().to("counts-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn count(self, store: impl Into<Materialized<i64>>) -> Table<G::Key, i64> {
        self.build(Aggregation {
            verb: Verb::Count,
            initial: Arc::new(|| Some(0)),
            fold: Arc::new(|_, _, row| Some(row.unwrap_or(0) + 1)),
            merge: Some(Arc::new(|_, one, other| Some(one + other))),
            store: store.into(),
        })
    }

    /// Combines the values of each key, two at a time; the first is used as is. `None` (or a null)
    /// deletes the row.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let depths = builder.stream::<String, i64>("depths");
    /// depths
    ///     .group_by_key("by-sensor")
    ///     .reduce(|deepest, metres| metres.max(deepest), "deepest")
    ///     .to_stream()
    ///     .to("deepest-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn reduce<R: Into<Option<V>>>(
        self,
        reduce: impl Fn(V, V) -> R + Send + Sync + 'static,
        store: impl Into<Materialized<V>>,
    ) -> Table<G::Key, V> {
        let reduce = Arc::new(reduce);
        let both = reduce.clone();
        let merge: SharedMerge<K, V> = Arc::new(move |_, one, other| both(one, other).into());
        self.build(Aggregation {
            verb: Verb::Reduce,
            initial: Arc::new(|| None),
            fold: Arc::new(move |_, value, row| match row {
                Some(row) => reduce(row, value).into(),
                None => Some(value),
            }),
            merge: Some(merge),
            store: store.into(),
        })
    }

    pub(super) fn groups(&self) -> &Groups<K, V> {
        &self.groups
    }

    pub(super) fn into_groups(self) -> Groups<K, V> {
        self.groups
    }

    pub(super) fn build<A: 'static>(self, aggregation: Aggregation<K, V, A>) -> Table<G::Key, A> {
        self.grouping.build(self.groups, aggregation)
    }
}

impl<K: 'static, V: 'static, G: Grouping<K, V> + WithoutMerge> GroupedStream<K, V, G> {
    /// Folds the values of each key into a row that starts as `initial`. `None` (or a null) deletes
    /// the row.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings
    ///     .group_by_key("by-sensor")
    ///     .aggregate(|| 0, |_sensor, reading, bytes| bytes + reading.len() as i64, "bytes")
    ///     .to_stream()
    ///     .to("bytes-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn aggregate<A: 'static, R: Into<Option<A>>>(
        self,
        initial: impl Fn() -> A + Send + Sync + 'static,
        aggregate: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
        store: impl Into<Materialized<A>>,
    ) -> Table<G::Key, A> {
        let initial = Arc::new(initial);
        let first = initial.clone();
        self.build(Aggregation {
            verb: Verb::Aggregate,
            initial: Arc::new(move || Some(first())),
            fold: Arc::new(move |key, value, row| {
                aggregate(key, value, row.unwrap_or_else(|| initial())).into()
            }),
            merge: None,
            store: store.into(),
        })
    }
}
