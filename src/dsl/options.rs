//! Options as values: codecs, names, limits.

mod materialized;

use std::sync::Arc;
use std::time::Duration;

pub use materialized::Materialized;

use super::gate::Gate;
use super::sink::Partitioner;
use crate::base::Record;
use crate::codec::{Codec, OwnCodec, SharedCodec};
use crate::state::StoreType;
pub use crate::topology::Idle;

/// How a source reads its topic.
pub struct Consumed<K, V> {
    pub(super) key: SharedCodec<K>,
    pub(super) value: SharedCodec<V>,
    pub(super) idle: Idle,
    pub(super) gate: Gate<K, V>,
}

impl<K: OwnCodec, V: OwnCodec> Consumed<K, V> {
    /// Reads keys and values with the types' own codecs.
    pub fn own() -> Self {
        Self::with(K::codec(), V::codec())
    }
}

impl<K: OwnCodec, V: OwnCodec> Default for Consumed<K, V> {
    fn default() -> Self {
        Self::own()
    }
}

impl<K: 'static, V: 'static> Consumed<K, V> {
    /// Reads keys and values with these codecs.
    pub fn with(key: impl Codec<K>, value: impl Codec<V>) -> Self {
        Self {
            key: Arc::new(key),
            value: Arc::new(value),
            idle: Idle::Default,
            gate: Gate::default(),
        }
    }

    /// How long, by the wall clock, a partition may be silent before tasks behind a repartition topic no
    /// longer wait for it: a duration, or [`Idle::Never`]. The default is
    /// [`Settings::idle_timeout_ms`](crate::runtime::Settings::idle_timeout_ms), 10 seconds unless set.
    /// If records arrive after all and find their window closed, they are counted as `closed_while_idle`.
    ///
    /// Use `Never` if partitions are fed one after another, for example with historical data.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// let live = Consumed::<String, String>::own().idle_timeout(Duration::from_secs(30));
    /// let history = Consumed::<String, String>::own().idle_timeout(Idle::Never);
    /// # drop((live, history));
    /// ```
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Idle>) -> Self {
        self.idle = timeout.into();
        self
    }

    /// Accepts only the records for which `accepts` returns true. Others are counted as `refused` and do
    /// not advance time, unlike records removed by a `filter`: so a sensor with a wrong clock does not
    /// make the records of others late.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// let sane = Consumed::<String, String>::own().accept(|reading| reading.timestamp_ms < 4_102_444_800_000);
    /// builder.stream_with("readings", sane).to("out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    #[must_use]
    pub fn accept(
        mut self,
        accepts: impl Fn(&Record<K, V>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.gate.accepts = Some(Arc::new(move |record| accepts(&record).then_some(record)));
        self
    }

    /// Extracts the time of a record, in milliseconds since 1970: `extract` gets the record with the
    /// timestamp it has in its topic, and the largest timestamp seen so far in its partition, -1 at
    /// first. `None`, or a negative number, refuses the record as [`Consumed::accept`] does. This is
    /// Kafka Streams' `TimestampExtractor`.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// let timed = Consumed::<String, i64>::own().timestamps(|measured_at, _partition_time_ms| Some(measured_at.value));
    /// builder.stream_with("readings", timed).to("out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    #[must_use]
    pub fn timestamps(
        mut self,
        extract: impl Fn(&Record<K, V>, i64) -> Option<i64> + Send + Sync + 'static,
    ) -> Self {
        self.gate.extract = Some(Arc::new(move |record, partition_time_ms| {
            extract(&record, partition_time_ms)
        }));
        self
    }
}

/// How a sink writes its topic.
pub struct Produced<K, V> {
    pub(super) key: SharedCodec<K>,
    pub(super) value: SharedCodec<V>,
    pub(super) partitioner: Option<Partitioner<K, V>>,
}

impl<K: OwnCodec, V: OwnCodec> Produced<K, V> {
    /// Writes keys and values with the types' own codecs.
    pub fn own() -> Self {
        Self::with(K::codec(), V::codec())
    }
}

impl<K: OwnCodec, V: OwnCodec> Default for Produced<K, V> {
    fn default() -> Self {
        Self::own()
    }
}

impl<K: 'static, V: 'static> Produced<K, V> {
    /// Writes keys and values with these codecs.
    pub fn with(key: impl Codec<K>, value: impl Codec<V>) -> Self {
        Self {
            key: Arc::new(key),
            value: Arc::new(value),
            partitioner: None,
        }
    }

    /// Chooses the partition of each record, from 0: `partitioner` gets the key, the value, and the
    /// number of partitions of the topic. By default it is the hash of the key, as in any Kafka producer.
    /// A number that the topic does not have is an error of processing.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// let by_depth = Produced::<String, i64>::own()
    ///     .partitioner(|_buoy, depth, partitions| (*depth / 100).unsigned_abs() as u32 % partitions);
    /// builder.stream::<String, i64>("depths").to_with("by-depth", by_depth);
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    #[must_use]
    pub fn partitioner(
        mut self,
        partitioner: impl Fn(&K, &V, u32) -> u32 + Send + Sync + 'static,
    ) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }
}

/// How records of equal keys are brought together if their key has changed.
pub struct Grouped<K, V> {
    pub(super) name: String,
    pub(super) key: SharedCodec<K>,
    pub(super) value: SharedCodec<V>,
}

impl<K: OwnCodec, V: OwnCodec> Grouped<K, V> {
    /// With this name, and with the types' own codecs. A plain name does the same.
    pub fn named(name: impl Into<String>) -> Self {
        Self::with(name, K::codec(), V::codec())
    }
}

impl<K: 'static, V: 'static> Grouped<K, V> {
    /// `name` names the repartition topic, `<application>-<name>-repartition`.
    pub fn with(name: impl Into<String>, key: impl Codec<K>, value: impl Codec<V>) -> Self {
        Self {
            name: name.into(),
            key: Arc::new(key),
            value: Arc::new(value),
        }
    }
}

/// A repartition topic requested by the user.
pub struct Repartitioned<K, V> {
    pub(super) name: String,
    pub(super) key: SharedCodec<K>,
    pub(super) value: SharedCodec<V>,
    pub(super) partitions: Option<u32>,
    pub(super) partitioner: Option<Partitioner<K, V>>,
}

impl<K: OwnCodec, V: OwnCodec> Repartitioned<K, V> {
    /// With this name, and with the types' own codecs. A plain name does the same.
    pub fn named(name: impl Into<String>) -> Self {
        Self::with(name, K::codec(), V::codec())
    }
}

impl<K: 'static, V: 'static> Repartitioned<K, V> {
    /// `name` names the topic, `<application>-<name>-repartition`.
    pub fn with(name: impl Into<String>, key: impl Codec<K>, value: impl Codec<V>) -> Self {
        Self {
            name: name.into(),
            key: Arc::new(key),
            value: Arc::new(value),
            partitions: None,
            partitioner: None,
        }
    }

    /// Fixes the number of partitions; by default it is that of the topics that feed it.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// Chooses the partition of each record, as [`Produced::partitioner`] does. Groupings and joins
    /// behind it work only if equal keys go to the same partition.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// let by_region = Repartitioned::<String, i64>::named("by-region")
    ///     .partitions(4)
    ///     .partitioner(|region, _, partitions| region.len() as u32 % partitions);
    /// builder.stream::<String, i64>("sales").repartition(by_region).to("out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    #[must_use]
    pub fn partitioner(
        mut self,
        partitioner: impl Fn(&K, &V, u32) -> u32 + Send + Sync + 'static,
    ) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }
}

/// Options for a join of a stream with a table.
pub struct Joined<K, V> {
    pub(super) name: String,
    pub(super) key: SharedCodec<K>,
    pub(super) value: SharedCodec<V>,
    pub(super) grace: Option<Duration>,
}

impl<K: OwnCodec, V: OwnCodec> Joined<K, V> {
    /// With this name, and with the types' own codecs. A plain name does the same.
    pub fn named(name: impl Into<String>) -> Self {
        Self::with(name, K::codec(), V::codec())
    }
}

impl<K: 'static, V: 'static> Joined<K, V> {
    /// `name` names the repartition topic, if the stream's key has changed; the codecs are the stream's.
    pub fn with(name: impl Into<String>, key: impl Codec<K>, value: impl Codec<V>) -> Self {
        Self {
            name: name.into(),
            key: Arc::new(key),
            value: Arc::new(value),
            grace: None,
        }
    }

    /// Holds each record until stream time has passed it by this much, so that late rows of the table are
    /// there; meanwhile it is kept in a store, `<name>-buffer`. Then records are joined in the order of
    /// their timestamps. A record that arrives later than the grace is joined at once. The table must be
    /// versioned ([`Materialized::versioned`]).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// let rates = Materialized::named("rates").versioned(Duration::from_secs(3_600));
    /// let rates = builder.table::<String, f64>("rates-in", rates);
    /// let patient = Joined::<String, f64>::named("rated").grace(Duration::from_secs(60));
    /// builder
    ///     .stream::<String, f64>("payments")
    ///     .join_table(&rates, |_currency, amount, rate| amount * rate, patient)
    ///     .to("rated-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }
}

/// The two stores of a join of streams.
pub struct StreamJoined<K, V, W> {
    pub(super) name: String,
    pub(super) key: SharedCodec<K>,
    pub(super) left: SharedCodec<V>,
    pub(super) right: SharedCodec<W>,
    pub(super) store_type: StoreType,
    pub(super) retention: Option<Duration>,
}

impl<K: OwnCodec, V: OwnCodec, W: OwnCodec> StreamJoined<K, V, W> {
    /// With this name, and with the types' own codecs. A plain name does the same.
    pub fn named(name: impl Into<String>) -> Self {
        Self::with(name, K::codec(), V::codec(), W::codec())
    }
}

impl<K: 'static, V: 'static, W: 'static> StreamJoined<K, V, W> {
    /// `name` names the stores, `<name>-this-join-store` and `<name>-other-join-store`, and the
    /// repartition topics `<name>-left` and `<name>-right`, if a key has changed.
    pub fn with(
        name: impl Into<String>,
        key: impl Codec<K>,
        left: impl Codec<V>,
        right: impl Codec<W>,
    ) -> Self {
        Self {
            name: name.into(),
            key: Arc::new(key),
            left: Arc::new(left),
            right: Arc::new(right),
            store_type: StoreType::Persistent,
            retention: None,
        }
    }

    /// Keeps both sides in memory, with the rules of Kafka Streams' in-memory stores.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.store_type = StoreType::InMemory;
        self
    }

    /// How long a record can meet partners, in stream time. The default, as in Kafka Streams, is before
    /// plus after plus grace.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }
}

/// A plain name stands for the options with that name and the types' own codecs.
macro_rules! from_names {
    ($($options:ident<$($of:ident),+>;)*) => {$(
        impl<$($of: OwnCodec),+> From<&str> for $options<$($of),+> {
            fn from(name: &str) -> Self {
                Self::named(name)
            }
        }

        impl<$($of: OwnCodec),+> From<String> for $options<$($of),+> {
            fn from(name: String) -> Self {
                Self::named(name)
            }
        }
    )*};
}

from_names! {
    Grouped<K, V>;
    Repartitioned<K, V>;
    Joined<K, V>;
    StreamJoined<K, V, W>;
    Materialized<V>;
}
