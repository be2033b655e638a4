//! `left_join` and `outer_join` of two streams: the methods, and the nodes they create.

use std::sync::Arc;

use super::hand::{Hand, LeftHand, RightHand};
use super::join_windows::{merge_sides, reach_of, retention_ms, rows_of};
use super::outer_side::{OuterCodecs, OuterJoinSide, OuterReach, OuterStores, OuterTimes};
use super::rows::{JoinKind, JoinRows, LeftRows, OuterRows};
use crate::codec::SharedCodec;
use crate::dsl::builder::SharedGraph;
use crate::dsl::operator::Operator;
use crate::dsl::operator_time::OperatorTime;
use crate::dsl::repartition::repartition;
use crate::dsl::sink::NullKeys;
use crate::dsl::{JoinWindows, Stream, StreamJoined};
use crate::plan::LogicalId;
use crate::state::{StoreKind, StoreSpec, StoreType};

impl<K: Clone + 'static, V: 'static> Stream<K, V> {
    /// As [`Stream::join`]; a record of this stream without a partner is sent with `None`, once none can
    /// arrive any more, with its own timestamp. A null key has no partner.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let temperatures = builder.stream::<String, String>("temperatures");
    /// # let salinities = builder.stream::<String, String>("salinities");
    /// temperatures
    ///     .left_join(
    ///         salinities,
    ///         |_sensor, temperature, salinity| format!("{temperature}/{salinity:?}"),
    ///         JoinWindows::of(Duration::from_secs(10)).grace(Duration::from_secs(5)),
    ///         "pair",
    ///     )
    ///     .to("pairs");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn left_join<W: 'static, R: 'static>(
        self,
        other: Stream<K, W>,
        join: impl Fn(&K, &V, Option<&W>) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: impl Into<StreamJoined<K, V, W>>,
    ) -> Stream<K, R> {
        let join = Arc::new(LeftRows(Arc::new(join)));
        join_all("left_join", (self, other), join, windows, joined.into())
    }

    /// As [`Stream::join`]; a record of either stream without a partner is sent with `None` for the
    /// other, once none can arrive any more, with its own timestamp. A null key has no partner.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let temperatures = builder.stream::<String, String>("temperatures");
    /// # let salinities = builder.stream::<String, String>("salinities");
    /// temperatures
    ///     .outer_join(
    ///         salinities,
    ///         |_sensor, temperature, salinity| format!("{temperature:?}/{salinity:?}"),
    ///         JoinWindows::of(Duration::from_secs(10)).grace(Duration::from_secs(5)),
    ///         "pair",
    ///     )
    ///     .to("pairs");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn outer_join<W: 'static, R: 'static>(
        self,
        other: Stream<K, W>,
        join: impl Fn(&K, Option<&V>, Option<&W>) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: impl Into<StreamJoined<K, V, W>>,
    ) -> Stream<K, R> {
        let join = Arc::new(OuterRows(Arc::new(join)));
        join_all("outer_join", (self, other), join, windows, joined.into())
    }
}

/// What both sides of a join share.
struct Sides<'a, J, K, V, W> {
    graph: &'a SharedGraph,
    join: Arc<J>,
    reach: OuterReach,
    retention_ms: i64,
    store_type: StoreType,
    /// Names of the store of unmatched records, and of the left and the right side's.
    unmatched: String,
    stores: (String, String),
    codecs: (SharedCodec<K>, SharedCodec<V>, SharedCodec<W>),
}

fn join_all<K, V, W, R, J>(
    operator: &'static str,
    (left, right): (Stream<K, V>, Stream<K, W>),
    join: Arc<J>,
    windows: JoinWindows,
    joined: StreamJoined<K, V, W>,
) -> Stream<K, R>
where
    K: Clone + 'static,
    V: 'static,
    W: 'static,
    R: 'static,
    J: JoinRows<K, V, W, R>,
{
    let graph = left.graph;
    let name = joined.name;
    let (reach, least_ms) = reach_of(&graph, &name, &windows);
    let retention_ms = retention_ms(&graph, least_ms, joined.retention);
    let size_ms = reach.before_ms.saturating_add(reach.after_ms);
    let (kind, right_keys) = match J::KIND {
        JoinKind::Outer => ("outer", NullKeys::Keep),
        JoinKind::Inner | JoinKind::Left => ("left", NullKeys::Drop),
    };
    let sides = Sides {
        graph: &graph,
        join,
        reach: OuterReach {
            left: reach,
            grace_ms: least_ms.saturating_sub(size_ms),
        },
        retention_ms,
        store_type: joined.store_type,
        unmatched: format!("{name}-{kind}-shared-join-store"),
        stores: (
            format!("{name}-this-join-store"),
            format!("{name}-other-join-store"),
        ),
        codecs: (joined.key, joined.left, joined.right),
    };
    let (key, left_value, right_value) = sides.codecs.clone();
    let codecs = (key.clone(), left_value.clone());
    let left_name = format!("{name}-left");
    let left_parent = repartition(&graph, left.id, left_name, codecs, NullKeys::Keep);
    let codecs = (key, right_value.clone());
    let right_name = format!("{name}-right");
    let right_parent = repartition(&graph, right.id, right_name, codecs, right_keys);
    let values = (left_value.clone(), right_value.clone());
    let this = sides.add::<LeftHand, R>("join_this", left_parent, values);
    let values = (right_value, left_value);
    let other = sides.add::<RightHand, R>("join_other", right_parent, values);
    let id = merge_sides::<K, R>(&graph, operator, [this, other]);
    Stream::new(graph, id)
}

impl<J, K, V, W> Sides<'_, J, K, V, W>
where
    K: Clone + 'static,
    V: 'static,
    W: 'static,
{
    fn add<H, R>(
        &self,
        operator: &'static str,
        parent: LogicalId,
        (own_value, other_value): (SharedCodec<H::Own>, SharedCodec<H::Other>),
    ) -> LogicalId
    where
        H: Hand<V, W>,
        J: JoinRows<K, V, W, R>,
        R: 'static,
    {
        let (left, right) = self.stores.clone();
        let (own, other) = match H::IS_LEFT {
            true => (left, right),
            false => (right, left),
        };
        let unmatched = self.unmatched.clone();
        let (key, left, right) = self.codecs.clone();
        let codecs = (key.name(), own_value.name());
        let rows = rows_of(self.reach.left, self.retention_ms);
        let spec = StoreSpec {
            store_type: self.store_type,
            ..StoreSpec::new(own.clone(), rows, codecs)
        };
        // Waiting records are sent with their own timestamps, and are reported as waiting from their
        // arrival on.
        let side = Operator::new(operator).of([parent]).holds_back_ms(0);
        let side = side.store(spec).uses(other.clone());
        let side = match H::IS_LEFT {
            true => {
                let codecs = (key.name(), format!("{} or {}", left.name(), right.name()));
                side.store(StoreSpec::new(&*unmatched, StoreKind::key_value(), codecs))
            }
            false => side.uses(&*unmatched),
        };
        let (join, reach) = (self.join.clone(), self.reach);
        side.add(self.graph, move |wiring, _| {
            let stores = OuterStores {
                own: wiring.window(&own)?,
                other: wiring.window(&other)?,
                unmatched: (unmatched.as_str().into(), wiring.key_value(&unmatched)?),
            };
            let time = |what: &str| wiring.time(&format!("operator/{unmatched}{what}"));
            let bound = wiring.bound_of_stores(&[&unmatched]);
            let times = OuterTimes {
                both: OperatorTime::of(wiring, &unmatched, bound),
                looked_at: time("/looked-at"),
                ended: (time("/left-ended"), time("/right-ended")),
            };
            let codecs = OuterCodecs {
                key: key.clone(),
                left: left.clone(),
                right: right.clone(),
                own: own_value.clone(),
                other: other_value.clone(),
            };
            let holds = wiring.holds_of_store(&unmatched);
            Ok(OuterJoinSide::<J, H, K, V, W, R>::new(
                join.clone(),
                reach,
                stores,
                codecs,
                times,
                holds,
            ))
        })
    }
}
