//! Keys of windowed tables: the plain key and its window.

use super::{Codec, Encoded, OwnCodec, SharedCodec, shared};
use crate::base::{Error, Result};

/// A key within a window `[start, end)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Windowed<K> {
    /// The key.
    pub key: K,
    /// Start of the window, in milliseconds, inclusive.
    pub start_ms: i64,
    /// End of the window, in milliseconds, exclusive.
    pub end_ms: i64,
}

/// Writes `key | start (8 bytes, big-endian)`, as Kafka Streams' `TimeWindowedSerializer`: rows of a key
/// are in time order. The end is not written; the reader adds the size.
///
/// A record goes to the partition of its plain key.
#[derive(Clone, Copy, Debug)]
pub struct WindowedCodec<C> {
    key: C,
    size_ms: i64,
}

const START_LEN: usize = 8;

impl<C> WindowedCodec<C> {
    /// A codec of windows of `size_ms` milliseconds over a codec of their keys.
    pub fn new(key: C, size_ms: i64) -> Self {
        Self { key, size_ms }
    }
}

impl<K, C: Codec<K>> Codec<Windowed<K>> for WindowedCodec<C> {
    fn encode(&self, value: &Windowed<K>, out: &mut Vec<u8>) -> Result<Encoded> {
        if self.key.encode(&value.key, out)? == Encoded::Null {
            return Ok(Encoded::Null);
        }
        out.extend_from_slice(&value.start_ms.to_be_bytes());
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Windowed<K>> {
        let bytes = super::primitive::present(bytes, "a windowed key")?;
        let Some((key, start)) = bytes.split_last_chunk::<START_LEN>() else {
            let message = format!(
                "a windowed key has {} bytes, too few for its start",
                bytes.len()
            );
            return Err(Error::user(message));
        };
        let start_ms = i64::from_be_bytes(*start);
        let end_ms = start_ms.saturating_add(self.size_ms);
        Ok(Windowed {
            key: self.key.decode(Some(key))?,
            start_ms,
            end_ms,
        })
    }

    fn is_null(&self, value: &Windowed<K>) -> bool {
        self.key.is_null(&value.key)
    }

    fn partition_bytes<'a>(&self, encoded: &'a [u8]) -> &'a [u8] {
        self.key
            .partition_bytes(&encoded[..encoded.len().saturating_sub(START_LEN)])
    }

    fn name(&self) -> String {
        format!("windowed({}, {} ms)", self.key.name(), self.size_ms)
    }
}

/// Writes `key | end (8 bytes, big-endian) | start (8 bytes)`, as Kafka Streams'
/// `SessionWindowedSerializer`: both bounds are written, so that windows of any size can be read.
///
/// A record goes to the partition of its plain key.
#[derive(Clone, Copy, Debug)]
pub struct SessionWindowedCodec<C>(
    /// The codec of the keys.
    pub C,
);

const BOUNDS_LEN: usize = 16;

impl<K, C: Codec<K>> Codec<Windowed<K>> for SessionWindowedCodec<C> {
    fn encode(&self, value: &Windowed<K>, out: &mut Vec<u8>) -> Result<Encoded> {
        if self.0.encode(&value.key, out)? == Encoded::Null {
            return Ok(Encoded::Null);
        }
        out.extend_from_slice(&value.end_ms.to_be_bytes());
        out.extend_from_slice(&value.start_ms.to_be_bytes());
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Windowed<K>> {
        let bytes = super::primitive::present(bytes, "a key in a session")?;
        let bounds = bytes.split_last_chunk::<8>().and_then(|(rest, start)| {
            let (key, end) = rest.split_last_chunk::<8>()?;
            Some((key, i64::from_be_bytes(*start), i64::from_be_bytes(*end)))
        });
        let Some((key, start_ms, end_ms)) = bounds else {
            let message = format!(
                "a key in a session has {} bytes, too few for its end and start",
                bytes.len()
            );
            return Err(Error::user(message));
        };
        Ok(Windowed {
            key: self.0.decode(Some(key))?,
            start_ms,
            end_ms,
        })
    }

    fn is_null(&self, value: &Windowed<K>) -> bool {
        self.0.is_null(&value.key)
    }

    fn partition_bytes<'a>(&self, encoded: &'a [u8]) -> &'a [u8] {
        self.0
            .partition_bytes(&encoded[..encoded.len().saturating_sub(BOUNDS_LEN)])
    }

    fn name(&self) -> String {
        format!("session({})", self.0.name())
    }
}

/// Both bounds are written ([`SessionWindowedCodec`]), so that a reader need not know the size. For
/// topics that Kafka Streams' `TimeWindowedSerde` reads or writes, use a [`WindowedCodec`].
impl<K: OwnCodec> OwnCodec for Windowed<K> {
    fn codec() -> SharedCodec<Self> {
        shared(SessionWindowedCodec(K::codec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Nullable, Utf8};

    #[test]
    fn a_session_key_is_laid_out_as_kafka_streams_does() {
        let codec = SessionWindowedCodec(Utf8);
        let key = Windowed {
            key: "ab".to_owned(),
            start_ms: 1,
            end_ms: 258,
        };
        let mut out = Vec::new();
        assert_eq!(codec.encode(&key, &mut out).expect("text"), Encoded::Bytes);
        assert_eq!(out, b"ab\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x01");
        assert_eq!(codec.partition_bytes(&out), b"ab");
        assert_eq!(codec.decode(Some(&out)).expect("key"), key);
        assert!(codec.decode(Some(b"too short")).is_err());
    }

    #[test]
    fn a_windowed_key_is_laid_out_as_kafka_streams_does() {
        let codec = WindowedCodec::new(Utf8, 10);
        let key = Windowed {
            key: "ab".to_owned(),
            start_ms: 258,
            end_ms: 268,
        };
        let mut out = Vec::new();
        assert_eq!(codec.encode(&key, &mut out).expect("text"), Encoded::Bytes);
        assert_eq!(out, b"ab\0\0\0\0\0\0\x01\x02");
        assert_eq!(codec.partition_bytes(&out), b"ab");
        assert_eq!(codec.decode(Some(&out)).expect("key"), key);
        assert!(codec.decode(Some(b"short")).is_err());
    }

    #[test]
    fn the_end_of_the_last_window_does_not_overflow() {
        let codec = WindowedCodec::new(Utf8, i64::MAX);
        let mut bytes = b"k".to_vec();
        bytes.extend(5i64.to_be_bytes());
        assert_eq!(codec.decode(Some(&bytes)).expect("key").end_ms, i64::MAX);
    }

    #[test]
    fn a_null_key_makes_a_null() {
        let codec = WindowedCodec::new(Nullable(Utf8), 10);
        let key = Windowed {
            key: None,
            start_ms: 0,
            end_ms: 10,
        };
        assert_eq!(
            codec.encode(&key, &mut Vec::new()).expect("null"),
            Encoded::Null
        );
        assert!(codec.is_null(&key));
    }
}
