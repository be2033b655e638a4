//! A batch of encoded records: the unit that moves through a log, in memory and on disk.
//!
//! A task encodes its output records directly into a [`BatchBuilder`]; the embedded log stores those
//! bytes; a task decodes its input directly from a [`Batch`]. Nothing is allocated per record.
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

mod batches;
mod builder;
mod bytes;
mod cursor;
mod fetched;

pub use batches::{BATCH_BYTES, BatchesBuilder, BatchesMark, Records};
pub use builder::{BatchBuilder, BatchMark};
pub use cursor::{Cursor, RecordRef};
pub use fetched::Fetched;

use std::sync::Arc;

use crate::base::{Error, Result};

/// Kafka's default for `message.max.bytes`, about 1 MiB: the largest record of a topic without its own
/// setting.
pub const DEFAULT_MAX_RECORD_BYTES: usize = 1_048_588;

/// Length of the header of a batch, in bytes.
pub const HEADER_LEN: usize = 40;
const MAGIC: [u8; 2] = *b"mb";
const VERSION: u8 = 1;

/// Encoded records with a header. A clone shares the bytes.
#[derive(Clone, Debug)]
pub struct Batch {
    bytes: Arc<Vec<u8>>,
}

impl Batch {
    /// Wraps bytes that a log stored, verifying magic, version, feature bits and checksum.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are damaged or of a newer format; the caller adds the position.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        if bytes.len() < HEADER_LEN || bytes[0..2] != MAGIC {
            return Err(Error::corrupt("not a record batch (bad magic)"));
        }
        if bytes[2] != VERSION || bytes[3] != 0 {
            let (version, features) = (bytes[2], bytes[3]);
            let message = format!(
                "record batch of format {version} with feature bits {features:#x}; this version of marea reads \
                 format {VERSION} without feature bits; use the version that wrote it or a newer one"
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

    /// Writes the wall clock of the append and the checksum. A log calls this once, before storing the
    /// batch.
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

    /// The bytes, including the header.
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

    fn base_timestamp_ms(&self) -> i64 {
        self.i64_at(16)
    }

    /// The largest timestamp of its records, in milliseconds.
    pub fn max_timestamp_ms(&self) -> i64 {
        self.i64_at(24)
    }

    /// The wall clock when it was appended, in milliseconds.
    pub fn append_time_ms(&self) -> i64 {
        self.i64_at(32)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Header;

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
        assert_eq!(cursor.peek_timestamp_ms().expect("intact"), Some(100));
        let first = cursor.next_record().expect("intact").expect("first");
        assert_eq!(
            (first.offset, first.timestamp_ms, first.key, first.value),
            (40, 100, Some(&b"k"[..]), Some(&b"value"[..]))
        );
        assert_eq!(cursor.peek_timestamp_ms().expect("intact"), Some(90));
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
        assert_eq!(cursor.peek_timestamp_ms().expect("intact"), None);
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
