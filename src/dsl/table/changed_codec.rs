//! The encoding of a table's change on a repartition topic, laid out as Kafka Streams does.
//!
//! ```text
//! old | 0                          the old row alone
//! new | 1                          the new row alone
//! len(new) zigzag varint | new | old | 2    both, for one key
//! ```
//!
//! Source: `ChangedSerializer`, KIP-904.

use crate::base::{Error, Result};
use crate::codec::{Codec, Encoded, SharedCodec};
use crate::dsl::Change;

const OLD_ONLY: u8 = 0;
const NEW_ONLY: u8 = 1;
const BOTH: u8 = 2;

/// A codec of changes over a codec of rows.
pub(in crate::dsl) struct ChangedCodec<V>(SharedCodec<V>);

impl<V> ChangedCodec<V> {
    /// A codec of changes whose rows are encoded with `row`.
    pub(in crate::dsl) fn new(row: SharedCodec<V>) -> Self {
        Self(row)
    }
}

impl<V: 'static> ChangedCodec<V> {
    /// Appends a row; `false` if there is none.
    fn encode_row(&self, row: Option<&V>, out: &mut Vec<u8>) -> Result<bool> {
        match row {
            Some(row) => Ok(self.0.encode(row, out)? == Encoded::Bytes),
            None => Ok(false),
        }
    }
}

impl<V: 'static> Codec<Change<V>> for ChangedCodec<V> {
    fn encode(&self, change: &Change<V>, out: &mut Vec<u8>) -> Result<Encoded> {
        let start = out.len();
        let has_new = self.encode_row(change.new.as_ref(), out)?;
        let new_len = out.len() - start;
        let has_old = self.encode_row(change.old.as_ref(), out)?;
        let flag = match (has_new, has_old) {
            (false, false) => {
                return Err(Error::internal(
                    "a change with neither an old nor a new row",
                ));
            }
            (false, true) => OLD_ONLY,
            (true, false) => NEW_ONLY,
            (true, true) => {
                let mut length = [0; 5];
                let length_len = put_varint(new_len, &mut length);
                let end = out.len();
                out.extend_from_slice(&length[..length_len]);
                out[start..].rotate_right(length_len);
                debug_assert_eq!(out.len(), end + length_len);
                BOTH
            }
        };
        out.push(flag);
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Change<V>> {
        let damaged = || Error::user("the bytes are not a change of a table");
        let (flag, rows) = bytes.and_then(<[u8]>::split_last).ok_or_else(damaged)?;
        let row = |bytes: &[u8]| self.0.decode(Some(bytes)).map(Some);
        match *flag {
            OLD_ONLY => Ok(Change {
                new: None,
                old: row(rows)?,
            }),
            NEW_ONLY => Ok(Change {
                new: row(rows)?,
                old: None,
            }),
            BOTH => {
                let (new_len, rows) = take_varint(rows).ok_or_else(damaged)?;
                let (new, old) = rows.split_at_checked(new_len).ok_or_else(damaged)?;
                Ok(Change {
                    new: row(new)?,
                    old: row(old)?,
                })
            }
            _ => Err(damaged()),
        }
    }

    fn name(&self) -> String {
        format!("change({})", self.0.name())
    }
}

/// Writes a length as Kafka's `ByteUtils.writeVarint`: twice the number, seven bits per byte, the lowest
/// first. Returns the number of bytes.
fn put_varint(number: usize, out: &mut [u8; 5]) -> usize {
    let mut rest = (number as u64) << 1;
    let mut len = 0;
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 || len + 1 == out.len() {
            out[len] = low;
            return len + 1;
        }
        out[len] = low | 0x80;
        len += 1;
    }
}

/// Reads what [`put_varint`] wrote; `None` if it is not a valid length.
fn take_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0u64;
    for (position, byte) in bytes.iter().enumerate().take(5) {
        number |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            let is_negative = number & 1 == 1;
            let length = usize::try_from(number >> 1).ok()?;
            return (!is_negative).then_some((length, &bytes[position + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::Utf8;

    fn encoded(new: Option<&str>, old: Option<&str>) -> Vec<u8> {
        let codec = ChangedCodec::new(Arc::new(Utf8));
        let change = Change {
            new: new.map(str::to_owned),
            old: old.map(str::to_owned),
        };
        let mut out = b"before".to_vec();
        let written = codec.encode(&change, &mut out).expect("a row is there");
        assert_eq!(written, Encoded::Bytes);
        let bytes = out.split_off(6);
        assert_eq!(codec.decode(Some(&bytes)).expect("own bytes"), change);
        bytes
    }

    #[test]
    fn changes_are_laid_out_as_kafka_streams_does() {
        assert_eq!(encoded(None, Some("ab")), b"ab\0");
        assert_eq!(encoded(Some("ab"), None), b"ab\x01");
        // Kafka 4.3.0 writes these bytes for new "abc", old "x".
        assert_eq!(encoded(Some("abc"), Some("x")), b"\x06abcx\x02");
        assert_eq!(encoded(Some(""), Some("")), b"\x00\x02");
        let long = "n".repeat(200);
        let bytes = encoded(Some(&long), Some("o"));
        assert_eq!(bytes[..2], [0x90, 0x03], "400 in seven bits a byte");
        assert_eq!(bytes.len(), 2 + 200 + 1 + 1);
    }

    #[test]
    fn what_is_no_change_is_refused() {
        let codec = ChangedCodec::new(Arc::new(Utf8));
        let none: Change<String> = Change::to(None);
        assert!(codec.encode(&none, &mut Vec::new()).is_err());
        for bytes in [
            &b""[..],
            b"x\x07",
            b"\x06ab\x02",
            b"\x05ab\x02",
            b"\xff\xff\xff\xff\xff\xff\x02",
        ] {
            assert!(codec.decode(Some(bytes)).is_err(), "{bytes:?}");
        }
        assert!(codec.decode(None).is_err());
    }
}
