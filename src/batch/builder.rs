//! Encoding: records one after another, then the header.

use std::sync::Arc;

use super::bytes::{put_nullable, put_varint, zigzag};
use super::{Batch, HEADER_LEN, MAGIC, VERSION};
use crate::base::Header;

/// The spare room of the next batch beyond the length of the last, so that it need not grow for its last
/// record.
const ROOM_BYTES: usize = 256;
/// The maximum spare room of a sealed batch, as a fraction of its length: an eighth.
const SPARE_PARTS: usize = 8;

/// Records being encoded. [`BatchBuilder::seal`] turns it into a [`Batch`].
#[derive(Debug, Default)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    count: u32,
    next_delta: u32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
}

/// A point in a [`BatchBuilder`], to return to with [`BatchBuilder::truncate`].
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchMark {
    len: usize,
    count: u32,
    next_delta: u32,
    max_timestamp_ms: i64,
}

impl BatchBuilder {
    /// Appends a record at the offset after the last one.
    pub fn push(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &[Header],
    ) {
        let delta = self.next_delta;
        self.push_at(delta, key, value, timestamp_ms, headers);
    }

    /// Appends a record `delta` after the base offset. Compaction uses this to keep the offsets of the
    /// remaining records; deltas must grow.
    pub fn push_at(
        &mut self,
        delta: u32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &[Header],
    ) {
        self.put_record(delta, key, value, timestamp_ms, headers, None);
    }

    /// As [`BatchBuilder::push`], with one more header after the others. This lets the engine mark its
    /// own records without touching, or copying, the user's headers.
    pub fn push_marked(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &[Header],
        mark: (&str, &[u8]),
    ) {
        let delta = self.next_delta;
        self.put_record(delta, key, value, timestamp_ms, headers, Some(mark));
    }

    /// One of the two above.
    #[inline]
    pub(super) fn push_maybe_marked(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &[Header],
        mark: Option<(&str, &[u8])>,
    ) {
        let delta = self.next_delta;
        self.put_record(delta, key, value, timestamp_ms, headers, mark);
    }

    #[inline]
    fn put_record(
        &mut self,
        delta: u32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &[Header],
        mark: Option<(&str, &[u8])>,
    ) {
        assert!(
            delta >= self.next_delta || self.count == 0,
            "offsets grow within a batch"
        );
        if self.count == 0 {
            self.bytes.clear();
            self.bytes.resize(HEADER_LEN, 0);
            self.base_timestamp_ms = timestamp_ms;
            self.max_timestamp_ms = timestamp_ms;
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        let out = &mut self.bytes;
        put_varint(out, u64::from(delta));
        put_varint(
            out,
            zigzag(timestamp_ms.wrapping_sub(self.base_timestamp_ms)),
        );
        put_nullable(out, key);
        put_nullable(out, value);
        put_varint(out, headers.len() as u64 + u64::from(mark.is_some()));
        for header in headers {
            put_varint(out, header.key.len() as u64);
            out.extend_from_slice(header.key.as_bytes());
            put_nullable(out, header.value.as_deref());
        }
        if let Some((name, value)) = mark {
            put_varint(out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
            put_nullable(out, Some(value));
        }
        self.count += 1;
        self.next_delta = delta + 1;
    }

    /// Bytes that fit without growing, and without growing beyond `most`.
    #[inline]
    pub(super) fn room(&self, most: usize) -> usize {
        let room = self.bytes.capacity().min(most);
        room.saturating_sub(self.byte_len().max(HEADER_LEN))
    }

    /// Makes room for `size` more bytes, doubling up to `most` in total: a batch that is closed there has
    /// hardly more room than bytes.
    pub(super) fn reserve(&mut self, size: usize, most: usize) {
        let needed = self.byte_len().max(HEADER_LEN) + size;
        let capacity = self.bytes.capacity();
        if needed > capacity {
            let wanted = needed.max((capacity * 2).min(most));
            self.bytes.truncate(self.byte_len());
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
    }

    /// A builder with the records of a batch that it sealed.
    pub(super) fn reopened(batch: Batch) -> Self {
        let base_timestamp_ms = batch.base_timestamp_ms();
        let max_timestamp_ms = batch.max_timestamp_ms();
        let (count, next_delta) = (batch.record_count(), batch.last_offset_delta() + 1);
        let bytes = Arc::try_unwrap(batch.bytes).unwrap_or_else(|shared| (*shared).clone());
        Self {
            bytes,
            count,
            next_delta,
            base_timestamp_ms,
            max_timestamp_ms,
        }
    }

    /// Number of records so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes used so far, including the header.
    pub fn byte_len(&self) -> usize {
        if self.count == 0 { 0 } else { self.bytes.len() }
    }

    /// Returns the current point.
    pub fn mark(&self) -> BatchMark {
        BatchMark {
            len: self.byte_len(),
            count: self.count,
            next_delta: self.next_delta,
            max_timestamp_ms: self.max_timestamp_ms,
        }
    }

    /// Discards all records pushed since `mark`.
    pub fn truncate(&mut self, mark: BatchMark) {
        self.bytes.truncate(mark.len);
        self.count = mark.count;
        self.next_delta = mark.next_delta;
        self.max_timestamp_ms = mark.max_timestamp_ms;
    }

    /// Finishes the batch, leaving the builder empty; `None` if there is no record. The checksum is set
    /// by [`Batch::stamp`] when a log appends the batch.
    pub fn seal(&mut self) -> Option<Batch> {
        if self.count == 0 {
            return None;
        }
        // The next batch is likely to be as long as this one.
        let next = Vec::with_capacity(self.bytes.len() + ROOM_BYTES);
        let mut bytes = std::mem::replace(&mut self.bytes, next);
        // A batch may stay in memory for long, and its memory is counted by its length.
        if bytes.capacity() - bytes.len() > bytes.len() / SPARE_PARTS {
            bytes.shrink_to_fit();
        }
        bytes[0..2].copy_from_slice(&MAGIC);
        bytes[2] = VERSION;
        bytes[3] = 0;
        bytes[8..12].copy_from_slice(&self.count.to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.next_delta - 1).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base_timestamp_ms.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.max_timestamp_ms.to_le_bytes());
        self.count = 0;
        self.next_delta = 0;
        Some(Batch {
            bytes: Arc::new(bytes),
        })
    }
}
