//! `join` of two streams: pairs records of the same key whose timestamps are close.
//!
//! Each side stores its records in a window store and looks into the other's. A result has the larger of
//! the two timestamps and the headers of the record that produced it. A record with a null key or a null
//! value is dropped and counted. Late records are not dropped as such: a record meets whatever the other
//! store still shows. Source: `KStreamKStreamJoin`.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

use super::join_windows::{merge_sides, reach_of, retention_ms, rows_of};
use super::stream_self::{SharedJoin, offer_one_store};
use crate::base::{Record, Result};
use crate::codec::{Encoded, SharedCodec};
use crate::dsl::builder::SharedGraph;
use crate::dsl::operator::Operator;
use crate::dsl::repartition::repartition;
use crate::dsl::scratch::Scratch;
use crate::dsl::sink::NullKeys;
use crate::dsl::windows::JoinReach;
use crate::dsl::{JoinWindows, Stream, StreamJoined};
use crate::plan::LogicalId;
use crate::state::{Put, StoreSpec, StoreType, WindowStore};
use crate::task::{Context, DropReason, Edges, Process, Tick, TimeBound};

impl<K: Clone + 'static, V: 'static> Stream<K, V> {
    /// Pairs each record with the records of another stream that have the same key and a timestamp close
    /// to its own. Both must be co-partitioned; if a key has changed, a repartition is inserted before
    /// the join. A stream joined with itself can be kept in one store:
    /// [`single_store_self_joins`](crate::dsl::Optimizations::single_store_self_joins).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let temperatures = builder.stream::<String, String>("temperatures");
    /// # let salinities = builder.stream::<String, String>("salinities");
    /// temperatures
    ///     .join(
    ///         salinities,
    ///         |_sensor, temperature, salinity| format!("{temperature}/{salinity}"),
    ///         JoinWindows::of(Duration::from_secs(10)),
    ///         "pair",
    ///     )
    ///     .to("pairs");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn join<W: 'static, R: 'static>(
        self,
        other: Stream<K, W>,
        join: impl Fn(&K, &V, &W) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: impl Into<StreamJoined<K, V, W>>,
    ) -> Stream<K, R> {
        let graph = self.graph;
        let StreamJoined {
            name,
            key,
            left,
            right,
            store_type,
            retention,
        } = joined.into();
        let (reach, least_ms) = reach_of(&graph, &name, &windows);
        let retention_ms = retention_ms(&graph, least_ms, retention);
        let this_store = format!("{name}-this-join-store");
        let other_store = format!("{name}-other-join-store");
        let stores = JoinStores {
            graph: &graph,
            key: &key,
            store_type,
            retention_ms,
        };
        let codecs = (key.clone(), left.clone());
        let this_name = format!("{name}-left");
        let this_parent = repartition(&graph, self.id, this_name, codecs, NullKeys::Drop);
        let codecs = (key.clone(), right.clone());
        let other_name = format!("{name}-right");
        let other_parent = repartition(&graph, other.id, other_name, codecs, NullKeys::Drop);

        let join = Arc::new(join);
        let swapped = join.clone();
        let of_one_stream: SharedJoin<K, V, W, R> = join.clone();
        let single = (stores.spec(&this_store, reach, left.name()), reach);
        let single_codecs = (key.clone(), left.clone());
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
        let id = merge_sides::<K, R>(&graph, "join_merge", [this, other]);
        offer_one_store(&graph, id, single, single_codecs, of_one_stream);
        Stream::new(graph, id)
    }
}

/// What both sides of a join share.
struct JoinStores<'a, K> {
    graph: &'a SharedGraph,
    key: &'a SharedCodec<K>,
    store_type: StoreType,
    retention_ms: i64,
}

impl<K: Clone + 'static> JoinStores<'_, K> {
    fn spec(&self, store: &str, reach: JoinReach, value: String) -> StoreSpec {
        let rows = rows_of(reach, self.retention_ms);
        StoreSpec {
            store_type: self.store_type,
            ..StoreSpec::new(store, rows, (self.key.name(), value))
        }
    }

    fn side<A: 'static, B: 'static, R: 'static>(
        &self,
        operator: &'static str,
        parent: LogicalId,
        (own, other): (String, String),
        reach: JoinReach,
        (value, other_value): (SharedCodec<A>, SharedCodec<B>),
        join: impl Fn(&K, &A, &B) -> R + Send + Sync + 'static,
    ) -> LogicalId {
        let spec = self.spec(&own, reach, value.name());
        let side = Operator::new(operator)
            .of([parent])
            .store(spec)
            .uses(other.clone());
        let key = self.key.clone();
        let join = Arc::new(join);
        side.add(self.graph, move |wiring, _| {
            let stores = (wiring.window(&own)?, wiring.window(&other)?);
            let values = (value.clone(), other_value.clone());
            let bound = wiring.bound_of_stores(&[&own, &other]);
            let join = join.clone();
            Ok(JoinSide::<_, K, A, B, R>::new(
                join,
                reach,
                stores,
                key.clone(),
                values,
                bound,
            ))
        })
    }
}

/// One side of a join: writes its records to its own store and pairs them with the other side's.
pub(in crate::dsl) struct JoinSide<F, K, V, W, R> {
    join: Arc<F>,
    reach: JoinReach,
    own: WindowStore,
    other: WindowStore,
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    other_value: SharedCodec<W>,
    bound: TimeBound,
    scratch: RefCell<Scratch>,
    types: PhantomData<fn() -> R>,
}

impl<F, K, V, W, R> JoinSide<F, K, V, W, R> {
    /// A side that writes `stores.0` and reads `stores.1`. `bound` is that of both sides: a record of
    /// either finds its partners as long as the slowest origin of the two may send them.
    fn new(
        join: Arc<F>,
        reach: JoinReach,
        stores: (WindowStore, WindowStore),
        key: SharedCodec<K>,
        values: (SharedCodec<V>, SharedCodec<W>),
        bound: TimeBound,
    ) -> Self {
        Self {
            join,
            reach,
            own: stores.0,
            other: stores.1,
            key,
            value: values.0,
            other_value: values.1,
            bound,
            scratch: RefCell::default(),
            types: PhantomData,
        }
    }
}

impl<F, K, V, W, R> JoinSide<F, K, V, W, R> {
    /// Rows are kept for as long as the slowest origin of either side may send a partner.
    fn hold_back(&self, cx: &Context) {
        if self.bound.has_several_origins() {
            let floor_ms = cx.floor_ms(&self.bound);
            self.own.set_floor_ms(floor_ms);
            self.other.set_floor_ms(floor_ms);
        }
    }
}

impl<F, K, V, W, R> Process for JoinSide<F, K, V, W, R>
where
    F: Fn(&K, &V, &W) -> R + 'static,
    K: Clone + 'static,
    V: 'static,
    W: 'static,
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
        self.hold_back(cx);
        if self
            .own
            .put(&scratch.key, timestamp_ms, Some(&scratch.row))?
            == Put::Expired
        {
            cx.drop_record(DropReason::Expired);
        }
        let from_ms = timestamp_ms.saturating_sub(self.reach.before_ms).max(0);
        // Kafka Streams clips a range that ends before 1970 at 1970, so a record at 0 is met.
        let to_ms = timestamp_ms.saturating_add(self.reach.after_ms).max(0);
        if to_ms < from_ms {
            return Ok(());
        }
        let mut partners = self.other.fetch_range(&scratch.key, from_ms, to_ms)?;
        drop(scratch);
        while let Some(partner) = partners.next()? {
            let other = self.other_value.decode(Some(partner.row))?;
            let joined = (self.join)(&key, &value, &other);
            let timestamp_ms = timestamp_ms.max(partner.start_ms);
            let (key, headers) = (key.clone(), headers.clone());
            out.push(
                Record {
                    key,
                    value: joined,
                    timestamp_ms,
                    headers,
                },
                cx,
            )?;
        }
        Ok(())
    }

    fn tick(&self, tick: Tick, out: &Edges<K, R>, cx: &mut Context) -> Result<()> {
        self.hold_back(cx);
        out.tick(tick, cx)
    }
}
