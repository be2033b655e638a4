//! Decoding: a cursor that lends one record after another.

use super::bytes::{Bytes, unzigzag};
use super::{Batch, HEADER_LEN};
use crate::base::{Error, Header, Headers, Offset, Result};

impl Batch {
    /// Starts reading; `base_offset` is the base offset of the batch.
    pub fn cursor(&self, base_offset: Offset) -> Cursor {
        Cursor {
            batch: self.clone(),
            base_offset,
            base_timestamp_ms: self.i64_at(16),
            at: HEADER_LEN,
            left: self.record_count(),
        }
    }
}

/// Reads the records of a batch one after another; shares ownership of the bytes.
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
    /// `Corrupt` if the bytes end early.
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

    /// The record that [`Cursor::next_record`] would return, without advancing.
    ///
    /// # Errors
    /// `Corrupt` if the bytes end early.
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

    /// The timestamp of that record: reads only what comes before it.
    ///
    /// # Errors
    /// `Corrupt` if the bytes end early.
    #[inline]
    pub fn peek_timestamp_ms(&self) -> Result<Option<i64>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut reader = Bytes::at(&self.batch.bytes, self.at);
        reader.delta()?;
        let delta_ms = unzigzag(reader.delta()?);
        Ok(Some(self.base_timestamp_ms.wrapping_add(delta_ms)))
    }

    /// The offset of the last record of the batch.
    pub fn last_offset(&self) -> Offset {
        self.base_offset + i64::from(self.batch.last_offset_delta())
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
    let mut reader = Bytes::at(bytes, at);
    let offset = base_offset + reader.delta()? as i64;
    let timestamp_ms = base_timestamp_ms.wrapping_add(unzigzag(reader.delta()?));
    let key = reader.nullable()?;
    let value = reader.nullable()?;
    let header_count = reader.varint()? as u32;
    let headers_at = reader.position();
    for _ in 0..header_count {
        let len = reader.varint()? as usize;
        reader.take(len)?;
        reader.nullable()?;
    }
    let headers = &bytes[headers_at..reader.position()];
    Ok((
        RecordRef {
            offset,
            timestamp_ms,
            key,
            value,
            headers,
            header_count,
        },
        reader.position(),
    ))
}

/// A record as stored in a batch.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// Its offset in the partition.
    pub offset: Offset,
    /// The time of the event, in milliseconds.
    pub timestamp_ms: i64,
    /// The key's bytes, `None` for null.
    pub key: Option<&'a [u8]>,
    /// The value's bytes, `None` for null.
    pub value: Option<&'a [u8]>,
    headers: &'a [u8],
    header_count: u32,
}

impl RecordRef<'_> {
    /// The size of key, value and headers, in bytes.
    #[inline]
    pub fn byte_len(&self) -> usize {
        let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        len(self.key) + len(self.value) + self.headers.len()
    }

    /// Whether the record has no headers.
    pub fn has_no_headers(&self) -> bool {
        self.header_count == 0
    }

    /// Decodes the headers.
    ///
    /// # Errors
    /// `Corrupt` if the bytes end early or a name is not UTF-8.
    pub fn headers(&self) -> Result<Headers> {
        self.headers_where(|_| true)
    }

    /// Decodes the headers except those that the engine itself added (see [`Self::mark`]).
    ///
    /// # Errors
    /// `Corrupt` if the bytes end early or a name is not UTF-8.
    pub fn headers_without(&self, engine_name: &str) -> Result<Headers> {
        self.headers_where(|name| name != engine_name)
    }

    fn headers_where(&self, wanted: impl Fn(&str) -> bool) -> Result<Headers> {
        let mut headers = Vec::new();
        let mut reader = Bytes::at(self.headers, 0);
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
    /// `Corrupt` if the bytes end early.
    pub fn mark(&self, engine_name: &str) -> Result<Option<&[u8]>> {
        let mut reader = Bytes::at(self.headers, 0);
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
