//! Options as values: codecs, names, limits.

use std::sync::Arc;
use std::time::Duration;

use crate::base::Record;
use crate::codec::{Codec, I64, SharedCodec};
use crate::operator::Gate;
use crate::state::Medium;
pub use crate::topology::Idle;

/// How a source reads its topic.
pub struct Consumed<K, V> {
    pub(super) key: SharedCodec<K>,
    pub(super) value: SharedCodec<V>,
    pub(super) idle: Idle,
    pub(super) gate: Gate<K, V>,
}

impl<K, V> Consumed<K, V> {
    /// Reads keys and values with these codecs.
    pub fn with(key: impl Codec<K>, value: impl Codec<V>) -> Self {
        Self {
            key: Arc::new(key),
            value: Arc::new(value),
            idle: Idle::Default,
            gate: Gate::default(),
        }
    }

    /// How long a partition may be silent, by wall clock, before it no longer holds back the time of
    /// tasks behind a repartition topic: a duration, or [`Idle::Never`]. Without this it is
    /// [`Settings::idle_timeout_ms`](crate::runtime::Settings::idle_timeout_ms), 10 seconds unless set.
    /// What comes after all, and finds its window closed, is counted as `closed_while_idle`.
    ///
    /// Use `Never` where partitions are fed one after another, as a history may be.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::codec::Utf8;
    /// # use marea::dsl::{Consumed, Idle};
    /// let live = Consumed::with(Utf8, Utf8).idle_timeout(Duration::from_secs(30));
    /// let history = Consumed::with(Utf8, Utf8).idle_timeout(Idle::Never);
    /// # drop((live, history));
    /// ```
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Idle>) -> Self {
        self.idle = timeout.into();
        self
    }

    /// Takes only the records for which `accepts` holds. Others are counted as `refused` and move no
    /// time, unlike those that a `filter` leaves out: so that one sensor with a wrong clock does not
    /// make late what the others send.
    ///
    /// ```
    /// # use marea::codec::Utf8;
    /// # use marea::dsl::{Consumed, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// let sane = Consumed::with(Utf8, Utf8).accept(|reading| reading.timestamp_ms < 4_102_444_800_000);
    /// builder.stream("readings", sane).to("out", Produced::with(Utf8, Utf8));
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

    /// Takes the time of a record, in milliseconds since 1970, from the record: `extract` gets it with
    /// the timestamp that it has in its topic, and the largest timestamp that its partition has had,
    /// -1 at first. `None`, or a negative number, refuses the record as [`Consumed::accept`] does.
    /// Kafka Streams' `TimestampExtractor`.
    ///
    /// ```
    /// # use marea::codec::{I64, Utf8};
    /// # use marea::dsl::{Consumed, Produced, StreamBuilder};
    /// # let builder = StreamBuilder::new();
    /// let timed = Consumed::with(Utf8, I64).timestamps(|measured_at, _partition_time_ms| Some(measured_at.value));
    /// builder.stream("readings", timed).to("out", Produced::with(Utf8, I64));
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
}

impl<K, V> Produced<K, V> {
    /// Writes keys and values with these codecs.
    pub fn with(key: impl Codec<K>, value: impl Codec<V>) -> Self {
        Self {
            key: Arc::new(key),
            value: Arc::new(value),
        }
    }
}

/// How records of equal keys are brought together, should their key have changed.
pub struct Grouped<K, V> {
    pub(super) name: String,
    pub(super) key: SharedCodec<K>,
    pub(super) value: SharedCodec<V>,
}

impl<K, V> Grouped<K, V> {
    /// `name` names the repartition topic, `<application>-<name>-repartition`.
    pub fn with(name: impl Into<String>, key: impl Codec<K>, value: impl Codec<V>) -> Self {
        Self {
            name: name.into(),
            key: Arc::new(key),
            value: Arc::new(value),
        }
    }
}

/// A repartition topic that the user asks for.
pub struct Repartitioned<K, V> {
    pub(super) name: String,
    pub(super) key: SharedCodec<K>,
    pub(super) value: SharedCodec<V>,
    pub(super) partitions: Option<u32>,
}

impl<K, V> Repartitioned<K, V> {
    /// `name` names the topic, `<application>-<name>-repartition`.
    pub fn with(name: impl Into<String>, key: impl Codec<K>, value: impl Codec<V>) -> Self {
        Self {
            name: name.into(),
            key: Arc::new(key),
            value: Arc::new(value),
            partitions: None,
        }
    }

    /// Fixes the number of partitions; by default it is that of the topics that feed it.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = Some(partitions);
        self
    }
}

/// A store that holds the rows of a table.
pub struct Materialized<V> {
    pub(super) name: String,
    pub(super) value: SharedCodec<V>,
    pub(super) medium: Medium,
    pub(super) retention: Option<Duration>,
    pub(super) logged: bool,
}

impl<V> Materialized<V> {
    /// A persistent store called `name` whose rows are written with `value`. Its changelog is
    /// `<application>-<name>-changelog`.
    pub fn with(name: impl Into<String>, value: impl Codec<V>) -> Self {
        Self {
            name: name.into(),
            value: Arc::new(value),
            medium: Medium::Persistent,
            retention: None,
            logged: true,
        }
    }

    /// Keeps the rows in memory, with the rules of Kafka Streams' in-memory stores. The changelog
    /// still makes them durable.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.medium = Medium::InMemory;
        self
    }

    /// How long a window's row can be read after it started, in stream time. The default, which is
    /// also the peer's, is the size of the window plus its grace.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }

    /// No changelog: the rows do not survive the loss of the disk or a move to another machine, and a
    /// crash loses those that were not flushed yet.
    #[must_use]
    pub fn not_logged(mut self) -> Self {
        self.logged = false;
        self
    }
}

impl From<&str> for Materialized<i64> {
    fn from(name: &str) -> Self {
        Self::with(name, I64)
    }
}

/// How the records of a stream meet a table.
pub struct Joined<K, V> {
    pub(super) name: String,
    pub(super) key: SharedCodec<K>,
    pub(super) value: SharedCodec<V>,
}

impl<K, V> Joined<K, V> {
    /// `name` names the repartition topic, should the stream's key have changed; the codecs are the
    /// stream's.
    pub fn with(name: impl Into<String>, key: impl Codec<K>, value: impl Codec<V>) -> Self {
        Self {
            name: name.into(),
            key: Arc::new(key),
            value: Arc::new(value),
        }
    }
}

/// The two stores of a join of streams.
pub struct StreamJoined<K, V, W> {
    pub(super) name: String,
    pub(super) key: SharedCodec<K>,
    pub(super) left: SharedCodec<V>,
    pub(super) right: SharedCodec<W>,
    pub(super) medium: Medium,
    pub(super) retention: Option<Duration>,
}

impl<K, V, W> StreamJoined<K, V, W> {
    /// `name` names the stores, `<name>-this-join-store` and `<name>-other-join-store`, and the
    /// repartition topics `<name>-left` and `<name>-right`, should a key have changed.
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
            medium: Medium::Persistent,
            retention: None,
        }
    }

    /// Keeps both sides in memory, with the rules of Kafka Streams' in-memory stores.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.medium = Medium::InMemory;
        self
    }

    /// How long a record can meet partners, in stream time. The default, which is also the peer's, is
    /// before plus after plus grace.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }
}

/// When a table's rows go on.
pub struct Suppressed<V> {
    pub(super) name: String,
    pub(super) value: SharedCodec<V>,
}

impl<V> Suppressed<V> {
    /// Holds each row until its window closes, in a store called `<name>-store`.
    pub fn until_window_closes(name: impl Into<String>, value: impl Codec<V>) -> Self {
        Self {
            name: name.into(),
            value: Arc::new(value),
        }
    }
}
