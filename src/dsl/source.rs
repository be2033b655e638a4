//! The head of a graph: decodes the records of topics.

use std::rc::Rc;

use super::Consumed;
use super::builder::SharedGraph;
use super::gate::Gate;
use super::operator::Operator;
use crate::base::{Record, Result};
use crate::batch::RecordRef;
use crate::codec::SharedCodec;
use crate::plan::{LogicalId, LogicalKind};
use crate::task::{CLOCK_HEADER, Context, DropReason, Edges, Source, Tick};

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
