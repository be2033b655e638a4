//! How the rows of a table are kept.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Error, Result};
use crate::codec::{Codec, OwnCodec, SharedCodec};
use crate::dsl::builder::SharedGraph;
use crate::dsl::stores::opens;
use crate::dsl::windows::millis;
use crate::dsl::{TimestampedKeyValueStore, TimestampedWindowStore, TypedStore, VersionedStore};
use crate::state::{
    Changelog, RowForm, StoreKind, StoreSpec, StoreType, VersionedRules, WindowRules,
};

/// A store that holds the rows of a table.
pub struct Materialized<V> {
    pub(in crate::dsl) name: String,
    pub(in crate::dsl) value: SharedCodec<V>,
    pub(in crate::dsl) store_type: StoreType,
    pub(in crate::dsl) retention: Option<Duration>,
    pub(in crate::dsl) history: Option<Duration>,
    pub(in crate::dsl) logged: bool,
    pub(in crate::dsl) cached: bool,
}

impl<V: OwnCodec> Materialized<V> {
    /// A persistent store called `name` whose rows are encoded with their type's own codec. A plain name
    /// does the same.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// let store = Materialized::<i64>::named("counts").in_memory().retention(Duration::from_secs(3_600));
    /// # drop(store);
    /// ```
    pub fn named(name: impl Into<String>) -> Self {
        Self::with(name, V::codec())
    }
}

impl<V: 'static> Materialized<V> {
    /// A store of a given kind for rows preceded by their timestamps, with keys of a codec.
    pub(in crate::dsl) fn spec<K: 'static>(
        &self,
        kind: StoreKind,
        key: &SharedCodec<K>,
    ) -> StoreSpec {
        StoreSpec {
            name: self.name.clone(),
            kind,
            store_type: self.store_type,
            row: RowForm::Timestamped,
            changelog: Changelog::own_if(self.logged),
            codecs: (key.name(), self.value.name()),
        }
    }

    /// The store of a table's rows, and how many milliseconds back their history goes, if it is
    /// versioned.
    pub(in crate::dsl) fn table_spec<K: 'static>(
        &self,
        graph: &SharedGraph,
        key: &SharedCodec<K>,
    ) -> (StoreSpec, Option<i64>) {
        let spec = self.spec(StoreKind::key_value(), key);
        let Some(history) = self.history else {
            self.opened_as::<TimestampedKeyValueStore<K, V>>(graph, key);
            return (spec, None);
        };
        let history_ms = millis(history, "a history").unwrap_or_else(|error| {
            let mut graph = graph.borrow_mut();
            graph.report(error.context(format_args!("store {}", self.name)));
            0
        });
        if self.store_type == StoreType::InMemory {
            graph.borrow_mut().report(Error::invalid(format!(
                "store {} cannot be both versioned and in memory, as in Kafka Streams; remove one of \
                 `versioned` and `in_memory`",
                self.name
            )));
        }
        self.opened_as::<VersionedStore<K, V>>(graph, key);
        let spec = StoreSpec {
            kind: StoreKind::versioned(VersionedRules { history_ms }),
            row: RowForm::Plain,
            ..spec
        };
        (spec, Some(history_ms))
    }

    /// The store of an aggregation's rows, which processors may open too.
    pub(in crate::dsl) fn rows_spec<K: 'static>(
        &self,
        graph: &SharedGraph,
        key: &SharedCodec<K>,
    ) -> StoreSpec {
        self.refuse_history(graph);
        self.opened_as::<TimestampedKeyValueStore<K, V>>(graph, key);
        self.spec(StoreKind::key_value(), key)
    }

    /// The same of rows in windows.
    pub(in crate::dsl) fn windows_spec<K: 'static>(
        &self,
        graph: &SharedGraph,
        key: &SharedCodec<K>,
        rules: WindowRules,
    ) -> StoreSpec {
        self.refuse_history(graph);
        self.opened_as::<TimestampedWindowStore<K, V>>(graph, key);
        self.spec(StoreKind::window(rules), key)
    }

    /// Registers the type with which processors find the store by its name.
    pub(in crate::dsl) fn opened_as<S: TypedStore<Value = V>>(
        &self,
        graph: &SharedGraph,
        key: &SharedCodec<S::Key>,
    ) {
        let open = opens::<S>(self.name.clone(), key.clone(), self.value.clone());
        graph.borrow_mut().add_open(self.name.clone(), open);
    }

    /// Reports a history if the store cannot have one.
    fn refuse_history(&self, graph: &SharedGraph) {
        if self.history.is_some() {
            graph.borrow_mut().report(Error::invalid(format!(
                "store {} of an aggregation cannot be versioned, only that of a table can; put \
                 `materialized` behind it",
                self.name
            )));
        }
    }

    /// How long its windows are kept: as requested, or else `spare_ms` longer than `least_ms`, which
    /// their results need.
    pub(in crate::dsl) fn retention_ms(&self, least_ms: i64, spare_ms: i64) -> Result<i64> {
        let Some(given) = self.retention else {
            return Ok(least_ms.saturating_add(spare_ms));
        };
        match millis(given, "a retention")? {
            given_ms if given_ms >= least_ms => Ok(given_ms),
            given_ms => Err(Error::invalid(format!(
                "store {} retains {given_ms} ms, less than its windows' size plus grace, {least_ms} ms",
                self.name
            ))),
        }
    }
}

impl<V: 'static> Materialized<V> {
    /// A persistent store called `name` whose rows are encoded with `value`. Its changelog is
    /// `<application>-<name>-changelog`.
    pub fn with(name: impl Into<String>, value: impl Codec<V>) -> Self {
        Self {
            name: name.into(),
            value: Arc::new(value),
            store_type: StoreType::Persistent,
            retention: None,
            history: None,
            logged: true,
            cached: false,
        }
    }

    /// Keeps the rows in memory, under the rules of Kafka Streams' in-memory stores. The changelog still
    /// makes them durable.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.store_type = StoreType::InMemory;
        self
    }

    /// How long a row can be read after its window started, or its session ended, in stream time. The
    /// minimum is the size of a window plus its grace, twice the difference of a sliding one plus its
    /// grace, or the gap of a session plus its grace, which is also the default of Kafka Streams.
    ///
    /// If it is not set, every window and session stays readable until it has closed, to the millisecond,
    /// and results that are emitted on close or held by `suppress` are complete and are sent once. If it
    /// is set, the rules are those of Kafka Streams: a row past the retention is gone even if its session
    /// is open, results that are emitted on close are looked up after the record that closes them is put,
    /// and `suppress` closes sessions and sliding windows a millisecond early.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// let hours = Duration::from_secs(3_600);
    /// let sessions = Materialized::<i64>::named("sessions").retention(24 * hours);
    /// # drop(sessions);
    /// ```
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }

    /// Keeps the rows that each key had over `history`, back from the largest timestamp put: a versioned
    /// store, for tables of topics ([`StreamBuilder::table`](crate::dsl::StreamBuilder::table),
    /// [`Stream::to_table`](crate::dsl::Stream::to_table)) and
    /// [`Table::materialized`](crate::dsl::Table::materialized). A stream joins with the row valid at its
    /// record's time. An out-of-order change is inserted where it belongs; joins of tables and groups,
    /// which use only the newest rows, ignore it, and joins count it as `out_of_order`. A change older
    /// than the history is dropped as `expired`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use marea::prelude::*;
    /// let builder = StreamBuilder::new();
    /// let rates = Materialized::named("rates").versioned(Duration::from_secs(3_600));
    /// let rates = builder.table::<String, f64>("rates-in", rates);
    /// builder
    ///     .stream::<String, f64>("payments")
    ///     .join_table(&rates, |_currency, amount, rate| amount * rate, "rated")
    ///     .to("rated-out");
    ///
    /// let mut driver = Driver::new(builder.build()?)?;
    /// let rates = driver.input_topic::<String, f64>("rates-in");
    /// rates.pipe(&mut driver, Record::new("nok".to_owned(), 0.5, 1_000))?;
    /// rates.pipe(&mut driver, Record::new("nok".to_owned(), 0.25, 3_000))?;
    /// let payments = driver.input_topic::<String, f64>("payments");
    /// payments.pipe(&mut driver, Record::new("nok".to_owned(), 8.0, 2_000))?;
    /// let rated = driver.output_topic::<String, f64>("rated-out").read(&mut driver)?;
    /// assert_eq!(rated[0].value, 4.0, "by the rate that there was then");
    /// # Ok::<(), marea::Error>(())
    /// ```
    #[must_use]
    pub fn versioned(mut self, history: Duration) -> Self {
        self.history = Some(history);
        self
    }

    /// Sends at most one update of each row per commit, the last: intermediate values are not seen
    /// downstream. This saves work if few keys change often. What is held until the commit, in
    /// `<store>-cache-store`, counts as uncommitted in the memory number; when that is full, a commit
    /// comes early. Kafka Streams has this on by default; here it is off. Windows that are emitted on
    /// close have one row anyway.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// # let readings = builder.stream::<String, String>("readings");
    /// readings
    ///     .group_by_key("by-sensor")
    ///     .count(Materialized::named("counts").cached())
    ///     .to_stream()
    ///     .to("counts-out");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    #[must_use]
    pub fn cached(mut self) -> Self {
        self.cached = true;
        self
    }

    /// No changelog: the rows do not survive the loss of the disk or a move to another machine, and a
    /// crash loses the rows that were not flushed yet.
    #[must_use]
    pub fn not_logged(mut self) -> Self {
        self.logged = false;
        self
    }
}
