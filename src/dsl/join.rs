//! Joins of a stream with a stream and with a table.

use std::sync::Arc;

use super::builder::SharedGraph;
use super::repartition::repartition_node;
use super::windows::millis;
use super::{JoinWindows, Joined, Stream, StreamJoined, Table};
use crate::base::Error;
use crate::codec::SharedCodec;
use crate::operator::{JoinReach, JoinSide, JoinTable, LeftJoinTable, NullKeys, Pass};
use crate::plan::{LogicalId, LogicalKind, LogicalNode};
use crate::state::{Medium, StoreKind, StoreSpec, WindowRules};

impl<K: Clone + 'static, V: 'static> Stream<K, V> {
    /// Pairs each record with the records of another stream that have the same key and a timestamp
    /// close to its own. Both must be partitioned alike; where a key has changed, a repartition is
    /// put before the join.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::codec::Utf8;
    /// # use marea::dsl::{Consumed, JoinWindows, Produced, StreamBuilder, StreamJoined};
    /// # let builder = StreamBuilder::new();
    /// # let temperatures = builder.stream("temperatures", Consumed::with(Utf8, Utf8));
    /// # let salinities = builder.stream("salinities", Consumed::with(Utf8, Utf8));
    /// temperatures
    ///     .join(
    ///         salinities,
    ///         |_sensor, temperature, salinity| format!("{temperature}/{salinity}"),
    ///         JoinWindows::of(Duration::from_secs(10)),
    ///         StreamJoined::with("pair", Utf8, Utf8, Utf8),
    ///     )
    ///     .to("pairs", Produced::with(Utf8, Utf8));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn join<W: 'static, R: 'static>(
        self,
        other: Stream<K, W>,
        join: impl Fn(&K, &V, &W) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: StreamJoined<K, V, W>,
    ) -> Stream<K, R> {
        let graph = self.graph;
        let StreamJoined {
            name,
            key,
            left,
            right,
            medium,
            retention,
        } = joined;
        let (reach, least_ms) = windows.reach().unwrap_or_else(|error| {
            graph.borrow_mut().report(error.context(&name));
            (
                JoinReach {
                    before_ms: 0,
                    after_ms: 0,
                },
                0,
            )
        });
        let retention_ms = match retention.map(|given| millis(given, "a retention")) {
            None => least_ms,
            Some(Ok(given_ms)) => given_ms.max(least_ms),
            Some(Err(error)) => {
                graph.borrow_mut().report(error);
                least_ms
            }
        };
        let this_store = format!("{name}-this-join-store");
        let other_store = format!("{name}-other-join-store");
        let stores = JoinStores {
            graph: &graph,
            key: &key,
            medium,
            retention_ms,
        };
        let codecs = (key.clone(), left.clone());
        let node = repartition_node(
            self.id,
            format!("{name}-left"),
            codecs,
            NullKeys::Drop,
            false,
            None,
        );
        let this_parent = graph.borrow_mut().add(node);
        let codecs = (key.clone(), right.clone());
        let node = repartition_node(
            other.id,
            format!("{name}-right"),
            codecs,
            NullKeys::Drop,
            false,
            None,
        );
        let other_parent = graph.borrow_mut().add(node);

        let join = Arc::new(join);
        let swapped = join.clone();
        let this = stores.side(
            "join_this",
            this_parent,
            (this_store.clone(), other_store.clone()),
            reach,
            (left.clone(), right.clone()),
            move |key: &K, value: &V, other: &W| join(key, value, other),
        );
        let back = JoinReach {
            before_ms: reach.after_ms,
            after_ms: reach.before_ms,
        };
        let other = stores.side(
            "join_other",
            other_parent,
            (other_store, this_store),
            back,
            (right, left),
            move |key: &K, value: &W, other: &V| swapped(key, other, value),
        );
        let mut node = LogicalNode::new("join_merge", LogicalKind::Operator, vec![this, other]);
        node.joins_partitions = true;
        node.make = Some(Arc::new(|wiring, id| {
            wiring.add_process(id, Pass::<K, R>::default())
        }));
        let id = graph.borrow_mut().add(node);
        Stream::new(graph, id)
    }
}

/// What both sides of a join share.
struct JoinStores<'a, K> {
    graph: &'a SharedGraph,
    key: &'a SharedCodec<K>,
    medium: Medium,
    retention_ms: i64,
}

impl<K: Clone + 'static> JoinStores<'_, K> {
    fn side<A: 'static, B: 'static, R: 'static>(
        &self,
        operator: &'static str,
        parent: LogicalId,
        (own, other): (String, String),
        reach: JoinReach,
        (value, other_value): (SharedCodec<A>, SharedCodec<B>),
        join: impl Fn(&K, &A, &B) -> R + Send + Sync + 'static,
    ) -> LogicalId {
        let mut node = LogicalNode::new(operator, LogicalKind::Operator, vec![parent]);
        node.stores.push(StoreSpec {
            name: own.clone(),
            kind: StoreKind::Window(WindowRules {
                window_size_ms: reach.before_ms.saturating_add(reach.after_ms),
                retention_ms: self.retention_ms,
                duplicates: true,
            }),
            medium: self.medium,
            timestamped: false,
            logged: true,
            codecs: (self.key.name(), value.name()),
        });
        node.uses_stores = vec![own.clone(), other.clone()];
        let key = self.key.clone();
        let join = Arc::new(join);
        node.make = Some(Arc::new(move |wiring, id| {
            let stores = (wiring.window(&own)?, wiring.window(&other)?);
            let join = join.clone();
            let join = move |key: &K, value: &A, other: &B| join(key, value, other);
            let values = (value.clone(), other_value.clone());
            let bound = wiring.bound_of_stores(&[&own, &other]);
            let process = JoinSide::new(join, reach, stores, key.clone(), values, bound);
            wiring.add_process::<JoinSide<_, K, A, B, R>>(id, process)
        }));
        self.graph.borrow_mut().add(node)
    }
}

impl<K: 'static, V: 'static> Stream<K, V> {
    /// Joins each record with the current row of a table; a record whose key has no row makes no
    /// result. The table must have a store.
    ///
    /// ```
    /// # use marea::codec::Utf8;
    /// # use marea::dsl::{Consumed, Joined, Materialized, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream("readings", Consumed::with(Utf8, Utf8));
    /// # let places = builder.materialized_table("places", Consumed::with(Utf8, Utf8), Materialized::with("places", Utf8));
    /// readings
    ///     .join_table(&places, |_sensor, reading, place| format!("{place}: {reading}"), Joined::with("place", Utf8, Utf8))
    ///     .to("placed", Produced::with(Utf8, Utf8));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn join_table<W: 'static, R: 'static>(
        self,
        table: &Table<K, W>,
        join: impl Fn(&K, V, W) -> R + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> Stream<K, R> {
        let join = Arc::new(join);
        self.table_join(
            "join_table",
            NullKeys::Drop,
            table,
            joined,
            move |wiring, id, parts| {
                let join = join.clone();
                let join = move |key: &K, value: V, row: W| join(key, value, row);
                let (key, value, view) = parts;
                wiring.add_process(id, JoinTable::new(join, key, value, view))
            },
        )
    }

    /// Joins each record with the current row of a table, or with `None` where there is none; a null
    /// key has none. The table must have a store.
    ///
    /// ```
    /// # use marea::codec::Utf8;
    /// # use marea::dsl::{Consumed, Joined, Materialized, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream("readings", Consumed::with(Utf8, Utf8));
    /// # let places = builder.materialized_table("places", Consumed::with(Utf8, Utf8), Materialized::with("places", Utf8));
    /// readings
    ///     .left_join_table(
    ///         &places,
    ///         |_sensor, reading, place| format!("{}: {reading}", place.unwrap_or("at sea".to_owned())),
    ///         Joined::with("place", Utf8, Utf8),
    ///     )
    ///     .to("placed", Produced::with(Utf8, Utf8));
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn left_join_table<W: 'static, R: 'static>(
        self,
        table: &Table<K, W>,
        join: impl Fn(&K, V, Option<W>) -> R + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> Stream<K, R> {
        let join = Arc::new(join);
        self.table_join(
            "left_join_table",
            NullKeys::Keep,
            table,
            joined,
            move |wiring, id, parts| {
                let join = join.clone();
                let join = move |key: &K, value: V, row: Option<W>| join(key, value, row);
                let (key, value, view) = parts;
                wiring.add_process(id, LeftJoinTable::new(join, key, value, view))
            },
        )
    }

    fn table_join<W: 'static, R: 'static>(
        self,
        operator: &'static str,
        null_keys: NullKeys,
        table: &Table<K, W>,
        joined: Joined<K, V>,
        add: impl Fn(
            &mut crate::task::Wiring<'_>,
            crate::task::NodeId,
            (SharedCodec<K>, SharedCodec<V>, crate::task::ViewPort<K, W>),
        ) -> crate::base::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Stream<K, R> {
        let graph = self.graph;
        let Joined { name, key, value } = joined;
        let codecs = (key.clone(), value.clone());
        let node = repartition_node(self.id, name.clone(), codecs, null_keys, false, None);
        let parent = graph.borrow_mut().add(node);
        let mut node = LogicalNode::new(operator, LogicalKind::Operator, vec![parent]);
        node.joins_partitions = true;
        match table.view().cloned() {
            Some((stores, view)) => {
                node.uses_stores.extend(stores);
                node.make = Some(Arc::new(move |wiring, id| {
                    let view = view(wiring)?;
                    add(wiring, id, (key.clone(), value.clone(), view))
                }));
            }
            None => graph.borrow_mut().report(Error::invalid(format!(
                "join {name:?} looks into a table without a store; make the table with `materialized_table`"
            ))),
        }
        let id = graph.borrow_mut().add(node);
        Stream::new(graph, id)
    }
}
