//! `stream`, `streams`: reads topics as a stream.

use std::rc::Rc;
use std::sync::Arc;

use super::builder::SharedGraph;
use super::operator::Operator;
use super::{Consumed, Stream, StreamBuilder};
use crate::base::{Record, Result};
use crate::batch::RecordRef;
use crate::codec::{OwnCodec, SharedCodec};
use crate::plan::{LogicalId, LogicalKind};
use crate::task::{CLOCK_HEADER, Context, DropReason, Edges, Source, Tick};

impl StreamBuilder {
    /// Reads a topic as a stream: each record describes an event. Keys and values have the codecs of
    /// their types.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// let builder = StreamBuilder::new();
    /// builder.stream::<String, f64>("amounts").to("copies");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn stream<K: OwnCodec, V: OwnCodec>(&self, topic: impl Into<String>) -> Stream<K, V> {
        self.stream_with(topic, Consumed::own())
    }

    /// As [`StreamBuilder::stream`], with codecs and other options.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # use marea::codec::Utf8;
    /// # let builder = StreamBuilder::new();
    /// let readings = Consumed::with(Utf8, Utf8).accept(|reading| !reading.value.is_empty());
    /// builder.stream_with("readings", readings).to("valid");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn stream_with<K: 'static, V: 'static>(
        &self,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
    ) -> Stream<K, V> {
        self.streams_with([topic.into()], consumed)
    }

    /// Reads several topics as one stream; partition `i` of each goes to the same task.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # let builder = StreamBuilder::new();
    /// builder.streams::<String, String>(["atlantic", "pacific"]).to("oceans");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn streams<K: OwnCodec, V: OwnCodec>(
        &self,
        topics: impl IntoIterator<Item = impl Into<String>>,
    ) -> Stream<K, V> {
        self.streams_with(topics, Consumed::own())
    }

    /// As [`StreamBuilder::streams`], with codecs and other options.
    ///
    /// ```
    /// # use marea::prelude::*;
    /// # use marea::codec::Utf8;
    /// # let builder = StreamBuilder::new();
    /// builder.streams_with(["atlantic", "pacific"], Consumed::with(Utf8, Utf8)).to("oceans");
    /// # builder.build().map(|_| ()).map_err(|error| panic!("{error}")).ok();
    /// ```
    pub fn streams_with<K: 'static, V: 'static>(
        &self,
        topics: impl IntoIterator<Item = impl Into<String>>,
        consumed: Consumed<K, V>,
    ) -> Stream<K, V> {
        let topics = topics.into_iter().map(Into::into).collect();
        let id = add_source(&self.graph, "source", topics, consumed);
        Stream::new(self.graph.clone(), id)
    }
}

/// Adds the head of a graph, which decodes the records of its topics.
pub(super) fn add_source<K: 'static, V: 'static>(
    graph: &SharedGraph,
    word: &'static str,
    topics: Vec<String>,
    consumed: Consumed<K, V>,
) -> LogicalId {
    let Consumed {
        key,
        value,
        idle,
        gate,
    } = consumed;
    let operator = Operator::of_kind(word, LogicalKind::Source { topics, idle });
    operator.make(graph, move |wiring, id| {
        let out = wiring.edges::<K, V>(id)?;
        let source = StreamSource::with_gate(key.clone(), value.clone(), gate.clone(), out);
        wiring.add_source(id, Rc::new(source));
        Ok(())
    })
}

/// Whether a source accepts a record; the record is passed through, and `None` refuses it.
pub type Accepts<K, V> = Arc<dyn Fn(Record<K, V>) -> Option<Record<K, V>> + Send + Sync>;
/// The time of a record, given the largest in its partition so far; `None` refuses it.
pub type Extract<K, V> = Arc<dyn Fn(Record<K, V>, i64) -> Option<i64> + Send + Sync>;

/// What a source does with a record before it advances time.
pub struct Gate<K, V> {
    /// Which records it accepts; all if not set.
    pub accepts: Option<Accepts<K, V>>,
    /// Where a record's time comes from; its topic if not set.
    pub extract: Option<Extract<K, V>>,
}

impl<K, V> Default for Gate<K, V> {
    fn default() -> Self {
        Self {
            accepts: None,
            extract: None,
        }
    }
}

impl<K, V> Clone for Gate<K, V> {
    fn clone(&self) -> Self {
        Self {
            accepts: self.accepts.clone(),
            extract: self.extract.clone(),
        }
    }
}

/// Decodes key, value and headers and sends the record on its way.
pub struct StreamSource<K, V> {
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    gate: Gate<K, V>,
    out: Edges<K, V>,
}

impl<K: 'static, V: 'static> StreamSource<K, V> {
    /// A source with its codecs and its children, which accepts every record.
    pub fn new(key: SharedCodec<K>, value: SharedCodec<V>, out: Edges<K, V>) -> Self {
        Self::with_gate(key, value, Gate::default(), out)
    }

    /// The same behind a gate.
    pub fn with_gate(
        key: SharedCodec<K>,
        value: SharedCodec<V>,
        gate: Gate<K, V>,
        out: Edges<K, V>,
    ) -> Self {
        Self {
            key,
            value,
            gate,
            out,
        }
    }

    #[inline]
    fn decode(&self, raw: &RecordRef<'_>) -> Result<Record<K, V>> {
        let key = self
            .key
            .decode(raw.key)
            .map_err(|error| error.context("key"))?;
        let value = self
            .value
            .decode(raw.value)
            .map_err(|error| error.context("value"))?;
        let headers = match raw.has_no_headers() {
            true => Default::default(),
            false => raw.headers_without(CLOCK_HEADER)?,
        };
        Ok(Record {
            key,
            value,
            timestamp_ms: raw.timestamp_ms,
            headers,
        })
    }
}

impl<K: 'static, V: 'static> Source for StreamSource<K, V> {
    fn record(&self, raw: &RecordRef<'_>, cx: &mut Context) -> Result<()> {
        let record = self.decode(raw)?;
        let record = match &self.gate.accepts {
            Some(accepts) => accepts(record),
            None => Some(record),
        };
        let Some(record) = record else {
            cx.drop_record(DropReason::Refused);
            return Ok(());
        };
        cx.accept(record.timestamp_ms);
        self.out.push(record, cx)
    }

    fn extracts_timestamps(&self) -> bool {
        self.gate.extract.is_some()
    }

    fn timestamp_ms(&self, raw: &RecordRef<'_>, partition_time_ms: i64) -> Result<Option<i64>> {
        let Some(extract) = &self.gate.extract else {
            return Ok(Some(raw.timestamp_ms));
        };
        let timestamp_ms = extract(self.decode(raw)?, partition_time_ms);
        Ok(timestamp_ms.filter(|timestamp_ms| *timestamp_ms >= 0))
    }

    fn tick(&self, tick: Tick, cx: &mut Context) -> Result<()> {
        self.out.tick(tick, cx)
    }
}
