//! The parts of a record: varints, and bytes that can be null.

use crate::base::{Error, Result};

/// A position in encoded records. Data that ends early is `Corrupt`; the caller adds the place.
pub(super) struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    #[inline]
    pub(super) fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    #[inline]
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Most are lengths and counts of one byte: only that case is inlined.
    #[inline(always)]
    pub(super) fn varint(&mut self) -> Result<u64> {
        match self.bytes.get(self.at) {
            Some(byte) if byte & 0x80 == 0 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    /// As [`Bytes::varint`], for offsets and times, most of which are of one to three bytes.
    #[inline(always)]
    pub(super) fn delta(&mut self) -> Result<u64> {
        match self.bytes.get(self.at..) {
            Some([first, ..]) if first & 0x80 == 0 => {
                self.at += 1;
                Ok(u64::from(*first))
            }
            Some([first, second, ..]) if second & 0x80 == 0 => {
                self.at += 2;
                Ok(u64::from(first & 0x7f) | u64::from(*second) << 7)
            }
            Some([first, second, third, ..]) if third & 0x80 == 0 => {
                self.at += 3;
                let low = u64::from(first & 0x7f) | u64::from(second & 0x7f) << 7;
                Ok(low | u64::from(*third) << 14)
            }
            _ => self.long_varint(),
        }
    }

    #[inline]
    fn long_varint(&mut self) -> Result<u64> {
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
        Err(Error::corrupt("a record is truncated"))
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let end = self
            .at
            .checked_add(len)
            .filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            return Err(Error::corrupt("a record is truncated"));
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    #[inline]
    pub(super) fn nullable(&mut self) -> Result<Option<&'a [u8]>> {
        match self.varint()? {
            0 => Ok(None),
            len => self.take((len - 1) as usize).map(Some),
        }
    }
}

#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub(super) fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.push(0),
        Some(bytes) => {
            put_varint(out, bytes.len() as u64 + 1);
            out.extend_from_slice(bytes);
        }
    }
}

#[inline]
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
pub(super) fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}
