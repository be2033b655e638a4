//! Buffers that an operator reuses.

use crate::base::Result;
use crate::codec::{Codec, Encoded};
use crate::state::row;

/// Buffers for a key and a row being encoded; an operator keeps one and allocates nothing per record.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) key: Vec<u8>,
    pub(super) row: Vec<u8>,
}

impl Scratch {
    /// Encodes the key; `false` if it is null.
    pub(super) fn encode_key<K: 'static>(&mut self, codec: &dyn Codec<K>, key: &K) -> Result<bool> {
        self.key.clear();
        Ok(codec.encode(key, &mut self.key)? == Encoded::Bytes)
    }

    /// Encodes `timestamp | value`; `false` if the value is null, which deletes the row.
    pub(super) fn encode_row<V: 'static>(
        &mut self,
        codec: &dyn Codec<V>,
        value: &V,
        timestamp_ms: i64,
    ) -> Result<bool> {
        row::begin(timestamp_ms, &mut self.row);
        Ok(codec.encode(value, &mut self.row)? == Encoded::Bytes)
    }
}

/// Decodes `timestamp | value`.
pub(super) fn decode_row<V: 'static>(
    codec: &dyn Codec<V>,
    row: Option<&[u8]>,
) -> Result<Option<(V, i64)>> {
    let Some(row) = row else { return Ok(None) };
    let (timestamp, value) = split_row(row)?;
    Ok(Some((codec.decode(Some(value))?, timestamp)))
}

/// Splits `timestamp | value`.
pub(super) fn split_row(row: &[u8]) -> Result<(i64, &[u8])> {
    row::split(row)
}
