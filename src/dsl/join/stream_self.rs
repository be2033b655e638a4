//! A stream joined with itself, over one store.
//!
//! Results are produced as from two sides with a store each: the record with those before it, then those
//! with the record, including itself, by timestamp. The only difference is at the edge of the retention:
//! a record that is older than what the store keeps does not meet itself. Source:
//! `KStreamKStreamSelfJoin`.
//!
//! There are two ways to get one: `join_self`, and `join` of a stream with itself in a topology that is built with
//! [`Optimizations::single_store_self_joins`](crate::dsl::Optimizations::single_store_self_joins).

use std::any::Any;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

use super::join_windows::{reach_of, rows_of};
use crate::base::{Record, Result};
use crate::codec::{Encoded, SharedCodec};
use crate::dsl::builder::SharedGraph;
use crate::dsl::operator::Operator;
use crate::dsl::operator_time::OperatorTime;
use crate::dsl::repartition::repartition;
use crate::dsl::scratch::Scratch;
use crate::dsl::sink::NullKeys;
use crate::dsl::windows::JoinReach;
use crate::dsl::{Grouped, JoinWindows, Stream};
use crate::plan::{LogicalId, LogicalNode};
use crate::state::{Put, StoreSpec, WindowStore};
use crate::task::{Context, DropReason, Edges, Process, Tick};

impl<K: Clone + 'static, V: 'static> Stream<K, V> {
    /// Joins the stream with itself: each record meets the close records of its key in both directions,
    /// and itself. It needs only one store, `<name>-join-store`, where joining a clone needs two unless
    /// the topology is built with [`single_store_self_joins`](crate::dsl::Optimizations::single_store_self_joins).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let sightings = builder.stream::<String, String>("sightings");
    /// sightings
    ///     .join_self(
    ///         |_place, one, other| format!("{one} near {other}"),
    ///         JoinWindows::of(Duration::from_secs(10)),
    ///         "near",
    ///     )
    ///     .to("pairs");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn join_self<R: 'static>(
        self,
        join: impl Fn(&K, &V, &V) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        grouped: impl Into<Grouped<K, V>>,
    ) -> Stream<K, R> {
        let graph = self.graph;
        let Grouped { name, key, value } = grouped.into();
        let (reach, retention_ms) = reach_of(&graph, &name, &windows);
        let store = format!("{name}-join-store");
        let codecs = (key.clone(), value.clone());
        let parent = repartition(&graph, self.id, name, codecs, NullKeys::Drop);
        let codecs = (key.name(), value.name());
        let spec = StoreSpec::new(store.clone(), rows_of(reach, retention_ms), codecs);
        let mut node = self_join_node(spec, reach, (key, value), join);
        node.parents = vec![parent];
        let id = graph.borrow_mut().add(node);
        Stream::new(graph, id)
    }
}

/// The function that joins a pair of records.
pub(super) type SharedJoin<K, V, W, R> = Arc<dyn Fn(&K, &V, &W) -> R + Send + Sync>;

/// Gives the plan an alternative for a join whose sides read the same records: one node over the store of the left
/// side. `merge` is the node that merges the two sides.
pub(super) fn offer_one_store<K: Clone + 'static, V: 'static, W: 'static, R: 'static>(
    graph: &SharedGraph,
    merge: LogicalId,
    (spec, reach): (StoreSpec, JoinReach),
    codecs: (SharedCodec<K>, SharedCodec<V>),
    join: SharedJoin<K, V, W, R>,
) {
    // If the types of the values differ, so do the streams.
    let join: Box<dyn Any> = Box::new(join);
    let Ok(join) = join.downcast::<SharedJoin<K, V, V, R>>() else {
        return;
    };
    let join = move |key: &K, value: &V, other: &V| join(key, value, other);
    let node = self_join_node(spec, reach, codecs, join);
    graph.borrow_mut().node_mut(merge).of_one_input = Some(Box::new(node));
}

/// A self join over the store of `spec`, without a parent.
fn self_join_node<K: Clone + 'static, V: 'static, R: 'static>(
    spec: StoreSpec,
    reach: JoinReach,
    (key, value): (SharedCodec<K>, SharedCodec<V>),
    join: impl Fn(&K, &V, &V) -> R + Send + Sync + 'static,
) -> LogicalNode {
    let join = Arc::new(join);
    let store = spec.name.clone();
    let operator = Operator::new("join_self").store(spec);
    operator.into_node(move |wiring, id| {
        Ok(SelfJoin::<_, K, V, R> {
            join: join.clone(),
            reach,
            store: wiring.window(&store)?,
            key: key.clone(),
            value: value.clone(),
            time: OperatorTime::of(wiring, &store, wiring.bound(id)),
            scratch: RefCell::default(),
            types: PhantomData,
        })
    })
}

/// Pairs the records of one stream.
struct SelfJoin<F, K, V, R> {
    join: Arc<F>,
    reach: JoinReach,
    store: WindowStore,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    time: OperatorTime,
    scratch: RefCell<Scratch>,
    types: PhantomData<fn() -> R>,
}

impl<F, K, V, R> SelfJoin<F, K, V, R> {
    /// Rows are kept for as long as the slowest origin may send a partner.
    fn hold_back(&self, cx: &Context) {
        if self.time.has_several_origins() {
            self.store.set_floor_ms(self.time.floor_ms(cx));
        }
    }

    /// Whether a record of this age meets itself: only if its window includes its own timestamp. Kafka
    /// Streams draws the line of what is too old a millisecond earlier than the store.
    fn meets_itself(&self, timestamp_ms: i64, cx: &Context) -> bool {
        let time_ms = match self.time.has_several_origins() {
            true => self.time.floor_ms(cx).min(self.time.observed_ms()),
            false => self.time.observed_ms(),
        };
        let oldest_ms = time_ms.saturating_sub(self.store.rules().retention_ms);
        let is_reached = self.reach.before_ms >= 0 && self.reach.after_ms >= 0;
        is_reached && timestamp_ms > oldest_ms.saturating_add(1)
    }
}

impl<F, K, V, R> Process for SelfJoin<F, K, V, R>
where
    F: Fn(&K, &V, &V) -> R + 'static,
    K: Clone + 'static,
    V: 'static,
    R: 'static,
{
    type KeyIn = K;
    type ValueIn = V;
    type KeyOut = K;
    type ValueOut = R;

    fn process(&self, record: Record<K, V>, out: &Edges<K, R>, cx: &mut Context) -> Result<()> {
        let Record {
            key,
            value,
            timestamp_ms,
            headers,
        } = record;
        let mut scratch = self.scratch.borrow_mut();
        if !scratch.encode_key(&*self.key, &key)? {
            cx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        scratch.row.clear();
        if self.value.encode(&value, &mut scratch.row)? == Encoded::Null {
            cx.drop_record(DropReason::NullValue);
            return Ok(());
        }
        self.time.see(timestamp_ms);
        self.hold_back(cx);
        let push = |joined: R, timestamp_ms: i64, cx: &mut Context| {
            let record = Record {
                key: key.clone(),
                value: joined,
                timestamp_ms,
                headers: headers.clone(),
            };
            out.push(record, cx)
        };
        let from = |before_ms: i64| timestamp_ms.saturating_sub(before_ms).max(0);
        let to = |after_ms: i64| timestamp_ms.saturating_add(after_ms).max(0);
        let JoinReach {
            before_ms,
            after_ms,
        } = self.reach;

        let mut partners = self
            .store
            .fetch_range(&scratch.key, from(before_ms), to(after_ms))?;
        while let Some(partner) = partners.next()? {
            let other = self.value.decode(Some(partner.row))?;
            let joined_ms = timestamp_ms.max(partner.start_ms);
            push((self.join)(&key, &value, &other), joined_ms, cx)?;
        }
        let mut meets_itself = self.meets_itself(timestamp_ms, cx);
        let mut partners = self
            .store
            .fetch_range(&scratch.key, from(after_ms), to(before_ms))?;
        while let Some(partner) = partners.next()? {
            if partner.start_ms > timestamp_ms && std::mem::take(&mut meets_itself) {
                push((self.join)(&key, &value, &value), timestamp_ms, cx)?;
            }
            let other = self.value.decode(Some(partner.row))?;
            let joined_ms = timestamp_ms.max(partner.start_ms);
            push((self.join)(&key, &other, &value), joined_ms, cx)?;
        }
        if meets_itself {
            push((self.join)(&key, &value, &value), timestamp_ms, cx)?;
        }
        let put = self
            .store
            .put(&scratch.key, timestamp_ms, Some(&scratch.row))?;
        if put == Put::Expired {
            cx.drop_record(DropReason::Expired);
        }
        Ok(())
    }

    fn tick(&self, tick: Tick, out: &Edges<K, R>, cx: &mut Context) -> Result<()> {
        self.hold_back(cx);
        out.tick(tick, cx)
    }
}
