//! `stream`: decodes the records of a topic.

use crate::base::{Record, Result};
use crate::codec::SharedCodec;
use crate::log::RecordRef;
use crate::task::{CLOCK_HEADER, Context, Edges, Source};

/// Decodes key, value and headers and starts the record on its way.
pub struct StreamSource<K, V> {
    key: SharedCodec<K>,
    value: SharedCodec<V>,
    out: Edges<K, V>,
}

impl<K: 'static, V: 'static> StreamSource<K, V> {
    /// A source with its codecs and its children.
    pub fn new(key: SharedCodec<K>, value: SharedCodec<V>, out: Edges<K, V>) -> Self {
        Self { key, value, out }
    }
}

impl<K: 'static, V: 'static> Source for StreamSource<K, V> {
    fn record(&self, raw: &RecordRef<'_>, cx: &mut Context) -> Result<()> {
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
        cx.decoded();
        self.out.push(
            Record {
                key,
                value,
                timestamp_ms: raw.timestamp_ms,
                headers,
            },
            cx,
        )
    }

    fn tick(&self, time_ms: i64, cx: &mut Context) -> Result<()> {
        self.out.tick(time_ms, cx)
    }
}
