//! A batch of encoded records: the unit that moves through a log, in memory and on disk.
//!
//! A task encodes its output records straight into a [`BatchBuilder`]; the embedded log stores those
//! bytes; a task decodes its input straight out of a [`Batch`]. Nothing is allocated per record.
//!
//! ```text
//! header (40 bytes, little endian)            record (varints are LEB128)
//!  0  magic "mb"                 2            varint  offset - base offset
//!  2  version = 1                1            zigzag  timestamp - base timestamp
//!  3  feature bits (none known)  1            varint  0 for a null key, else 1 + length; key
//!  4  crc32c of all that follows 4            varint  0 for a null value, else 1 + length; value
//!  8  number of records          4            varint  number of headers, then for each
//! 12  last offset - base offset  4              varint  length of its name; name
//! 16  base timestamp, ms         8              varint  0 for a null value, else 1 + length; value
//! 24  largest timestamp, ms      8
//! 32  wall clock at append, ms   8            The base offset is the batch's place, kept outside.
//! ```

use std::sync::Arc;

use crate::base::{Error, Header, Headers, Offset, Result};

/// Length of the header of a batch, in bytes.
pub const HEADER_LEN: usize = 40;
const MAGIC: [u8; 2] = *b"mb";
const VERSION: u8 = 1;

/// Records being encoded. [`BatchBuilder::seal`] turns it into a [`Batch`].
#[derive(Debug, Default)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    count: u32,
    next_delta: u32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
}

/// Where a [`BatchBuilder`] stood, to go back to with [`BatchBuilder::truncate`].
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

    /// Appends a record `delta` after the base offset. Compaction uses this to keep the offsets of
    /// the records that stay; deltas must grow.
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

    /// As [`BatchBuilder::push`], with one more header behind the others. The engine marks its own
    /// records so without touching, or copying, the user's headers.
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

    /// Number of records so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes used so far, header included.
    pub fn byte_len(&self) -> usize {
        if self.count == 0 { 0 } else { self.bytes.len() }
    }

    /// Remembers this point.
    pub fn mark(&self) -> BatchMark {
        BatchMark {
            len: self.byte_len(),
            count: self.count,
            next_delta: self.next_delta,
            max_timestamp_ms: self.max_timestamp_ms,
        }
    }

    /// Forgets all records pushed since `mark`.
    pub fn truncate(&mut self, mark: BatchMark) {
        self.bytes.truncate(mark.len);
        self.count = mark.count;
        self.next_delta = mark.next_delta;
        self.max_timestamp_ms = mark.max_timestamp_ms;
    }

    /// Finishes the batch, leaving the builder empty; `None` if there is no record. The checksum is
    /// set by [`Batch::stamp`] when a log appends it.
    pub fn seal(&mut self) -> Option<Batch> {
        if self.count == 0 {
            return None;
        }
        // The next batch is likely as long as this one.
        let next = Vec::with_capacity(self.bytes.len());
        let mut bytes = std::mem::replace(&mut self.bytes, next);
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

/// Encoded records with a header. A clone shares the bytes.
#[derive(Clone, Debug)]
pub struct Batch {
    bytes: Arc<Vec<u8>>,
}

impl Batch {
    /// Takes bytes that a log stored, verifying magic, version, feature bits and checksum.
    ///
    /// # Errors
    /// `Corrupt` when the bytes are damaged or of a newer format; the caller adds the place.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        if bytes.len() < HEADER_LEN || bytes[0..2] != MAGIC {
            return Err(Error::corrupt("not a record batch (bad magic)"));
        }
        if bytes[2] != VERSION || bytes[3] != 0 {
            let (version, features) = (bytes[2], bytes[3]);
            let message = format!(
                "record batch of format {version} with feature bits {features:#x}, this version of marea reads \
                 format {VERSION} without any; use the version that wrote it or a newer one"
            );
            return Err(Error::corrupt(message));
        }
        let stored = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let computed = crc32c::crc32c(&bytes[8..]);
        if stored != computed {
            let message = format!(
                "record batch fails its checksum (stored {stored:#010x}, computed {computed:#010x})"
            );
            return Err(Error::corrupt(message));
        }
        Ok(Self {
            bytes: Arc::new(bytes),
        })
    }

    /// Writes the wall clock of the append and the checksum. A log calls this once, before storing.
    #[must_use]
    pub fn stamp(self, append_time_ms: i64) -> Self {
        let mut bytes = Arc::try_unwrap(self.bytes).unwrap_or_else(|shared| (*shared).clone());
        bytes[32..40].copy_from_slice(&append_time_ms.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        Self {
            bytes: Arc::new(bytes),
        }
    }

    /// The bytes, header included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of records.
    pub fn record_count(&self) -> u32 {
        self.u32_at(8)
    }

    /// Offset of the last record, relative to the batch's base offset. After compaction it can be
    /// larger than the number of records suggests.
    pub fn last_offset_delta(&self) -> u32 {
        self.u32_at(12)
    }

    /// The largest timestamp of its records, in milliseconds.
    pub fn max_timestamp_ms(&self) -> i64 {
        self.i64_at(24)
    }

    /// The wall clock when it was appended, in milliseconds.
    pub fn append_time_ms(&self) -> i64 {
        self.i64_at(32)
    }

    /// Starts reading; `base_offset` is the offset of the place where the batch stands.
    pub fn cursor(&self, base_offset: Offset) -> Cursor {
        Cursor {
            batch: self.clone(),
            base_offset,
            base_timestamp_ms: self.i64_at(16),
            at: HEADER_LEN,
            left: self.record_count(),
        }
    }

    fn u32_at(&self, at: usize) -> u32 {
        let b = &self.bytes[at..at + 4];
        u32::from_le_bytes([b[0], b[1], b[2], b[3]])
    }

    fn i64_at(&self, at: usize) -> i64 {
        let b = &self.bytes[at..at + 8];
        i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])
    }
}

/// A record as it lies in a batch.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// Its offset in the partition.
    pub offset: Offset,
    /// When it happened, in milliseconds.
    pub timestamp_ms: i64,
    /// The key's bytes, `None` for null.
    pub key: Option<&'a [u8]>,
    /// The value's bytes, `None` for null.
    pub value: Option<&'a [u8]>,
    headers: &'a [u8],
    header_count: u32,
}

impl RecordRef<'_> {
    /// Whether the record has no headers.
    pub fn has_no_headers(&self) -> bool {
        self.header_count == 0
    }

    /// Decodes the headers.
    ///
    /// # Errors
    /// `Corrupt` when the bytes end early or a name is not UTF-8.
    pub fn headers(&self) -> Result<Headers> {
        self.headers_where(|_| true)
    }

    /// Decodes the headers but those that the engine itself put there (see [`Self::mark`]).
    ///
    /// # Errors
    /// `Corrupt` when the bytes end early or a name is not UTF-8.
    pub fn headers_without(&self, engine_name: &str) -> Result<Headers> {
        self.headers_where(|name| name != engine_name)
    }

    fn headers_where(&self, wanted: impl Fn(&str) -> bool) -> Result<Headers> {
        let mut headers = Vec::new();
        let mut reader = Bytes {
            bytes: self.headers,
            at: 0,
        };
        for _ in 0..self.header_count {
            let len = reader.varint()? as usize;
            let key = std::str::from_utf8(reader.take(len)?).map_err(|cause| {
                Error::corrupt("the name of a header is not UTF-8").with_source(cause)
            })?;
            let value = reader.nullable()?;
            if wanted(key) {
                headers.push(Header {
                    key: key.to_owned(),
                    value: value.map(<[u8]>::to_vec),
                });
            }
        }
        Ok(Headers::from_vec(headers))
    }

    /// The value of the engine's own header of that name, read without allocating.
    ///
    /// # Errors
    /// `Corrupt` when the bytes end early.
    pub fn mark(&self, engine_name: &str) -> Result<Option<&[u8]>> {
        let mut reader = Bytes {
            bytes: self.headers,
            at: 0,
        };
        let mut found = None;
        for _ in 0..self.header_count {
            let len = reader.varint()? as usize;
            let name = reader.take(len)?;
            let value = reader.nullable()?;
            if name == engine_name.as_bytes() {
                found = value;
            }
        }
        Ok(found)
    }
}

/// Reads the records of a batch one after another; owns its share of the bytes.
#[derive(Clone, Debug)]
pub struct Cursor {
    batch: Batch,
    base_offset: Offset,
    base_timestamp_ms: i64,
    at: usize,
    left: u32,
}

impl Cursor {
    /// The next record, or `None` after the last one. (An iterator could not lend from itself.)
    ///
    /// # Errors
    /// `Corrupt` when the bytes end early.
    #[inline]
    pub fn next_record(&mut self) -> Result<Option<RecordRef<'_>>> {
        if self.left == 0 {
            return Ok(None);
        }
        let (record, at) = read_record(
            &self.batch.bytes,
            self.at,
            self.base_offset,
            self.base_timestamp_ms,
        )?;
        self.at = at;
        self.left -= 1;
        Ok(Some(record))
    }

    /// The record that [`Cursor::next_record`] would give, without moving on.
    ///
    /// # Errors
    /// `Corrupt` when the bytes end early.
    #[inline]
    pub fn peek_record(&self) -> Result<Option<RecordRef<'_>>> {
        if self.left == 0 {
            return Ok(None);
        }
        let (record, _) = read_record(
            &self.batch.bytes,
            self.at,
            self.base_offset,
            self.base_timestamp_ms,
        )?;
        Ok(Some(record))
    }

    /// Number of records not read yet.
    pub fn remaining(&self) -> u32 {
        self.left
    }
}

#[inline]
fn read_record(
    bytes: &[u8],
    at: usize,
    base_offset: Offset,
    base_timestamp_ms: i64,
) -> Result<(RecordRef<'_>, usize)> {
    let mut reader = Bytes { bytes, at };
    let offset = base_offset + reader.varint()? as i64;
    let timestamp_ms = base_timestamp_ms.wrapping_add(unzigzag(reader.varint()?));
    let key = reader.nullable()?;
    let value = reader.nullable()?;
    let header_count = reader.varint()? as u32;
    let headers_at = reader.at;
    for _ in 0..header_count {
        let len = reader.varint()? as usize;
        reader.take(len)?;
        reader.nullable()?;
    }
    let headers = &bytes[headers_at..reader.at];
    Ok((
        RecordRef {
            offset,
            timestamp_ms,
            key,
            value,
            headers,
            header_count,
        },
        reader.at,
    ))
}

struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    #[inline]
    fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        let mut shift = 0;
        while let Some(byte) = self.bytes.get(self.at) {
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
            if shift > 63 {
                break;
            }
        }
        Err(Error::corrupt("a record ends early"))
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let end = self
            .at
            .checked_add(len)
            .filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            return Err(Error::corrupt("a record ends early"));
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    #[inline]
    fn nullable(&mut self) -> Result<Option<&'a [u8]>> {
        match self.varint()? {
            0 => Ok(None),
            len => self.take((len - 1) as usize).map(Some),
        }
    }
}

#[inline]
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.push(0),
        Some(bytes) => {
            put_varint(out, bytes.len() as u64 + 1);
            out.extend_from_slice(bytes);
        }
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Batch {
        let mut builder = BatchBuilder::default();
        let header = Header {
            key: "h".into(),
            value: None,
        };
        builder.push(Some(b"k"), Some(b"value"), 100, &[]);
        builder.push(None, Some(b""), 90, &[header]);
        builder.push(Some(b""), None, i64::MAX, &[]);
        builder.seal().expect("three records").stamp(7)
    }

    #[test]
    fn records_come_back_as_they_were_pushed() {
        let batch = Batch::from_bytes(sample().as_bytes().to_vec()).expect("intact");
        assert_eq!(
            (
                batch.record_count(),
                batch.append_time_ms(),
                batch.max_timestamp_ms()
            ),
            (3, 7, i64::MAX)
        );
        let mut cursor = batch.cursor(40);
        let first = cursor.next_record().expect("intact").expect("first");
        assert_eq!(
            (first.offset, first.timestamp_ms, first.key, first.value),
            (40, 100, Some(&b"k"[..]), Some(&b"value"[..]))
        );
        let second = cursor.next_record().expect("intact").expect("second");
        assert_eq!(
            (second.offset, second.timestamp_ms, second.key, second.value),
            (41, 90, None, Some(&b""[..]))
        );
        assert_eq!(
            second.headers().expect("intact").as_slice(),
            [Header {
                key: "h".into(),
                value: None
            }]
        );
        let third = cursor.next_record().expect("intact").expect("third");
        assert_eq!(
            (third.timestamp_ms, third.key, third.value),
            (i64::MAX, Some(&b""[..]), None)
        );
        assert!(cursor.next_record().expect("intact").is_none());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = sample().as_bytes().to_vec();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(Batch::from_bytes(bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn truncating_to_a_mark_forgets_what_came_after() {
        let mut builder = BatchBuilder::default();
        let empty = builder.mark();
        builder.push(Some(b"a"), None, 1, &[]);
        let one = builder.mark();
        builder.push(Some(b"b"), None, 9, &[]);
        builder.truncate(one);
        assert_eq!(builder.len(), 1);
        builder.truncate(empty);
        assert!(builder.is_empty() && builder.seal().is_none());
        builder.push(Some(b"c"), None, 3, &[]);
        let batch = builder.seal().expect("one record");
        assert_eq!(
            (
                batch.record_count(),
                batch.max_timestamp_ms(),
                batch.last_offset_delta()
            ),
            (1, 3, 0)
        );
    }
}
